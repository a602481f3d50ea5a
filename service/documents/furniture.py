"""What stands in a document and is not said by it: bylines, dates, captions, links to elsewhere, contact lines, and
headings that nothing marks as such."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from labels.passages import BlockKind

_MONTH = "(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
_DAY = r"(?:(?:mon|tues|wednes|thurs|fri|satur|sun)day\W*)?"
_TIME = r"(?:\W+(?:at )?\d\d?[:.]\d\d ?(?:am|pm)?)?"
_DATED = r"(?:(?:first |last )?(?:published|posted|updated|modified|date|release date|posted on|published on)\W*)?"
_PATTERNS = {
    "byline": r"(?:[Ww]ords? )?[Bb][Yy] [A-Z][\w'’-]+(?: [A-Z][\w'’-]+){1,3}(?:[,|–-].{0,80})?",
    "date": rf"(?i:{_DATED}{_DAY}(?:\d{{1,2}}(?:st|nd|rd|th)? {_MONTH},?|{_MONTH} \d{{1,2}},) \d{{4}}{_TIME}"
    r"(?:\W+by .{3,40})?)",
    "date in figures": r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}",
    "caption": r"(?i:(?:photo(?:graph)?|picture|image|video|caption|credit)s?(?: (?:by|credit|caption|source))?"
    r"\s*:.{0,200})",
    "link": r"(?i:(?:read (?:more|also|next)|related(?: \w+){0,2}|see also|more on this|tags?|filed under|topics?"
    r"|share(?: this)?|follow us|subscribe|sign up|find out more)\s*[:|>-].{0,200})",
    "call": r"(?i:(?:read (?:more|also|next)|see also|more on this|filed under|share this|follow us|subscribe|sign up"
    r"|advert(?:isement)?|print this|back to|skip to|click here)(?: [\w’']+){0,4}!?)",
    "feedback": r"(?i:(?:was|is|did you find|how useful was) this (?:page|article|information|content)\b.{0,60}\?)",
    "mark of a release": r"(?i:notes? (?:to|for) editors?:?|[-–—*\s]*(?:ends?|more follows)[-–—*\s.]*"
    r"|(?:press|media|news) (?:release|statement)|for immediate release.{0,60})|[#*_=~–—-]{2,}",
    "minutes": r"(?i:(?:present|also present|in attendance|apologies)\s*:.{1,600}|minutes of (?:the|a) .{1,200}[^.]"
    r"|(?:the )?comments are closed\.?)",
    "contact": r"(?i:(?:tel(?:ephone)?|phone|mobile|e-?mail|web(?:site)?|twitter|address|contact)\s*:.{0,120})",
    "address": r"(?:https?://|www\.)\S+|\S+@\S+\.\S+",
    "copyright": r"(?i:(?:©|\(c\) |copyright\b).{0,200})",
    "salutation": r"(?i:dear (?!me\b)[^.!?]{1,80}|to whom it may concern),?",
    "confidentiality": r"(?i:this (?:e-?mail|message|communication)(?: \w+){0,6} (?:is|are|may be|contains?)"
    r" .{0,60}(?:confidential|intended|privileged).*)",
}
_FURNITURE = re.compile("|".join(f"(?:{pattern})" for pattern in _PATTERNS.values()), re.S)
LONGEST_FURNITURE = 1_500
_FAREWELL = re.compile(
    r"(?:yours (?:sincerely|faithfully|truly)|(?:kind|best|warm) (?:regards|wishes)|regards|many thanks),?", re.I
)
_SENTENCE_ENDS = frozenset(".!?;,\"'’”)]…:")
_VERB = re.compile(
    r"\b(?:is|are|was|were|has|have|had|will|would|must|should|can|could|did|does|said|says"
    r"|agreed|asked|heard|noted|reported|resolved)\b",
    re.I,
)
_ASKING = re.compile(r"(?:what|how|why|who|when|where|which|whether|if)\b", re.I)


def is_furniture(text: str) -> bool:
    """Whether a whole block is a byline, date, caption, link list, contact line or mark of the medium."""
    text = text.strip()
    return len(text) <= LONGEST_FURNITURE and _FURNITURE.fullmatch(text) is not None


def is_heading(text: str) -> bool:
    """Whether a line that nothing marks as a heading may be one: at most twelve words, and no end to a sentence.

    Seven words or more with a verb in them make a sentence that lacks its full stop, unless they open as a question.
    """
    words = len(text.split(None, 13))
    if words > 12 or text.rstrip()[-1:] in _SENTENCE_ENDS or text.lstrip()[:1].islower():
        return False
    return words < 7 or _ASKING.match(text) is not None or _VERB.search(text) is None


def settle(blocks: Iterable[tuple[BlockKind, str]]) -> list[tuple[BlockKind, str]]:
    """The blocks with furniture, and headings that nothing marks, told from the paragraphs among them.

    An unmarked heading has something under it, and does not follow a lead-in ("They found:"). The first block may be a
    longer one: a headline. What follows a farewell ("Yours sincerely") is a signature until prose begins again.
    """
    given = [(kind, text) for kind, text in blocks if text.strip()]
    settled: list[tuple[BlockKind, str]] = []
    signed = led = False
    for index, (kind, text) in enumerate(given):
        if kind in (BlockKind.HEADING, BlockKind.TABLE):
            signed = led = False
        elif _FAREWELL.fullmatch(text):
            kind, signed = BlockKind.FURNITURE, True
        elif is_furniture(text):
            kind = BlockKind.FURNITURE
        elif kind is BlockKind.PARAGRAPH:
            if signed and len(text.split(None, 16)) < 16 and text[-1] not in ".!?":
                kind = BlockKind.FURNITURE
            elif not led and _is_heading_of(given, index):
                kind = BlockKind.HEADING
            else:
                signed, led = False, text.endswith(":") or (led and text[-1] not in ".!?")
        settled.append((kind, text))
    return settled


def _is_heading_of(blocks: Sequence[tuple[BlockKind, str]], index: int) -> bool:
    if index + 1 >= len(blocks) or blocks[index + 1][1][:1].islower():
        return False
    text = blocks[index][1]
    headline = index == 0 and len(text.split(None, 21)) <= 20 and text[-1] not in _SENTENCE_ENDS - set("’”'\"!?")
    return headline or is_heading(text)
