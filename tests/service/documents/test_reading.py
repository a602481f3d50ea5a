"""What is no document at all is refused, each time in one clear sentence; the samples are read whole."""

from __future__ import annotations

import io
import os
import random
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import docx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.documents import Document, read
from service.errors import (
    DamagedDocument,
    DocumentError,
    EmptyDocument,
    EncryptedDocument,
    ErrorPage,
    NoText,
    TooLarge,
    UnsupportedDocument,
)
from tests.service.documents.test_pdf import FIRST, column, make

ROOT = Path(__file__).parents[3]
SAMPLES = sorted(path for path in (ROOT / "samples").iterdir() if path.suffix != ".json")
SIZE = 5_000_000
SENTENCE = "Visits to children in need were late in four cases out of ten, and nobody had told the managers of it."


def passages(document: Document) -> list[str]:
    return [passage.text for passage in document.passages]


def refused(data: bytes, kind: type[DocumentError]) -> str:
    with pytest.raises(kind) as caught:
        read(data)
    detail = str(caught.value)
    assert type(caught.value) is kind
    assert detail
    assert "\n" not in detail
    assert len(detail) < 400
    return detail


@pytest.mark.parametrize(
    "data", [b"", b" \n\t ", b"\x00" * 50, b"\xef\xbb\xbf", b"\xff\xfe \x00\n\x00", b"\xc2\xa0\n" * 9]
)
def test_nothing(data: bytes) -> None:
    refused(data, EmptyDocument)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(90), "PNG"),
        (b"\xff\xd8\xff\xe0" + bytes(90), "JPEG"),
        (b"GIF89a" + bytes(90), "GIF"),
        (b"RIFF\x01\x00\x00\x00WEBP" + bytes(90), "RIFF"),
        (b"II*\x00" + bytes(90), "TIFF"),
        (b"\x00\x00\x00\x18ftypheic" + bytes(90), "HEIC"),
        (b"\x1f\x8b\x08" + bytes(90), "gzip"),
        (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
        (b"Rar!\x1a\x07", "RAR"),
        (b"{\\rtf1\\ansi " + SENTENCE.encode() + b"}", "RTF"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "old Office"),
        (b'{"a": "' + SENTENCE.encode() + b'"}', "JSON"),
        (b'[{"a": 1}, {"a": 2}]', "JSON"),
        (b'{"id": 1, "text": "a"}\n{"id": 2, "text": "b"}\n', "JSON"),
        (b"[" * 900, "JSON"),
        (b'<?xml version="1.0"?><rss><item>' + SENTENCE.encode() + b"</item></rss>", "XML"),
        (b"id,name,grade\n1,Sallowby,good\n2,Oxmarsh,poor\n", "table of data"),
        (b"id\tname\n1\tSallowby\n2\tOxmarsh\n", "table of data"),
        (b"id;name;text\n1;a;b\n2;c;d\n", "table of data"),
        (f'id,council,text\n1,a,"{SENTENCE}"\n2,b,"{SENTENCE}\n\n{SENTENCE}"\n'.encode(), "table of data"),
        (b"%!PS-Adobe-3.0\n" + SENTENCE.encode(), "PostScript"),
    ],
)
def test_other_types_are_named(data: bytes, words: str) -> None:
    assert words in refused(data, UnsupportedDocument)


@pytest.mark.parametrize(
    "start",
    [
        "BMW drivers, of all people, complained.",
        "[Draft] Not for release.",
        "[1] A note.",
        "{sic} It said so.",
        "MZ is a code.",
    ],
)
def test_prose_that_begins_like_data_is_read(start: str) -> None:
    assert passages(read(f"{start}\n\n{SENTENCE}\n".encode()))[-1] == SENTENCE


def test_prose_with_commas_is_no_table() -> None:
    prose = (
        "Visits, plans, reviews were late.\n\nThe mayor, the leader, the clerk said so.\n\nSorry, they said, all three."
    )
    assert len(passages(read(prose.encode()))) == 3


