"""DOCX, by python-docx."""

from __future__ import annotations

import io
import zipfile

import docx
from docx.opc.exceptions import PackageNotFoundError
from docx.table import Table
from docx.text.paragraph import Paragraph

from labels.passages import BlockKind
from service.documents.document import Document, Draft
from service.documents.furniture import is_furniture, is_heading
from service.errors import DamagedDocument, TooLarge

# What the archive may unpack to. A press release takes kilobytes; a bomb takes gigabytes.
MOST_UNPACKED_BYTES = 200_000_000


def read(data: bytes) -> Document:
    """Paragraphs, list items, quotations, headings and tables in the order of the page."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    if unpacked > MOST_UNPACKED_BYTES:
        raise TooLarge(f"the Word document unpacks to {unpacked:,} bytes; the limit is {MOST_UNPACKED_BYTES:,}")
    try:
        source = docx.Document(io.BytesIO(data))
        draft = Draft()
        for part in source.iter_inner_content():
            if isinstance(part, Table):
                _table(part, draft)
                continue
            draft.add(_kind(part), " ".join(part.text.split()))
        title = source.core_properties.title or draft.first(BlockKind.HEADING)
    except (PackageNotFoundError, KeyError, ValueError, zipfile.BadZipFile, SyntaxError, EOFError) as error:
        raise DamagedDocument(f"a Word document that is damaged or cut short: {error}") from error
    except Exception as error:  # zlib.error and lxml's errors share no base with the above
        if type(error).__module__.split(".")[0] in ("zlib", "lxml"):
            raise DamagedDocument(f"a Word document that is damaged: {error}") from error
        raise
    return draft.finish("application/vnd.openxmlformats-officedocument.wordprocessingml.document", title=title)


def _kind(paragraph: Paragraph) -> BlockKind:
    style = ((paragraph.style.name if paragraph.style else None) or "").lower()
    text = paragraph.text.strip()
    runs = [run for run in paragraph.runs if run.text.strip()]
    numbered = paragraph._p.pPr is not None and paragraph._p.pPr.numPr is not None
    if style.startswith(("heading", "title", "subtitle")):
        return BlockKind.HEADING
    if style.startswith(("caption", "header", "footer", "toc")) or is_furniture(text):
        return BlockKind.FURNITURE
    if numbered or style.startswith("list"):
        return BlockKind.ITEM
    if "quote" in style:
        return BlockKind.QUOTE
    if is_heading(text) or (
        runs and all(run.bold for run in runs) and len(text.split()) <= 20 and text[-1] not in ".!?"
    ):
        return BlockKind.HEADING
    return BlockKind.PARAGRAPH


def _table(table: Table, draft: Draft) -> None:
    """A table that lays out a page (one column) holds paragraphs; any other is data."""
    layout = len(table.columns) == 1
    for row in table.rows:
        if layout:
            for cell in row.cells:
                for paragraph in cell.paragraphs:
                    draft.add(_kind(paragraph), " ".join(paragraph.text.split()))
        else:
            cells = dict.fromkeys(" ".join(cell.text.split()) for cell in row.cells)
            draft.add(BlockKind.TABLE, " | ".join(text for text in cells if text))
