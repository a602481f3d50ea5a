"""Tell a document's type by its content, read it, and refuse what could not be scored."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections import Counter
from dataclasses import replace
from itertools import islice

from service.documents import docx, email, html, markdown, pdf, text
from service.documents.document import Document
from service.errors import DamagedDocument, EmptyDocument, EncryptedDocument, NoText, UnsupportedDocument

# A word is a run without white space. English has none of a thousand characters; encoded data has.
LONGEST_WORD = 1_000
FEWEST_DISTINCT_WORDS, AMONG = 100, 10_000
# A novel's length; the time to find the sentences of one paragraph grows with its square.
LONGEST_PARAGRAPH = 100_000
READ = "candour reads PDF, DOCX, HTML, e-mail, Markdown and text"
SIGNATURES = {
    b"{\\rtf": "a rich text (RTF) file",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"BM": "a BMP image",
    b"II*\x00": "a TIFF image",
    b"MM\x00*": "a TIFF image",
    b"RIFF": "an image, sound or film (RIFF)",
    b"OggS": "a sound or film (Ogg)",
    b"ID3": "a sound (MP3)",
    b"%!PS": "a PostScript file",
    b"\x1f\x8b": "a gzip archive",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
    b"Rar!": "a RAR archive",
    b"7z\xbc\xaf": "a 7-Zip archive",
    b"SQLite format 3": "a database (SQLite)",
    b"\x7fELF": "a program",
    b"MZ": "a program",
}
# Signatures of letters alone, which a text may begin with too: they count where a control character is near.
_SPEAKABLE = frozenset({b"BM", b"RIFF", b"OggS", b"ID3", b"BZh", b"MZ"})
_PARTS = {
    "xl/workbook.xml": "an Excel workbook",
    "ppt/presentation.xml": "a PowerPoint presentation",
    "META-INF/container.xml": "an e-book (EPUB)",
    "content.xml": "an OpenDocument file",
}
_JSON = re.compile(
    r'\s*(?:\{\s*(?:"[^"\n]{0,300}"\s*:|\})|\[\s*(?:\{\s*["}]|\[|\]|"[^"\n]{0,300}"\s*[,\]]|-?\d[\d.]*\s*,))'
)
_SURROGATE = re.compile("[\ud800-\udfff]")
_ROWS, _FEWEST_ROWS = 50, 3


def read(data: bytes, max_pages: int | None = None) -> Document:
    """Read a PDF, DOCX, HTML, e-mail, Markdown or text document.

    max_pages: of a PDF; one with more is TooLarge.

    Raises DocumentError: EmptyDocument, UnsupportedDocument (another type, binary noise, data, no prose),
    DamagedDocument, EncryptedDocument, TooLarge, ErrorPage, or NoText (nothing in it that could be a passage).
    """
    if not data.strip(b"\x00 \t\r\n\f\v\xef\xbb\xbf\xfe\xff"):
        raise EmptyDocument("the file is empty" if not data else "the file holds nothing but white space")
    document = _sound(_read(data, max_pages))
    _refuse_what_is_not_prose(document.text)
    longest = max((len(document.text[block.start : block.end].split()) for block in document.blocks), default=0)
    if longest > LONGEST_PARAGRAPH:
        raise UnsupportedDocument(f"has a paragraph of {longest:,} words: not prose that could be scored")
    if not document.passages:
        raise NoText("the document holds no paragraph, list item or quotation to score")
    return document


def _read(data: bytes, max_pages: int | None) -> Document:
    if b"%PDF-" in data[:1024]:
        return pdf.read(data, max_pages)
    if data.startswith(b"PK\x03\x04"):
        _refuse_other_archives(data)
        return docx.read(data)
    _refuse_signatures(data)
    content = text.decode(data)
    if not content.strip():
        raise EmptyDocument("the file holds nothing but white space")
    if html.looks_like(content):
        return html.read(content)
    _refuse_what_is_not_prose(content)
    if email.looks_like(content):
        return email.read(content.encode() if b"\x00" in data[:100] else data)
    _refuse_data(content)
    if markdown.looks_like(content):
        return markdown.read(content)
    return text.read(content)


def _refuse_signatures(data: bytes) -> None:
    if data.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        if "EncryptedPackage".encode("utf-16-le") in data:
            raise EncryptedDocument("the Office document is protected with a password")
        raise UnsupportedDocument("an old Office file (.doc, .xls or .ppt): save it as DOCX or PDF")
    if data[4:8] == b"ftyp":
        raise UnsupportedDocument(f"a film or picture (MP4, HEIC or the like): {READ}")
    binary = any(byte < 9 for byte in data[:64])
    for signature, name in SIGNATURES.items():
        if data.startswith(signature) and (binary or signature not in _SPEAKABLE):
            raise UnsupportedDocument(f"{name}: {READ}")


def _refuse_other_archives(data: bytes) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = set(archive.namelist())
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, EOFError) as error:
        raise DamagedDocument(f"a zip archive (such as DOCX) that is damaged or cut short: {error}") from error
    if "word/document.xml" not in names:
        kind = next((name for part, name in _PARTS.items() if part in names), "a zip archive that is no Word document")
        raise UnsupportedDocument(f"{kind}: {READ}")


def _refuse_data(content: str) -> None:
    """Data is read by other programs: JSON, XML that is no page, a table of values parted by commas or tabs."""
    if _JSON.match(content):
        raise UnsupportedDocument(f"JSON data: {READ}")
    if content.lstrip().startswith("<?xml"):
        raise UnsupportedDocument(f"XML data: {READ}")
    if _is_table(content):
        raise UnsupportedDocument(f"a table of data (CSV or the like): {READ}")


def _is_table(content: str) -> bool:
    """Whether nearly all rows have as many fields as the first, whose fields are names and not prose."""
    start = content[:200_000]
    head = start.lstrip("\n").split("\n", 1)[0]
    for delimiter, fewest in (("\t", 2), (",", 3), (";", 3), ("|", 3)):
        if head.count(delimiter) + 1 < fewest:
            continue
        try:
            rows = [row for row in islice(csv.reader(io.StringIO(start), delimiter=delimiter), _ROWS) if row]
        except csv.Error:
            continue
        names = [name.strip() for name in rows[0]] if rows else []
        counts = Counter(map(len, rows))
        named = all(len(name) <= 60 and name[-1:] not in (".", "!", "?") for name in names)
        if len(rows) >= _FEWEST_ROWS and named and len(names) >= fewest and counts[len(names)] >= 0.9 * len(rows):
            return True
    return False


def _refuse_what_is_not_prose(content: str) -> None:
    words = content.split()
    longest = max(map(len, words), default=0)
    if longest > LONGEST_WORD:
        raise UnsupportedDocument(f"holds {longest:,} characters without a space: not prose that could be scored")
    if len(words) > AMONG and len(set(words)) < FEWEST_DISTINCT_WORDS:
        raise UnsupportedDocument(f"repeats the same few words {len(words):,} times: not prose that could be scored")


def _sound(document: Document) -> Document:
    """The document without halves of surrogate pairs, which no encoding can carry; offsets stay as they are."""
    title = _SURROGATE.sub("\ufffd", document.title) if document.title else document.title
    return replace(document, title=title, text=_SURROGATE.sub("\ufffd", document.text))
