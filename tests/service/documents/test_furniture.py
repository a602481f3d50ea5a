"""Lines that stand in a document and are not said by it. All words are invented."""

from __future__ import annotations

import time

import pytest

from labels.passages import BlockKind
from service.documents.furniture import is_furniture, is_heading, settle


@pytest.mark.parametrize(
    "line",
    [
        "By Tamsin Quell",
        "By Tamsin Quell, Local Democracy Reporter",
        "6 May 2024",
        "Published: Monday 6 May 2024, 11:20am",
        "Posted on May 6, 2024 by Tamsin Quell",
        "06/05/2024",
        "Photo: Courier",
        "Image credit: Sallowby Council",
        "Read more: Market square to close",
        "Share this",
        "Share this page",
        "Was this page useful?",
        "ENDS",
        "- ends -",
        "Notes to editors:",
        "***",
        "Tel: 01632 960000",
        "press@sallowby.example",
        "https://sallowby.example/news",
        "© Sallowby Council 2024",
        "Dear Director of Children’s Services,",
        "Present: Councillors Penn (Chair), Quell and Ost",
        "Minutes of the meeting held on 6 May at 6.30pm",
    ],
)
def test_furniture(line: str) -> None:
    assert is_furniture(line)


@pytest.mark.parametrize(
    "line",
    [
        "By May the council had visited every child.",
        "By then it was late.",
        "On 6 May 2024 the visits stopped.",
        "Related work continues.",
        "Sharing of information is weak.",
        "Photographs of the house were lost.",
        "Address this at once.",
        "Dear me, what a mess they have made of it!",
        "Contact with families is poor.",
        "It ends here.",
        "Topics that matter are left out of the plan.",
        "Apologies are due to the children.",
    ],
)
def test_what_a_document_says_is_no_furniture(line: str) -> None:
    assert not is_furniture(line)


def test_headings() -> None:
    assert is_heading("What needs to improve")
    assert is_heading("How the council is led and who is held to account")
    assert not is_heading("Managers did not know that visits were late")
    assert not is_heading("Sorry.")
    assert not is_heading("late visits")


def test_settle_reads_a_block_by_its_neighbours() -> None:
    given = ["A headline that was long, with a verb and many more words in it", "Sorry.", "Found:", "Late visits"]
    given += ["Sorry.", "What next", "Sorry.", "Kind regards", "Tamsin Quell", "Press officer", "It was late."]
    kinds = [kind.value[0] for kind, _ in settle((BlockKind.PARAGRAPH, text) for text in given)]
    assert "".join(kinds) == "hppp" + "php" + "fff" + "p"


def test_a_long_text_takes_no_long_time() -> None:
    started = time.process_time()
    for start in ("By A", "Dear ", "This email is ", "Read more ", "6 May ", "Photo: ", "-", "* "):
        is_furniture(start + "a b " * 500_000)
        is_heading(start * 500_000)
    assert time.process_time() - started < 2