def test_the_type_is_told_by_content() -> None:
    page = f"<html><body><h1>Late</h1><p>{SENTENCE}</p></body></html>"
    assert read(page.encode()).media_type == "text/html"
    assert read(b'<?xml version="1.0" encoding="utf-8"?>\n<!DOCTYPE html>' + page.encode()).media_type == "text/html"
    assert read(b"\n\n<!-- made by hand -->\n" + page.encode()).media_type == "text/html"
    assert read(page.encode("utf-16")).media_type == "text/html"
    assert read(f"# Late\n\n{SENTENCE}".encode()).media_type == "text/markdown"
    assert read(f"Late < early\n\n{SENTENCE}".encode()).media_type == "text/plain"
    assert read(make(column(700, SENTENCE[:50], SENTENCE[51:]))).media_type == "application/pdf"


@pytest.mark.parametrize(
    "title", ["404", "Page not found", "Sorry, we can’t find that page", "Access denied", "Just a moment..."]
)
def test_error_pages(title: str) -> None:
    refused(
        f"<html><head><title>{title}</title></head><body><p>You may have typed it wrong.</p></body></html>".encode(),
        ErrorPage,
    )


def test_a_headline_that_sounds_like_an_error_is_none() -> None:
    text = "".join(f"<p>{SENTENCE}</p>" for _ in range(12))
    assert read(f"<html><body><article><h1>Girl not found</h1>{text}</article></body></html>".encode()).title


@pytest.mark.parametrize(
    "page", ["<html></html>", "<html><body><nav><a href=x>Home</a></nav></body></html>", "<p></p>"]
)
def test_pages_without_text(page: str) -> None:
    refused(page.encode(), NoText)


def test_a_pdf_that_is_cut_short_sealed_or_scanned() -> None:
    whole = make(FIRST)
    refused(whole[: len(whole) // 3], DamagedDocument)
    refused(make([]), NoText)


def test_an_office_file_with_a_password() -> None:
    refused(
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600) + "EncryptedPackage".encode("utf-16-le"), EncryptedDocument
    )


def test_headings_alone() -> None:
    refused(b"# Late\n\n## Later\n", NoText)


def long(unit: str) -> bytes:
    return (unit * (SIZE // len(unit) + 1))[:SIZE].encode()


WORDS = " ".join(f"w{number}" for number in range(300_000)).encode()
BIG = {
    "one word": long("a"),
    "one word and spaces": long("word "),
    "one word a line": long("word\n"),
    "less than": long("<"),
    "less than, spaced": long("< "),
    "greater than": long(">"),
    "greater than, spaced": long("> "),
    "quote marks in lines": long(">\n"),
    "asterisks": long("*"),
    "bullets": long("* "),
    "bullets in lines": long("*\n"),
    "brackets": long("["),
    "backticks": b"# a\n" + long("` "),
    "nested div": long("<div>"),
    "nested div with words": long("<div>x "),
    "nested bold": b"<html>" + long("<b>x "),
    "nested lists": long("<ul><li>"),
    "nested tables": long("<table><tr><td>"),
    "nested quotes": long("<blockquote>a. "),
    "paragraphs": long("<p>some words </p>"),
    "entities": b"<p>" + long("&amp;"),
    "an open comment": b"<html>" + long("<!--"),
    "JSON": long('{"a":'),
    "one paragraph": WORDS,
    "one paragraph of a page": b"<p>" + WORDS,
    "one paragraph of Markdown": b"# A\n\n" + WORDS,
    "an e-mail": b"From: a\nTo: b\nSubject: c\n\n" + long("word "),
    "zeros": b"a" + bytes(SIZE),
}


@pytest.mark.parametrize("name", BIG)
def test_five_megabytes_of_little_are_refused_at_once(name: str) -> None:
    started = time.process_time()
    with pytest.raises(DocumentError) as caught:
        read(BIG[name])
    assert time.process_time() - started < 2
    assert "\n" not in str(caught.value)


def test_a_page_of_too_many_elements() -> None:
    assert "elements" in refused(BIG["paragraphs"], TooLarge)


def test_deep_tags_are_no_cause_to_cut_a_page_short() -> None:
    refused(b"<html><body>" + b"<div>" * 600 + SENTENCE.encode(), DamagedDocument)


@pytest.mark.parametrize("seed", range(60))
def test_noise(seed: int) -> None:
    noise = random.Random(seed)
    with pytest.raises(DocumentError):
        read(noise.randbytes(noise.choice([300, 500, 5_000, 50_000])))


@pytest.mark.parametrize(
    "start", [b"%PDF-1.7\n", b"PK\x03\x04", b"<html>", b"\xff\xfe", b"# A\n", b"From: a\nTo: b\nSubject: c\n\n"]
)
def test_noise_behind_a_known_start(start: bytes) -> None:
    for seed in range(40):
        try:
            check(read(start + random.Random(seed).randbytes(3_000)))
        except DocumentError as error:
            assert str(error)


def check(document: Document) -> None:
    for passage in document.passages:
        assert document.text[passage.start : passage.end] == passage.text
    document.text.encode()
    (document.title or "").encode()


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=3_000))
def test_bytes_of_any_kind(data: bytes) -> None:
    try:
        check(read(data))
    except DocumentError as error:
        assert str(error)


PIECES = st.sampled_from(
    [
        *("<p>", "</p>", "<div>", "</div>", "<br>", "<li>", "<ul>", "</ul>", "<blockquote>", "<table>", "<tr>", "<td>"),
        *(
            "<h1>",
            "</h1>",
            "<b>",
            "</b>",
            "<a href=x>",
            "</a>",
            "<pre>",
            "<q>",
            "<sup>1</sup>",
            "<script>",
            "</script>",
        ),
        *(
            "<!--",
            "-->",
            "<![CDATA[",
            "]]>",
            "<svg>",
            "&nbsp;",
            "&#xD800;",
            "&#0;",
            "#",
            "*",
            "-",
            ">",
            "|",
            "```",
            "---",
        ),
        *(
            "\n\n",
            "\x00",
            "\x85",
            "\u2028",
            "===",
            "[a](b)",
            "1.",
            "4.2",
            ":",
            "word",
            "Sentence.",
            "“Quote”",
            "From: a",
        ),
    ]
)


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(["<html>", "<p>", "", "# A\n\n", "From: a\nTo: b\nSubject: c\n\n"]), st.lists(PIECES, max_size=60)
)
def test_markup_of_any_kind(start: str, pieces: list[str]) -> None:
    try:
        check(read((start + " ".join(pieces)).encode("utf-8", errors="replace")))
    except DocumentError as error:
        assert str(error)


