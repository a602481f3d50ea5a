"""Text blocks to passages: the one rule that labelling, training and serving share.

A document is a text and the blocks found in it. A passage is a block that says something (a paragraph, list item or
quotation), or, where such a block has more than MAX_WORDS words, a run of its whole sentences.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

import sentencex

MAX_WORDS = 90
# Stored with every result and reference: raise it when the same bytes would give other passages.
SEGMENTATION = "1"


class BlockKind(StrEnum):
    PARAGRAPH = "paragraph"
    ITEM = "item"
    QUOTE = "quote"
    HEADING = "heading"
    TABLE = "table"
    # Captions, bylines, dates, navigation, boilerplate: part of the text, and never a passage.
    FURNITURE = "furniture"


SPEAKING = frozenset({BlockKind.PARAGRAPH, BlockKind.ITEM, BlockKind.QUOTE})


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of a document: text[start:end] in characters of the extracted text; page counts from 1.

    turns: where the block goes on to another page, as (character of the text, page).
    """

    kind: BlockKind
    start: int
    end: int
    page: int | None = None
    turns: tuple[tuple[int, int], ...] = ()

    def page_at(self, character: int) -> int | None:
        """The page on which a character of the text stands."""
        return next((page for start, page in reversed(self.turns) if start <= character), self.page)


@dataclass(frozen=True, slots=True)
class Passage:
    """The unit of a label. text == document_text[start:end]; page is the page on which it starts."""

    text: str
    start: int
    end: int
    page: int | None = None


def segment(text: str, blocks: Iterable[Block]) -> list[Passage]:
    """Passages of a document in reading order.

    text: the extracted text. blocks: its blocks, in order, not overlapping. Headings, tables, furniture, lead-ins
    (the last sentence of a block, where it ends in a colon) and blocks without a letter give no passage.
    """
    return [passage for block in blocks if block.kind in SPEAKING for passage in _passages(text, block)]


def _passages(text: str, block: Block) -> Iterator[Passage]:
    start, end = _strip(text, block.start, block.end)
    body = _without_lead_in(text[start:end])
    if not any(character.isalpha() for character in body):
        return
    for first, last in _runs(body):
        yield Passage(body[first:last], start + first, start + last, block.page_at(start + first))


def _without_lead_in(body: str) -> str:
    """Without a last sentence that leads in to what follows: one that ends in a colon."""
    if not body.endswith(":"):
        return body
    *whole, _ = sentences(body)
    return body[: whole[-1][1]] if whole else ""


def _runs(body: str) -> Iterator[tuple[int, int]]:
    """Spans of at most MAX_WORDS words made of whole sentences: as few as can be, then as even as can be."""
    if _words(body) <= MAX_WORDS:
        yield 0, len(body)
        return
    spans = [piece for sentence in sentences(body) for piece in _pieces(body, *sentence)]
    counts = [_words(body[start:end]) for start, end in spans]
    fewest = len(_filled(counts, MAX_WORDS))
    size = next(size for size in range(max(counts), MAX_WORDS + 1) if len(_filled(counts, size)) == fewest)
    for run in _filled(counts, size):
        yield spans[run[0]][0], spans[run[-1]][1]


def _filled(counts: list[int], size: int) -> list[range]:
    """Consecutive runs, each as long as fits into size."""
    runs, first, held = [], 0, 0
    for index, count in enumerate(counts):
        if held and held + count > size:
            runs.append(range(first, index))
            first, held = index, 0
        held += count
    return [*runs, range(first, len(counts))]


def _pieces(body: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """A sentence, or the pieces of one that alone is longer than MAX_WORDS: cut at its last clause mark in reach."""
    words = [(start + found.start(), start + found.end()) for found in re.finditer(r"\S+", body[start:end])]
    while len(words) > MAX_WORDS:
        marks = [n for n in range(MAX_WORDS // 2, MAX_WORDS) if body[words[n][1] - 1] in ";,:)\u2013\u2014"]
        cut = marks[-1] + 1 if marks else MAX_WORDS
        yield words[0][0], words[cut - 1][1]
        words = words[cut:]
    yield words[0][0], words[-1][1]


def sentences(text: str) -> Iterator[tuple[int, int]]:
    """Spans of the sentences of a text, without the space around them (rules of sentencex for English)."""
    position = 0
    held: tuple[int, int] | None = None
    for sentence in sentencex.segment("en", text):
        start = text.index(sentence, position)
        position = start + len(sentence)
        start, end = _strip(text, start, position)
        if start == end:
            continue
        # A note in brackets, "(Recommendation)", belongs to the sentence before it.
        if held and _BRACKETED.fullmatch(text, start, end):
            held = held[0], end
            continue
        if held:
            yield held
        held = start, end
    if held:
        yield held


def normalise(text: str) -> str:
    """The text as the model and the reference hashes see it: NFKC, plain quotes and hyphens, single spaces."""
    folded = unicodedata.normalize("NFKC", text).translate(_PLAIN)
    return re.sub(r"\s+", " ", folded).strip()


def fingerprint(text: str) -> str:
    """sha256 of the normalised text, in hexadecimal: the name of a passage whose words are not ours to keep."""
    return hashlib.sha256(normalise(text).encode()).hexdigest()


_BRACKETED = re.compile(r"\([^()]{1,60}\)[.;]?")
_PLAIN = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u0060\u00b4", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb", '"'),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
        **dict.fromkeys("\u00ad\u200b\u200c\u200d\u2060\ufeff", None),
    }
)


def _words(text: str) -> int:
    return len(text.split())


def _strip(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end
