"""Word documents made here with python-docx. All words are invented."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import docx
import pytest
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls

from labels.passages import BlockKind
from service.documents import reading
from service.documents.document import Document
from service.errors import DamagedDocument, DocumentError, TooLarge, UnsupportedDocument

FIRST = (
    "Visits to children in need in Sallowby were late in four cases out of ten, the report says, and nobody had told "
    "the managers who could have put it right before it was published this morning in full."
)
SECOND = "The leader of the council said that £2 million would not undo it."
W = nsdecls("w")


def saved(document: Any) -> bytes:
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


def read(document: Any) -> Document:
    return reading.read(saved(document))


def passages(document: Document) -> list[str]:
    return [passage.text for passage in document.passages]


def kinds(document: Document) -> list[tuple[str, str]]:
    return [(block.kind.value, document.text[block.start : block.end]) for block in document.blocks]


def bold(document: Any, text: str) -> None:
    document.add_paragraph().add_run(text).bold = True


def changed(data: bytes, name: str, content: bytes) -> bytes:
    """The archive with one of its files replaced."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.namelist():
            new.writestr(entry, content if entry == name else old.read(entry))
    return file.getvalue()


def test_styles_give_kinds() -> None:
    source = docx.Document()
    source.core_properties.title = ""
    source.add_heading("Visits come late", 0)
    source.add_paragraph(FIRST)
    source.add_heading("What next", 2)
    source.add_paragraph("visit sooner", style="List Bullet")
    source.add_paragraph("plan better", style="List Number 2")
    source.add_paragraph(SECOND, style="Intense Quote")
    source.add_paragraph("The hall in spring", style="Caption")
    bold(source, "What the leader said")
    source.add_paragraph("We are sorry.")
    document = read(source)
    assert kinds(document) == [
        ("heading", "Visits come late"),
        ("paragraph", FIRST),
        ("heading", "What next"),
        ("item", "visit sooner"),
        ("item", "plan better"),
        ("quote", SECOND),
        ("furniture", "The hall in spring"),
        ("heading", "What the leader said"),
        ("paragraph", "We are sorry."),
    ]
    assert document.title == "Visits come late"
    assert document.media_type.endswith("wordprocessingml.document")


def test_typed_bullets_and_numbers_are_left_out() -> None:
    source = docx.Document()
    for text in (FIRST, "• visit sooner", "-\tplan better", "4.2 Members noted the report."):
        source.add_paragraph(text)
    assert passages(read(source)) == [FIRST, "visit sooner", "plan better", "Members noted the report."]


def test_heads_and_feet_of_pages_are_left_out() -> None:
    source = docx.Document()
    source.sections[0].header.paragraphs[0].text = "Sallowby Council takes care of you and yours."
    source.sections[0].footer.paragraphs[0].text = "Page 1 of the release that you are reading."
    source.add_paragraph(FIRST)
    assert passages(read(source)) == [FIRST]


def test_a_table_of_data_and_one_of_layout() -> None:
    source = docx.Document()
    data = source.add_table(2, 2)
    for row, texts in zip(data.rows, (("Judgement", "Grade"), ("Overall", "Good")), strict=True):
        for cell, text in zip(row.cells, texts, strict=True):
            cell.text = text
    layout = source.add_table(1, 2)
    layout.cell(0, 0).text = "01632 960000"
    layout.cell(0, 1).text = FIRST + " " + FIRST
    layout.cell(0, 1).add_paragraph(SECOND)
    document = read(source)
    assert [text for kind, text in kinds(document) if kind == "table"] == ["Judgement | Grade", "Overall | Good"]
    assert passages(document)[-2:] == [FIRST + " " + FIRST, SECOND]


def test_tracked_changes_links_and_controls() -> None:
    source = docx.Document()
    source.add_paragraph(FIRST)
    source.element.body.insert(
        0,
        parse_xml(
            f'<w:p {W}><w:r><w:t xml:space="preserve">The council is </w:t></w:r>'
            "<w:del><w:r><w:delText>not </w:delText><w:t>not </w:t></w:r></w:del>"
            '<w:ins><w:r><w:t xml:space="preserve">very </w:t></w:r></w:ins>'
            "<w:hyperlink><w:r><w:t>sorry</w:t></w:r></w:hyperlink>"
            "<w:r><w:noBreakHyphen/><w:t>ish</w:t><w:tab/><w:t>today.</w:t></w:r></w:p>"
        ),
    )
    source.element.body.insert(
        1, parse_xml(f"<w:sdt {W}><w:sdtContent><w:p><w:r><w:t>{SECOND}</w:t></w:r></w:p></w:sdtContent></w:sdt>")
    )
    assert passages(read(source)) == ["The council is very sorry-ish today.", SECOND, FIRST]


