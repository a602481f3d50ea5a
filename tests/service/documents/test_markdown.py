"""Markdown as blogs and note-takers write it. All words are invented."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labels.passages import BlockKind
from service.documents import markdown, reading
from service.documents.document import Document

FIRST = "Visits to children in need were late in four cases out of ten, and *nobody* had told the managers."
PLAIN = FIRST.replace("*", "")


def passages(document: Document) -> list[str]:
    return [passage.text for passage in document.passages]


def kinds(content: str) -> list[tuple[str, str]]:
    document = markdown.read(content)
    return [(block.kind.value, document.text[block.start : block.end]) for block in document.blocks]


def test_front_matter_gives_title_and_date() -> None:
    document = reading.read(f"---\ntitle: Late again\ndate: 2024-05-06\ntags: [care]\n---\n\n{FIRST}\n".encode())
    assert (document.media_type, document.title, document.published) == (
        "text/markdown",
        "Late again",
        date(2024, 5, 6),
    )
    assert passages(document) == [PLAIN]


@pytest.mark.parametrize(
    "front", ["---\n: [\n---\n", '---\ntitle: "\\uD800"\n---\n', "---\n- a\n---\n", "---\na: *b\n---\n"]
)
def test_a_broken_front_matter_does_no_harm(front: str) -> None:
    document = reading.read(f"{front}\n# Late\n\n{FIRST}\n".encode())
    assert PLAIN in passages(document)
    str(document.title).encode()


def test_headings_of_both_kinds_and_bold() -> None:
    content = f"Late again\n==========\n\n{FIRST}\n\n## What next\n\nSorry.\n\n**What the council says**\n\nNothing."
    assert [text for kind, text in kinds(content) if kind == "heading"] == [
        "Late again",
        "What next",
        "What the council says",
    ]
    assert markdown.read(content).title == "Late again"


def test_a_paragraph_on_a_line_of_dashes_is_no_heading() -> None:
    assert (BlockKind.PARAGRAPH, PLAIN) in kinds(f"# Late\n\n{FIRST}\n---\n\nMore.")


def test_nested_lists_quotes_and_tables() -> None:
    content = (
        f"# Late\n\n{FIRST}\n\n- visits\n  - were [late](http://a.example)\n    again\n- plans\n\n  were poor.\n\n"
        f"1. One thing.\n2. Two things.\n\n> {FIRST}\n>\n> — a mother\n\n| a | b |\n|---|---|\n| grade | good |\n"
    )
    assert kinds(content)[2:] == [
        ("item", "visits"),
        ("item", "were late again"),
        ("item", "plans"),
        ("item", "were poor."),
        ("item", "One thing."),
        ("item", "Two things."),
        ("quote", PLAIN),
        ("quote", "— a mother"),
        ("table", "a"),
        ("table", "b"),
        ("table", "grade"),
        ("table", "good"),
    ]


def test_inline_marks_images_tags_and_notes_are_left_out() -> None:
    content = (
        "# Late\n\nThe **council** is `very` ![x](y.png)<span>sorry</span>[^1], it *says* [here][1].\n\n"
        "[^1]: At last.\n\n[1]: /x"
    )
    assert passages(markdown.read(content)) == ["The council is very sorry, it says here."]


def test_html_blocks_are_read() -> None:
    content = (
        f"# Late\n\n<div>\n<p>{PLAIN}</p>\n<p>We are sorry.</p></div>\n\n<script>var a = 1;</script>\n\nThe end came."
    )
    assert passages(markdown.read(content)) == [PLAIN, "We are sorry.", "The end came."]


def test_indented_paragraphs_are_kept_and_code_is_not() -> None:
    assert passages(markdown.read(f"# Late\n\n    {PLAIN}\n\n```\nfor a in b:\n```\n\nThe end.")) == [PLAIN, "The end."]


def test_a_short_paragraph_is_not_lost() -> None:
    assert "the visits were late" in passages(markdown.read(f"# A\n\n{FIRST}\n\nthe visits were late\n\n{FIRST}"))


@pytest.mark.parametrize("content", [FIRST, f"Sorry\n\n1. {FIRST}\n2. No.", "Late\n-----\nVisits were late.\n-----\n"])
def test_plain_text_is_not_markdown(content: str) -> None:
    assert not markdown.looks_like(content.replace("*", ""))


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab A.#*_-[]()>`|<!\n\\&:1"), max_size=200))
def test_every_passage_is_a_slice_of_the_text(content: str) -> None:
    document = markdown.read(content)
    assert all(document.text[passage.start : passage.end] == passage.text for passage in document.passages)


def test_a_title_that_is_no_text_is_not_spelt_out() -> None:
    layers = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12))
    bomb = f"---\na0: &a0 [x]\n{layers}title: *a11\n---\n# Plain\n\nThe council says that its plans are late again.\n"
    assert markdown.read(bomb).title == "Plain"
