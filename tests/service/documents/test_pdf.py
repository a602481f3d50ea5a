"""PDFs made here line by line, so that each test says where on the page its words stand. All words are invented."""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Iterable
from datetime import date
from itertools import pairwise
from pathlib import Path

import pytest

from labels.passages import BlockKind
from service.documents.document import Document
from service.documents.pdf import read
from service.errors import DamagedDocument, EncryptedDocument, NoText

REPORTS = Path(os.environ.get("CANDOUR_REPORTS", Path(__file__).parents[4] / "shared" / "reports"))

# (x, y, text), with a size (12) and a face ("": Helvetica, "bold", "italic")
Line = tuple[float, float, str] | tuple[float, float, str, float] | tuple[float, float, str, float, str]
FACES = {"": "Helvetica", "bold": "Helvetica-Bold", "italic": "Helvetica-Oblique"}


def make(*pages: Iterable[Line], title: str = "", trailer: str = "") -> bytes:
    """A PDF with the lines of each page where they are told to stand."""
    names = list(FACES)
    fonts = [
        f"<< /Type /Font /Subtype /Type1 /BaseFont /{face} /Encoding /WinAnsiEncoding >>" for face in FACES.values()
    ]
    resources = "/Font << " + " ".join(f"/F{n} {3 + n} 0 R" for n in range(len(fonts))) + " >>"
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", "", *fonts]
    kids = []
    for page in pages:
        parts = []
        for x, y, text, *style in page:
            size, face = (style[0] if style else 12), str(style[1] if len(style) > 1 else "")
            escaped = re.sub(r"([\\()])", r"\\\1", text)
            parts.append(f"BT /F{names.index(face)} {size} Tf {x} {y} Td ({escaped}) Tj ET")
        stream = "\n".join(parts)
        kids.append(f"{len(objects) + 1} 0 R")
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources << {resources} >>"
            f" /Contents {len(objects) + 2} 0 R >>"
        )
        objects.append(f"<< /Length {len(stream.encode('cp1252'))} >>\nstream\n{stream}\nendstream")
    objects[1] = f"<< /Type /Pages /Kids [{' '.join(kids)}] /Count {len(kids)} >>"
    objects.append(f"<< /Title ({title}) >>")
    data, offsets = b"%PDF-1.7\n", []
    for number, content in enumerate(objects, 1):
        offsets.append(len(data))
        data += f"{number} 0 obj\n{content}\nendobj\n".encode("cp1252")
    start = len(data)
    data += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode()
    data += b"".join(f"{offset:010} 00000 n \n".encode() for offset in offsets)
    data += f"trailer << /Size {len(objects) + 1} /Root 1 0 R /Info {len(objects)} 0 R {trailer} >>\n".encode()
    return data + f"startxref\n{start}\n%%EOF\n".encode()


def column(y: float, *texts: str, x: float = 72, step: float = 14) -> list[Line]:
    """Lines one under the other."""
    return [(x, y - step * n, text) for n, text in enumerate(texts)]


def blocks(document: Document, kind: BlockKind) -> list[str]:
    return [document.text[block.start : block.end] for block in document.blocks if block.kind is kind]


def passages(document: Document) -> list[str]:
    return [passage.text for passage in document.passages]


FIRST = column(
    700,
    "The harbour office keeps a log of every boat that comes in before the tide turns,",
    "and its clerks check the log against the berths each evening. They found that the",
    "two lists agreed in all but three weeks of the year.",
)
SECOND = column(
    640,
    "Visitors said that the signs on the quay were clear. The council has since moved",
    "one of them so that it can be read from the water as well as from the road.",
)


def test_lines_make_paragraphs_and_gaps_part_them() -> None:
    document = read(make([*FIRST, *SECOND]))
    assert [text.split()[0] for text in passages(document)] == ["The", "Visitors"]
    assert passages(document)[0].endswith(
        "turns, and its clerks check the log against the berths each evening."
        " They found that the two lists agreed in all but three weeks of the year."
    )
    assert document.pages == 1
    assert document.media_type == "application/pdf"


def test_passages_are_slices_of_the_text() -> None:
    document = read(make([*FIRST, *SECOND]))
    assert all(document.text[passage.start : passage.end] == passage.text for passage in document.passages)