def test_halves_of_surrogates() -> None:
    lone = f"{SENTENCE}\n\n".encode("utf-16-le") + b"\x3d\xd8" + f"{SENTENCE}\n".encode("utf-16-le")
    check(read(b"\xff\xfe" + lone))
    check(read(f'---\ntitle: "\\uD83D"\n---\n\n{SENTENCE}'.encode()))
    check(read(f"<html><body><p>{SENTENCE} &#xD83D;</p></body></html>".encode()))
    check(read(SENTENCE.encode() * 9 + b"\xed\xa0\xbd"))


def test_an_archive_that_lies_about_its_size() -> None:
    file = io.BytesIO()
    docx.Document().save(file)
    data = bytearray(file.getvalue())
    at = data.rfind(b"PK\x01\x02")
    data[at + 24 : at + 28] = (2**31).to_bytes(4, "little")
    refused(bytes(data), TooLarge)


def test_an_archive_with_a_password() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("word/document.xml", "<a/>")
        archive.writestr("[Content_Types].xml", "<a/>")
    data = bytearray(file.getvalue())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.find(mark)
        while at >= 0:
            data[at + offset] |= 1
            at = data.find(mark, at + 4)
    refused(bytes(data), EncryptedDocument)


@pytest.mark.parametrize("path", SAMPLES, ids=[path.name for path in SAMPLES])
def test_samples(path: Path) -> None:
    document = read(path.read_bytes())
    check(document)
    assert document.title
    assert len(document.passages) >= 8
    assert all(passage.text[-1] in ".!?;”\"'d" or len(passage.text.split()) > 3 for passage in document.passages)


def test_samples_are_of_every_kind() -> None:
    assert {path.suffix for path in SAMPLES} == {".pdf", ".html", ".docx", ".txt", ".md", ".eml"}
    assert sum(path.stat().st_size for path in SAMPLES) < 200_000


def test_reading_fetches_nothing() -> None:
    code = (
        "import socket, sys\n"
        "def no(*_, **__): raise SystemExit('network')\n"
        "socket.socket.connect = socket.create_connection = socket.getaddrinfo = no\n"
        "from service.documents import read\n"
        "print(len(read(open(sys.argv[1], 'rb').read()).passages))\n"
    )
    page = next(path for path in SAMPLES if path.suffix == ".html")
    done = subprocess.run(
        [sys.executable, "-c", code, str(page)], cwd=ROOT, env=os.environ, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) > 5
