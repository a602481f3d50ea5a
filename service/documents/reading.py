"""Tell a document's type by its content, read it, and refuse what could not be scored."""

from __future__ import annotations

import io
import zipfile

from service.documents import docx, email, html, markdown, pdf, text
from service.documents.document import Document
from service.documents.text import decode
from service.errors import DamagedDocument, EmptyDocument, EncryptedDocument, NoText, UnsupportedDocument

# A word is a run without white space. English has none of a thousand characters; encoded data has.
LONGEST_WORD = 1_000
FEWEST_DISTINCT_WORDS, AMONG = 100, 10_000
SIGNATURES = {
    b"{\\rtf": "a rich text (RTF) file",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"\x1f\x8b": "a gzip archive",
    b"Rar!": "a RAR archive",
    b"7z\xbc\xaf": "a 7-Zip archive",
    b"\x7fELF": "a program",
    b"MZ\x90": "a program",
}


def read(data: bytes) -> Document:
    """Read a PDF, DOCX, HTML, e-mail, Markdown or text document.

    Raises DocumentError: EmptyDocument, UnsupportedDocument (another type, binary noise, no prose), DamagedDocument,
    EncryptedDocument, or NoText (nothing in it that could be a passage).
    """
    if not data.strip(b"\x00 \t\r\n\f\xef\xbb\xbf"):
        raise EmptyDocument("the file is empty" if not data else "the file holds nothing but white space")
    document = _read(data)
    _refuse_what_is_not_prose(document.text)
    if not document.passages():
        raise NoText("the document holds no paragraph, list item or quotation to score")
    return document


def _read(data: bytes) -> Document:
    if b"%PDF-" in data[:1024]:
        return pdf.read(data)
    if data.startswith(b"PK\x03\x04"):
        _refuse_other_archives(data)
        return docx.read(data)
    if data.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        if "EncryptedPackage".encode("utf-16-le") in data:
            raise EncryptedDocument("the Office document is protected with a password")
        raise UnsupportedDocument("an old Office file (.doc, .xls or .ppt): save it as DOCX or PDF")
    for signature, name in SIGNATURES.items():
        if data.startswith(signature):
            raise UnsupportedDocument(f"{name}: candour reads PDF, DOCX, HTML, e-mail, Markdown and text")
    content = decode(data)
    if html.looks_like(content):
        return html.read(content)
    if email.looks_like(content):
        return email.read(data)
    if markdown.looks_like(content):
        return markdown.read(content)
    return text.read(content)


def _refuse_other_archives(data: bytes) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = set(archive.namelist())
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise DamagedDocument(f"a zip archive (such as DOCX) that is damaged or cut short: {error}") from error
    if "word/document.xml" not in names:
        raise UnsupportedDocument("a zip archive that is not a Word document (it has no word/document.xml)")


def _refuse_what_is_not_prose(content: str) -> None:
    words = content.split()
    longest = max(map(len, words), default=0)
    if longest > LONGEST_WORD:
        raise UnsupportedDocument(f"holds {longest:,} characters without a space: not prose that could be scored")
    if len(words) > AMONG and len(set(words)) < FEWEST_DISTINCT_WORDS:
        raise UnsupportedDocument(f"repeats the same few words {len(words):,} times: not prose that could be scored")