def test_a_paragraph_runs_on_over_the_page_break() -> None:
    upper, lower = FIRST[:2], [(72.0, 760.0, FIRST[2][2])]
    document = read(make([*SECOND, *((x, y - 540, text) for x, y, text, *_ in upper)], [*lower, *SECOND]))
    running = [passage for passage in document.passages if passage.text.startswith("The harbour")]
    assert [(passage.page, passage.text.endswith("of the year.")) for passage in running] == [(1, True)]


def test_a_passage_has_the_page_on_which_it_starts_and_not_that_of_its_paragraph() -> None:
    counted = [
        f"The clerk of the harbour wrote down name and berth of all {n} boats that came in." for n in range(11, 19)
    ]
    lines = textwrap.wrap(" ".join(counted), 84)
    document = read(make([*SECOND, *column(116, *lines[:3])], [*column(760, *lines[3:]), *SECOND]))
    (running,) = (block for block in document.blocks if document.text[block.start :].startswith("The clerk"))
    assert document.text[running.end - 3 : running.end] == "in."
    first, second = (p for p in document.passages if p.text.startswith("The clerk"))
    assert (first.page, second.page) == (1, 2)
    assert document.text[second.start : second.end] == second.text


@pytest.mark.parametrize("glyph", ["\u2022", "\u2013", "o"])
def test_bullets_are_items_without_their_glyph(glyph: str) -> None:
    page: list[Line] = [
        *SECOND,
        (72, 600, glyph),
        (90, 600, "The slipway was mended in spring, and the boats that had lain in the yard over"),
        (90, 586, "winter were back in the water by May."),
        (72, 566, glyph),
        (90, 566, "No child was hurt."),
    ]
    document = read(make(page))
    mended, hurt = blocks(document, BlockKind.ITEM)
    assert mended.startswith("The slipway was mended in spring, and the boats that had lain in the yard over winter")
    assert hurt == "No child was hurt."


def test_an_item_runs_on_over_the_page_break() -> None:
    first: list[Line] = [
        *SECOND,
        (72, 80, "\u2022"),
        (90, 80, "The slipway was mended in spring, and the boats that lay"),
    ]
    second: list[Line] = [(90, 760, "in the yard over winter were afloat by May."), *SECOND]
    assert blocks(read(make(first, second)), BlockKind.ITEM) == [
        "The slipway was mended in spring, and the boats that lay in the yard over winter were afloat by May."
    ]


def test_paragraph_numbers_are_left_out_and_part_paragraphs() -> None:
    page: list[Line] = [
        (72, 700, "12."),
        (100, 700, "Keepers visit each light once a month and write down what they find there, from"),
        (100, 686, "the oil that was burnt to the ships that went by in the night and had reached the age of"),
        (100, 672, "20. They are paid for it."),
        (72, 650, "13."),
        (100, 650, "Nobody reads the books."),
    ]
    texts = passages(read(make(page)))
    assert [text[:9] for text in texts] == ["Keepers v", "Nobody re"]
    assert texts[0].endswith("had reached the age of 20. They are paid for it.")


def test_running_heads_feet_and_page_numbers_are_dropped() -> None:
    pages = [
        [
            (72.0, 810.0, "Harbour review", 8),
            *FIRST,
            *SECOND,
            (72.0, 30.0, "5 to 9 June", 8),
            (300.0, 30.0, str(n), 8),
        ]
        for n in (1, 2, 3)
    ]
    document = read(make(*pages))
    assert "Harbour review" not in document.text
    assert not re.search(r"\b[123]\b", document.text)


@pytest.mark.parametrize("number", ["2", "Page 2", "Page 2 of 3", "- 2 -"])
def test_a_page_number_alone_is_dropped_from_a_single_page(number: str) -> None:
    assert read(make([*FIRST, (290, 30, number)])).text.endswith("three weeks of the year.")


def test_a_two_page_letter_loses_its_foot() -> None:
    foot = (72.0, 30.0, "Harbour House, Quay Road")
    document = read(make([*FIRST, foot], [*SECOND, foot]))
    assert "Quay Road" not in document.text


