"""DOCX, by python-docx; the text is read from the XML, where tracked changes, fields and text boxes are plain."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import docx
from docx.opc.exceptions import OpcError
from docx.oxml.ns import qn
from docx.text.paragraph import Paragraph
from lxml import etree

from labels.passages import BlockKind
from service.documents.document import Document, Draft
from service.documents.furniture import settle
from service.documents.text import parted, unmarked
from service.errors import DamagedDocument, EncryptedDocument, TooLarge

MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
# What the archive may unpack to. A press release takes kilobytes; a bomb takes gigabytes.
MOST_UNPACKED_BYTES = 200_000_000
MOST_XML_BYTES = 30_000_000
# A table with a cell of more words lays out prose.
MOST_WORDS_OF_DATA = 60

_P, _TBL, _TR, _TC, _R, _T = (qn(f"w:{name}") for name in ("p", "tbl", "tr", "tc", "r", "t"))
_BOX, _CHOICE = qn("w:txbxContent"), "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
# Taken out by a tracked change, or said a second time for old programs.
_GONE = frozenset({qn("w:del"), qn("w:moveFrom"), _CHOICE, qn("w:instrText"), qn("w:pPr"), qn("w:rPr")})
_BREAK = "\v"
_MARKS = {qn("w:tab"): " ", qn("w:br"): _BREAK, qn("w:cr"): _BREAK, qn("w:noBreakHyphen"): "-"}


def read(data: bytes) -> Document:
    """Paragraphs, list items, quotations, headings and tables in the order of the page; no heads, feet or notes.

    Raises DamagedDocument, EncryptedDocument or TooLarge.
    """
    try:
        _refuse_bombs(data)
        source = docx.Document(io.BytesIO(data))
        draft = Draft()
        for kind, text in settle(_blocks(source.element.body, source)):
            draft.add(kind, text)
        title = " ".join((source.core_properties.title or "").split())
    except RuntimeError as error:  # zipfile: "is encrypted, password required for extraction"
        if "encrypted" not in str(error):
            raise
        raise EncryptedDocument("the Word document is protected with a password") from error
    except (
        OpcError, zipfile.BadZipFile, zlib.error, etree.LxmlError, SyntaxError, EOFError, OSError, LookupError,
        ValueError, AttributeError, TypeError, NotImplementedError,
    ) as error:  # fmt: skip
        # What python-docx says when parts are missing or malformed is of every kind.
        raise DamagedDocument(f"a Word document that is damaged or cut short: {_reason(error)}") from error
    return draft.finish(MEDIA_TYPE, title=title or draft.first(BlockKind.HEADING))


def _refuse_bombs(data: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > MOST_UNPACKED_BYTES:
        raise TooLarge(f"the Word document unpacks to {unpacked:,} bytes; the limit is {MOST_UNPACKED_BYTES:,}")
    markup = sum(entry.file_size for entry in entries if entry.filename.endswith((".xml", ".rels")))
    if markup > MOST_XML_BYTES:
        raise TooLarge(f"the text of the Word document unpacks to {markup:,} bytes; the limit is {MOST_XML_BYTES:,}")


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _blocks(element: Any, source: Any) -> Iterator[tuple[BlockKind, str]]:
    """The blocks in an element: its paragraphs and tables, through content controls and the like."""
    for child in element.iterchildren(etree.Element):
        if child.tag == _P:
            yield from _paragraph(child, source)
        elif child.tag == _TBL:
            yield from _table(child, source)
        elif child.tag not in _GONE:
            yield from _blocks(child, source)


def _paragraph(element: Any, source: Any) -> Iterator[tuple[BlockKind, str]]:
    pieces = list(_text(element))
    kind = _kind(element, source, "".join(pieces))
    for text in parted("".join(pieces), _BREAK):
        if kind is BlockKind.PARAGRAPH:
            yield unmarked(text)
        else:
            yield kind, unmarked(text)[1] if kind is BlockKind.ITEM else text
    for box in element.iter(_BOX):
        if not any(parent.tag in _GONE for parent in box.iterancestors()):
            yield from _blocks(box, source)


def _text(element: Any) -> Iterator[str]:
    """The text of a paragraph with insertions and hyperlinks, and without deletions and text boxes."""
    for child in element.iterchildren(etree.Element):
        if child.tag == _T:
            yield child.text or ""
        elif child.tag in _MARKS:
            yield _MARKS[child.tag]
        elif child.tag not in _GONE and child.tag != _BOX:
            yield from _text(child)


def _kind(element: Any, source: Any, text: str) -> BlockKind:
    paragraph = Paragraph(element, source._body)
    styles = [name.lower() for name in _styles(paragraph)]
    numbered = element.pPr is not None and element.pPr.numPr is not None
    if any(style.startswith(("heading", "title", "subtitle")) for style in styles):
        return BlockKind.HEADING
    if any(style.startswith(("caption", "header", "footer", "toc", "footnote")) for style in styles):
        return BlockKind.FURNITURE
    if any("quote" in style or style == "block text" for style in styles):
        return BlockKind.QUOTE
    if len(text.split()) <= 20 and text.rstrip()[-1:] not in (*".!?:;,", "") and _is_bold(paragraph):
        return BlockKind.HEADING
    if numbered or any(style.startswith("list") for style in styles):
        return BlockKind.ITEM
    return BlockKind.PARAGRAPH


def _styles(paragraph: Paragraph) -> Iterator[str]:
    """The names of a paragraph's style and of those that it builds on."""
    style, seen = paragraph.style, 0
    while style is not None and seen < 10:
        yield style.name or ""
        style, seen = style.base_style, seen + 1


def _is_bold(paragraph: Paragraph) -> bool:
    runs = [run for run in paragraph.runs if run.text.strip()]
    return bool(runs) and all(run.bold for run in runs)


def _table(table: Any, source: Any) -> Iterator[tuple[BlockKind, str]]:
    """A table that lays out a page (one column, or long cells) holds paragraphs; any other is data, a block a row."""
    rows = [list(row.iterchildren(_TC)) for row in table.iterchildren(_TR)]
    cells = [[" ".join("".join(_cell(cell)).split()) for cell in row] for row in rows]
    if all(len(row) <= 1 for row in rows) or any(
        len(text.split()) > MOST_WORDS_OF_DATA for row in cells for text in row
    ):
        for row in rows:
            for cell in row:
                yield from _blocks(cell, source)
        return
    for texts in cells:
        yield BlockKind.TABLE, " | ".join(text for text in dict.fromkeys(texts) if text)


def _cell(cell: Any) -> Iterator[str]:
    for paragraph in cell.iter(_P):
        yield from _text(paragraph)
        yield " "