def test_a_text_box_is_read_once() -> None:
    box = f"<w:txbxContent><w:p><w:r><w:t>{SECOND}</w:t></w:r></w:p></w:txbxContent>"
    source = docx.Document()
    source.add_paragraph(FIRST)
    source.element.body.insert(
        0,
        parse_xml(
            f'<w:p {W} xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006" xmlns:v="urn:v">'
            f'<w:r><mc:AlternateContent><mc:Choice Requires="wps"><v:box>{box}</v:box></mc:Choice>'
            f"<mc:Fallback><w:pict>{box}</w:pict></mc:Fallback></mc:AlternateContent></w:r>"
            "<w:r><w:t>In brief it is this.</w:t></w:r></w:p>"
        ),
    )
    assert passages(read(source)) == ["In brief it is this.", SECOND, FIRST]


def test_line_breaks_part_paragraphs_where_a_sentence_ends() -> None:
    source = docx.Document()
    paragraph = source.add_paragraph(FIRST)
    paragraph.add_run().add_break()
    paragraph.add_run(SECOND)
    wrapped = source.add_paragraph("It was late, and it")
    wrapped.add_run().add_break()
    wrapped.add_run("was cold.")
    assert passages(read(source)) == [FIRST, SECOND, "It was late, and it was cold."]


def test_a_short_paragraph_is_not_lost() -> None:
    source = docx.Document()
    for text in ("Statement", FIRST, "the visits were late", SECOND, "No more delay"):
        source.add_paragraph(text)
    assert passages(read(source)) == [FIRST, "the visits were late", SECOND, "No more delay"]


def test_passages_are_slices() -> None:
    source = docx.Document()
    source.add_paragraph((FIRST + " ") * 6)
    document = read(source)
    assert len(document.passages) > 1
    assert all(document.text[passage.start : passage.end] == passage.text for passage in document.passages)


def sound() -> bytes:
    source = docx.Document()
    source.add_paragraph(FIRST)
    return saved(source)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9, 0.99])
def test_a_truncated_document(share: float) -> None:
    data = sound()
    with pytest.raises(DamagedDocument):
        reading.read(data[: int(len(data) * share)])


def test_other_archives() -> None:
    for name, words in {
        "a.txt": "no Word document",
        "xl/workbook.xml": "Excel",
        "ppt/presentation.xml": "PowerPoint",
    }.items():
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr(name, FIRST)
        with pytest.raises(UnsupportedDocument, match=words):
            reading.read(file.getvalue())


@pytest.mark.parametrize("name", ["word/document.xml", "[Content_Types].xml", "_rels/.rels", "word/styles.xml"])
@pytest.mark.parametrize(
    "content", [b"", b"<w:document", b"<a/>", b"\x00\xff", b"<a>" * 5_000, b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>"]
)
def test_a_part_that_is_broken_is_damage_or_does_no_harm(name: str, content: bytes) -> None:
    try:
        assert passages(reading.read(changed(sound(), name, content))) == [FIRST]
    except DocumentError as error:
        assert str(error)
        assert "\n" not in str(error)


def test_a_broken_body_is_damage() -> None:
    with pytest.raises(DamagedDocument):
        reading.read(changed(sound(), "word/document.xml", b"<w:document><w:body>"))


def test_bytes_turned_over_are_an_error_or_do_no_harm() -> None:
    data = sound()
    for at in range(0, len(data), len(data) // 150):
        spoilt = data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]
        try:
            reading.read(spoilt)
        except DocumentError:
            continue


@pytest.mark.parametrize(("name", "size"), [("word/media/a.bin", 300_000_000), ("word/document.xml", 60_000_000)])
def test_a_bomb_is_refused_before_it_unpacks(name: str, size: int) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("word/document.xml" if name != "word/document.xml" else "other.xml", "<a/>")
        with archive.open(name, "w") as entry:
            for _ in range(size // 1_000_000):
                entry.write(bytes(1_000_000))
    with pytest.raises(TooLarge):
        reading.read(file.getvalue())


def test_headings_are_no_passages() -> None:
    source = docx.Document()
    source.add_heading("Visits come late", 1)
    source.add_paragraph(FIRST)
    document = read(source)
    assert [block.kind for block in document.blocks] == [BlockKind.HEADING, BlockKind.PARAGRAPH]
