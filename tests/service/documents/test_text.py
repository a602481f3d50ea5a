"""Plain texts as people type and programs wrap them. All words are invented."""

from __future__ import annotations

import random
import textwrap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labels.passages import BlockKind
from service.documents import reading, text
from service.documents.document import Document
from service.errors import DocumentError, UnsupportedDocument

FIRST = (
    "Visits to children in need in Sallowby were late in four cases out of ten, and nobody had told the managers "
    "who could have put it right."
)
SECOND = (
    "The council’s leader said that £2 million had been found for new social workers – twelve of them have started – "
    "and that more would follow."
)


def passages(document: Document) -> list[str]:
    return [passage.text for passage in document.passages]


def headings(document: Document) -> list[str]:
    return [document.text[block.start : block.end] for block in document.blocks if block.kind is BlockKind.HEADING]


def kinds(content: str) -> list[tuple[str, str]]:
    return [(kind.value, block) for kind, block in text.blocks(content)]


@pytest.mark.parametrize(
    "content",
    [
        f"{FIRST}\n\n{SECOND}\n",
        f"{FIRST}\n{SECOND}\n",
        "\n\n".join(textwrap.fill(part, 70) for part in (FIRST, SECOND)),
        "\n".join(textwrap.fill(part, 64) for part in (FIRST, SECOND)),
        f"\n\n   {FIRST}  \n \t \n\n{SECOND}",
        f"{FIRST}\f{SECOND}",
        f"{FIRST}\r\n\r\n{SECOND}\r\n",
        f"{FIRST}\r\r{SECOND}",
        f"{FIRST}\u2029{SECOND}",
    ],
)
def test_paragraphs_wrapped_or_not(content: str) -> None:
    assert passages(reading.read(content.encode())) == [FIRST, SECOND]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-le", "utf-16-be", "mac_roman"])
def test_encodings(encoding: str) -> None:
    assert passages(reading.read(f"{FIRST}\n\n{SECOND}".encode(encoding))) == [FIRST, SECOND]


def test_latin_1() -> None:
    assert "£2 million for the café" in text.decode("It gave £2 million for the café.".encode("latin-1"))


def test_one_wrong_byte_does_not_spoil_a_utf_8_text() -> None:
    data = SECOND.encode() + b" \xff The end of it."
    assert text.decode(data) == SECOND + "  The end of it."


def test_a_nul_or_two_are_left_out() -> None:
    content = (FIRST + "\n\n") * 20
    assert passages(reading.read(content.encode().replace(b"late", b"la\x00te", 2))) == [FIRST] * 20


@pytest.mark.parametrize("mark", ["-", "*", "•", "–", "·", "+", "1.", "(a)", "iv)", "▪", "12)"])
def test_list_marks_begin_items_and_are_left_out(mark: str) -> None:
    content = f"The inspectors found:\n\n{mark} late visits to\n  children at risk\n{mark} poor plans\n\n{FIRST}"
    assert kinds(content) == [
        ("paragraph", "The inspectors found:"),
        ("item", "late visits to children at risk"),
        ("item", "poor plans"),
        ("paragraph", FIRST),
    ]


def test_items_without_an_empty_line_before_them() -> None:
    assert [kind for kind, _ in kinds("They found:\n• late visits\n• poor plans")] == ["paragraph", "item", "item"]


@pytest.mark.parametrize("start", ["– which is new –", "12. June is", "4.2 million pounds is"])
def test_a_wrapped_line_that_begins_like_an_item_is_none(start: str) -> None:
    assert len(kinds(f"The council said that the plan for next year, and for those after,\n{start} what it had.")) == 1


def test_numbered_minutes_are_paragraphs_without_their_numbers() -> None:
    content = (
        "Minutes\n\n4. Visits to children\n\n4.1 Members noted the report and asked for another in May\n"
        "4.2 The Chair thanked officers.\n\n4.2.1 It was agreed."
    )
    assert kinds(content) == [
        ("heading", "Minutes"),
        ("heading", "Visits to children"),
        ("paragraph", "Members noted the report and asked for another in May"),
        ("paragraph", "The Chair thanked officers."),
        ("paragraph", "It was agreed."),
    ]


