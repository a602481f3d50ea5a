"""The lines of a PDF page: words from pdfium with their boxes, and words on one baseline joined into lines."""

from __future__ import annotations

import ctypes
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace

import pypdfium2 as pdfium
from pypdfium2 import raw

# A paragraph number: 12. (a) iv) 4.2
NUMBER = re.compile(r"\(?(?:\d{1,3}|[a-z]|[ivx]{1,4})[.)]|\d{1,3}(?:\.\d{1,2}){1,2}\.?")
# A bullet or a number with no space behind it.
_GLUED = re.compile(r"([\ue000-\uf8ff•◼■▪●]|\d{1,3}[.)](?=[A-Z‘“]))(.+)")


@dataclass(slots=True)
class Word:
    text: str
    x0: float
    x1: float
    y: float
    size: float
    bold: bool


@dataclass(slots=True)
class Line:
    words: list[Word]
    page: int
    # What stood before the text and is no part of it: a bullet, a paragraph number, a note's number.
    marker: Word | None = None
    left: float = 0.0
    right: float = 0.0
    tabular: bool = False
    small: bool = False

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)

    @property
    def x0(self) -> float:
        return (self.marker or self.words[0]).x0

    @property
    def text_x(self) -> float:
        return self.words[0].x0

    @property
    def x1(self) -> float:
        return self.words[-1].x1

    @property
    def y(self) -> float:
        return self.words[0].y

    @property
    def size(self) -> float:
        return max(self.words, key=lambda word: len(word.text)).size

    @property
    def bold(self) -> bool:
        return all(word.bold for word in self.words)

    @property
    def noted(self) -> bool:
        """Whether a raised number opens the line: a footnote."""
        return self.marker is not None and self.marker.text.isdigit() and self.marker.y > self.y + 0.1 * self.size

    @property
    def ends(self) -> bool:
        """Whether a sentence ends with the line."""
        return self.text.rstrip("’”'\")] ").endswith((".", "!", "?", ":"))


def page_lines(pdf: pdfium.PdfDocument, index: int) -> tuple[list[Line], float]:
    """The lines of a page, in the order in which they were written, and its height."""
    with closing(pdf[index]) as page, closing(page.get_textpage()) as text:
        return list(_lines(_words(text), index + 1)), page.get_height()


def _words(page: pdfium.PdfTextPage) -> Iterator[Word]:
    """The words of a page. Calls into pdfium are dear, so a word is measured at its two ends only."""
    handle = page.raw
    codes = [raw.FPDFText_GetUnicode(handle, index) for index in range(page.count_chars())]
    left, right, bottom, top, x, y = (ctypes.c_double() for _ in range(6))
    box = [ctypes.byref(value) for value in (left, right, bottom, top)]
    origin = [ctypes.byref(value) for value in (x, y)]
    styles: dict[int, tuple[float, bool]] = {}

    def style(index: int) -> tuple[float, bool]:
        written = raw.FPDFText_GetTextObject(handle, index)
        key = ctypes.cast(written, ctypes.c_void_p).value or 0
        if key not in styles:
            matrix = raw.FS_MATRIX()
            raw.FPDFText_GetMatrix(handle, index, ctypes.byref(matrix))
            size = raw.FPDFText_GetFontSize(handle, index) * (math.hypot(matrix.c, matrix.d) or 1.0)
            name = ctypes.create_string_buffer(128)
            raw.FPDFText_GetFontInfo(handle, index, name, 128, None)
            heavy = any(part in name.value.lower() for part in (b"bold", b"black", b"heavy", b"demi"))
            styles[key] = (size, heavy or raw.FPDFText_GetFontWeight(handle, index) >= 600)
        return styles[key]

    for start, end in _spans(codes):
        size, bold = style(start)
        text = "".join(map(chr, codes[start:end]))
        if text[-1].isdigit() and not text.isdigit():
            # A note's number, raised behind the word: "Board1".
            while end > start + 1 and chr(codes[end - 1]).isdigit() and style(end - 1)[0] < 0.8 * size:
                end -= 1
            text = text[: end - start]
        raw.FPDFText_GetCharBox(handle, end - 1, *box)
        x1 = right.value
        raw.FPDFText_GetCharBox(handle, start, *box)
        raw.FPDFText_GetCharOrigin(handle, start, *origin)
        yield Word(text, left.value, max(x1, right.value), y.value, size, bold)


def _spans(codes: list[int]) -> Iterator[tuple[int, int]]:
    """Runs of characters between spaces. pdfium marks a hyphen at a line's end and leaves no space behind it."""
    start = None
    for index, code in enumerate(codes):
        if code == 0 or code > 0x10FFFF or 0xD800 <= code < 0xE000 or chr(code).isspace():
            if start is not None:
                yield start, index
            start = None
            continue
        if start is None:
            start = index
        if code in (0x02, 0xFFFE):
            yield start, index + 1
            start = None
    if start is not None:
        yield start, len(codes)


def _lines(words: Iterable[Word], page: int) -> Iterator[Line]:
    held: list[Word] = []
    for word in words:
        if held:
            last = held[-1]
            size = max(word.size, last.size)
            level = abs(word.y - last.y) < 0.2 * size or (
                abs(word.y - last.y) < 0.6 * size and min(word.size, last.size) < 0.8 * size
            )
            if not level or word.x0 < last.x1 - size:
                yield _line(held, page)
                held = []
        held.append(word)
    if held:
        yield _line(held, page)


def _line(words: list[Word], page: int) -> Line:
    """A line, its marker taken off."""
    first, marker = words[0], None
    usual = max(word.size for word in words)
    if glued := _GLUED.match(first.text):
        marker, words = replace(first, text=glued[1]), [replace(first, text=glued[2]), *words[1:]]
    elif len(words) > 1:
        gap = words[1].x0 - first.x1
        if (
            _bullet(first.text)
            or (first.text.isdigit() and first.size < 0.8 * usual and first.y > words[1].y + 0.1 * usual)
            or (NUMBER.fullmatch(first.text) and gap > 0.2 * usual)
            or (re.fullmatch(r"\d{1,3}", first.text) and 0.8 * usual < gap < 4 * usual)
        ):
            marker, words = first, words[1:]
    # A note's number, raised behind a stop: it stands as a word of its own.
    kept = [word for word in words if not (word.text.isdigit() and word.size < 0.8 * usual)] or words
    return Line(kept, page, marker)


def _bullet(text: str) -> bool:
    return text == "o" or (
        (len(text) == 1 and unicodedata.category(text) in {"So", "Sm", "Co", "Pd", "Cn"} and text not in "©®")
        or text in {"•", "·", "*", "‣"}
    )