@pytest.mark.parametrize(
    ("head", "tail", "elsewhere", "expected"),
    [
        ("aware-", "ness of the tide", "Their awareness was good all year round.", "awareness of"),
        ("night-", "watch kept there", "The night-watch was good all year round.", "night-watch kept"),
        ("multi-", "agency meetings", "The sea was calm.", "multi-agency meetings"),
        ("seam-", "anship of the crew", "The sea was calm.", "seamanship of"),
        ("15-", "and 16-year-olds", "The sea was calm.", "15- and 16-year-olds"),
    ],
)
def test_words_cut_at_the_end_of_a_line(head: str, tail: str, elsewhere: str, expected: str) -> None:
    page = column(700, f"The pilots who came in from the outer banks that winter spoke well of the {head}", f"{tail}.")
    page += column(640, elsewhere)
    assert expected in passages(read(make(page)))[0]


def test_notes_are_furniture_and_their_numbers_leave_the_body() -> None:
    first: list[Line] = [
        *SECOND,
        (72, 120, "The harbour"),
        (137, 124, "1", 7),
        (145, 120, "office keeps a log of every boat that comes in before"),
        (72, 106, "the tide turns, and its clerks check it against the list of"),
        (72, 60, "1", 6),
        (77, 56, "The log was first kept in the year of the flood.", 9),
    ]
    second = [*column(760, "berths each evening of the week.")]
    document = read(make(first, second))
    assert blocks(document, BlockKind.FURNITURE) == ["The log was first kept in the year of the flood."]
    assert passages(document)[-1] == (
        "The harbour office keeps a log of every boat that comes in before the tide turns, and its clerks check it"
        " against the list of berths each evening of the week."
    )


def test_headings_large_bold_or_set_apart() -> None:
    page: list[Line] = [
        (72, 780, "The state of the harbour in the year", 20),
        (72, 756, "of the flood", 20),
        (72, 725, "What the keepers found", 12, "bold"),
        *FIRST,
        (72, 659, "Signs on the quay"),
        *SECOND,
    ]
    document = read(make(page))
    assert blocks(document, BlockKind.HEADING) == [
        "The state of the harbour in the year of the flood",
        "What the keepers found",
        "Signs on the quay",
    ]
    assert document.title == "The state of the harbour in the year of the flood"
    assert len(passages(document)) == 2


def test_a_title_in_the_metadata_counts_where_the_page_bears_it_out() -> None:
    page: list[Line] = [(72, 760, "Harbour review", 20), (72, 730, "The year of the flood", 14), *FIRST]
    assert read(make(page, title="The year of the flood")).title == "The year of the flood"
    assert read(make(page, title="template v3 DRAFT")).title == "Harbour review"
    assert read(make(FIRST)).title is None


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Report published: 31 March 2017", date(2017, 3, 31)),
        ("Published 4 May 2021", date(2021, 5, 4)),
        ("12 Sep 2020", date(2020, 9, 12)),
        ("Inspection dates: 9 March 2020 to 13 March 2020", None),
        ("31 February 2020", None),
    ],
)
def test_the_date_of_publication(line: str, expected: date | None) -> None:
    document = read(make([(72, 780, "Harbour review", 20), (72, 740, line), *FIRST]))
    assert document.published == expected
    assert len(passages(document)) == 1


def test_a_table_of_grades_gives_no_passage() -> None:
    page: list[Line] = [
        (77, 790, "Judgement", 12, "bold"),
        (340, 790, "Grade", 12, "bold"),
        (77, 770, "The upkeep of the lights and"),
        (77, 756, "of the buoys"),
        (340, 770, "Requires improvement"),
        (340, 756, "to be good"),
        (77, 736, "Overall"),
        (340, 736, "Good"),
        *FIRST,
    ]
    document = read(make(page))
    assert len(passages(document)) == 1
    assert "to be good" in " ".join(blocks(document, BlockKind.TABLE))


def test_contents_and_particulars_give_no_passage() -> None:
    page: list[Line] = [
        (72, 790, "Lead keeper: A. N. Other"),
        (72, 765, "What we found"),
        (500, 765, "4"),
        (72, 745, "What must change ........................ 9"),
        *FIRST,
    ]
    assert len(passages(read(make(page)))) == 1


