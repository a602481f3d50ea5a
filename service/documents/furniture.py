"""What stands in a document and is not said by it: bylines, dates, captions, links to elsewhere, contact lines."""

from __future__ import annotations

import re

_MONTH = "(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
_DAY = r"(?:(?:mon|tues|wednes|thurs|fri|satur|sun)day\W*)?"
_PATTERNS = {
    "byline": r"(?:[Ww]ords? )?[Bb]y [A-Z][\w'’-]+(?: [A-Z][\w'’-]+){1,3}(?:[,|–-].{0,80})?",
    "date": rf"(?i:(?:(?:published|posted|updated|last updated|date)\W*)?{_DAY}\d{{1,2}}(?:st|nd|rd|th)? {_MONTH},? \d{{4}}"
    r"(?:\W+(?:at )?\d\d?[:.]\d\d ?(?:am|pm)?)?)",
    "date in figures": r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}",
    "caption": r"(?i:(?:photo(?:graph)?|picture|image|video|caption|credit)s?(?: (?:by|credit|caption|source))?\s*:.{0,200})",
    "link": r"(?i:(?:read (?:more|also|next)|related|see also|more on this|tags?|filed under|topics?|share(?: this)?"
    r"|follow us|subscribe|sign up|advert(?:isement)?)(?:\s*[:|>-].{0,200}|(?: \w+){0,4}))",
    "mark of a release": r"(?i:notes? (?:to|for) editors?|-*\s*ends?\s*-*|#{2,})",
    "contact": r"(?i:(?:tel(?:ephone)?|phone|e-?mail|web(?:site)?|twitter|address)\s*:.{0,120})",
    "address": r"(?:https?://|www\.)\S+|\S+@\S+\.\S+",
    "copyright": r"(?i:(?:©|\(c\) |copyright\b).{0,200})",
}
_FURNITURE = re.compile("|".join(f"(?:{pattern})" for pattern in _PATTERNS.values()))
_SENTENCE_ENDS = frozenset(".!?;,\"'’”)]…:")


def is_furniture(text: str) -> bool:
    """Whether a whole block is a byline, date, caption, link list, contact line or mark of the medium."""
    return _FURNITURE.fullmatch(text.strip().rstrip(".")) is not None


def is_heading(text: str) -> bool:
    """Whether a line that nothing marks as a heading reads as one: at most twelve words, and no end to a sentence."""
    return len(text.split()) <= 12 and text.rstrip()[-1:] not in _SENTENCE_ENDS