def test_a_numbered_list_with_empty_lines_is_no_row_of_headings() -> None:
    assert [kind for kind, _ in kinds(f"{FIRST}\n\n1. Late visits\n\n2. Poor plans\n\n{SECOND}")] == [
        "paragraph",
        "item",
        "item",
        "paragraph",
    ]


def test_an_initial_is_no_list_mark() -> None:
    assert kinds(f"J. Penn said so.\n\n{FIRST}")[0] == ("paragraph", "J. Penn said so.")


def test_quotes() -> None:
    content = f"He wrote:\n\n> {FIRST}\n>\n> We are sorry.\n\nThat was all."
    assert [kind for kind, _ in kinds(content)] == ["paragraph", "quote", "quote", "paragraph"]
    assert kinds(content)[1][1] == FIRST


@pytest.mark.parametrize(
    "content",
    [
        f"What the inspectors found\n\n{FIRST}",
        f"What the inspectors found\n{textwrap.fill(FIRST, 70)}",
        f"What the inspectors found\n=========================\n\n{FIRST}",
        f"What the inspectors found\n-------------------------\n{textwrap.fill(FIRST, 70)}",
        f"WHAT THE INSPECTORS FOUND\n\n{FIRST}",
    ],
)
def test_headings(content: str) -> None:
    document = reading.read(content.encode())
    assert passages(document) == [FIRST]
    assert [heading.lower() for heading in headings(document)] == ["what the inspectors found"]
    assert (document.title or "").lower() == "what the inspectors found"


@pytest.mark.parametrize(
    "short",
    [
        "Sorry is not enough.",
        "the visits were late",
        "Managers did not know that visits were late",
        "Ofsted will come back next year to look again",
    ],
)
def test_a_short_paragraph_is_not_lost(short: str) -> None:
    assert short in passages(reading.read(f"Statement\n\n{FIRST}\n\n{short}\n\n{SECOND}".encode()))


def test_the_last_words_are_no_heading() -> None:
    assert passages(reading.read(f"{FIRST}\n\nNo more delay".encode())) == [FIRST, "No more delay"]


def test_what_follows_a_lead_in_is_no_heading() -> None:
    content = f"The inspectors name three faults:\n\nLate visits\n\nPoor plans\n\n{FIRST}"
    assert passages(reading.read(content.encode())) == ["Late visits", "Poor plans", FIRST]


def test_furniture_and_a_signature() -> None:
    content = (
        f"6 May 2024\n\nDear Director,\n\n{FIRST}\n\nYours sincerely\n\nTamsin Quell\nHer Majesty's Inspector\n\n"
        "ENDS\n\nNotes to editors\n\nTel: 01632 960000\n\npress@sallowby.example\n\nhttps://sallowby.example/news"
    )
    assert passages(reading.read(content.encode())) == [FIRST]


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=600))
def test_every_passage_is_a_slice_of_the_text(content: str) -> None:
    document = text.read(content)
    for passage in document.passages:
        assert document.text[passage.start : passage.end] == passage.text
    for block in document.blocks:
        assert document.text[block.start : block.end].strip() == document.text[block.start : block.end] != ""


WORD = st.text(alphabet="abcdefghij", min_size=1, max_size=9)
SENTENCE = st.lists(WORD, min_size=8, max_size=60).map(lambda words: " ".join(words).capitalize() + ".")


@settings(max_examples=100, deadline=None)
@given(st.lists(SENTENCE, min_size=2, max_size=6), st.sampled_from([0, 60, 78]))
def test_no_word_is_lost_and_none_is_added(paragraphs: list[str], width: int) -> None:
    wrapped = [textwrap.fill(part, width, break_on_hyphens=False) if width else part for part in paragraphs]
    assert [block for _, block in text.blocks("\n\n".join(wrapped))] == paragraphs


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=2_000))
def test_bytes_of_any_kind_are_decoded_or_refused(data: bytes) -> None:
    try:
        content = text.decode(data)
    except UnsupportedDocument:
        return
    content.encode()
    assert "\x00" not in content
    assert "\r" not in content


def test_noise_is_refused() -> None:
    for seed in range(200):
        with pytest.raises(DocumentError):
            reading.read(random.Random(seed).randbytes(4_000))