def test_small_print_and_sections_about_procedure_are_furniture() -> None:
    last: list[Line] = [
        (72, 780, "Information about this inspection", 14, "bold"),
        *FIRST,
        (72, 600, "If you would like a copy of this document in a different format, ask at the desk."),
        (72, 570, "Harbour House keeps its own doors open to all who come."),
    ]
    document = read(make([*FIRST, *SECOND], last))
    assert {passage.page for passage in document.passages} == {1}
    assert "ask at the desk" in " ".join(blocks(document, BlockKind.FURNITURE))


def test_two_columns_are_read_one_after_the_other() -> None:
    left = column(700, *["Boats that come in on the tide are met", "by a pilot who knows the harbour and"] * 6)
    right = column(700, "who tells them where they are to lie and", "for how many nights.", x=320)
    (text,) = blocks(read(make([*left, *right])), BlockKind.PARAGRAPH)
    assert text.endswith("knows the harbour and who tells them where they are to lie and for how many nights.")


def test_lines_written_last_but_standing_first_are_read_first() -> None:
    assert [text[:3] for text in passages(read(make([*SECOND, *FIRST])))] == ["The", "Vis"]


def test_an_encrypted_file_says_so() -> None:
    secret = f"<{'ab' * 32}>"
    lock = f"/Encrypt << /Filter /Standard /V 1 /R 2 /O {secret} /U {secret} /P -4 >> /ID [<00> <00>]"
    with pytest.raises(EncryptedDocument, match="password"):
        read(make(FIRST, trailer=lock))


@pytest.mark.parametrize("data", [b"", b"%PDF-1.7\n", b"no PDF at all", make(FIRST)[:-40], b"startxref\n0\n%%EOF"])
def test_a_damaged_file_says_so(data: bytes) -> None:
    with pytest.raises(DamagedDocument, match="damaged"):
        read(data)


@pytest.mark.parametrize("page", [[], [(290.0, 30.0, "1")]])
def test_a_scan_says_so(page: list[Line]) -> None:
    with pytest.raises(NoText, match="OCR"):
        read(make(page))


def test_odd_pages_do_not_crash() -> None:
    odd: list[Line] = [(72, 700, "\u2022"), (72, 700, "12."), (-900, 5000, "x"), (72, 1, "."), (72, 400, "word-", 0.1)]
    assert read(make(odd, odd, [])).pages == 3


@pytest.mark.reports
@pytest.mark.skipif(not REPORTS.is_dir(), reason="the reports are not here")
@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("devon-2015-05-12", 200),
        ("sefton-2016-06-27", 200),
        ("wigan-2017-03-31", 150),
        ("barnsley-2018-11-19", 50),
        ("derbyshire-2019-09-19", 40),
        ("islington-2020-04-15", 40),
        ("dorset-2021-11-19", 35),
        ("york-2022-05-04", 40),
        ("barking-and-dagenham-2023-09-04", 60),
        ("cumberland-2024-11-26", 60),
        ("leicester-2025-01-29", 60),
    ],
)
def test_invariants_of_real_reports(name: str, least: int) -> None:
    document = read((REPORTS / f"{name}.pdf").read_bytes())
    found = document.passages
    assert len(found) >= least
    assert document.title and len(document.title.split()) > 3
    assert all(left.end <= right.start for left, right in pairwise(document.blocks))
    pages = [passage.page or 0 for passage in found]
    assert pages == sorted(pages)
    for passage in found:
        assert document.text[passage.start : passage.end] == passage.text
        assert not re.search(r"[\ue000-\uf8ff\ufffe\x00-\x1f\u25fc]|  ", passage.text), passage.page
    # No head or foot, no small print, and next to no sentence cut short.
    assert len({passage.text for passage in found}) == len(found)
    assert not any("Piccadilly Gate" in passage.text or "Crown copyright" in passage.text for passage in found)
    long = [passage.text for passage in found if len(passage.text.split()) > 20]
    whole = [text for text in long if text[0].isupper() or not text[0].isalpha()]
    assert len(whole) >= 0.97 * len(long)
    ended = [text for text in long if re.search(r"[.!?:;][\u2019\u201d)]*$|\)$", text)]
    assert len(ended) >= 0.97 * len(long)
