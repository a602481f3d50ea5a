"""Labels on reports whose words are not here: rows, and finding their passages again."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from labels import dataset, references, taxonomy
from labels.dataset import DatasetError, Example, InvalidRow
from labels.passages import Passage, fingerprint
from labels.references import HydrationError, PassagesOf, Reference
from service.labels_cli import labels_app

TAXONOMY = taxonomy.load()
FILE = "quill-under-edge-2021-05-04.pdf"
TEXTS = ["Visits were late.", "The dog's lead was short.", "Visits were late.", "Plans were reviewed on time."]


def hydrate(wanted: list[Reference], passages_of: PassagesOf) -> list[Example]:
    return [references.example(found) for found in references.find(wanted, passages_of)]


def passages(texts: list[str] = TEXTS, gap: int = 2) -> list[Passage]:
    found, start = [], 0
    for text in texts:
        found.append(Passage(text, start, start + len(text), 1))
        start += len(text) + gap
    return found


def row(passage: Passage, **changes: Any) -> dict[str, Any]:
    return {
        "file": FILE, "sha256": fingerprint(passage.text), "start": passage.start, "end": passage.end, "themes": [],
        "stances": [], "primary_stance": None, "annotator": "someone", "guide": "1.0", **changes,
    }  # fmt: skip


def reference(passage: Passage, **changes: Any) -> Reference:
    return dataset.parse(row(passage, **changes), Reference, TAXONOMY)


def test_a_reference_becomes_an_example() -> None:
    late = passages()[0]
    labels = {"themes": ("care_planning",), "stances": ("critical",), "primary_stance": "critical"}
    (example,) = hydrate([reference(late, **labels)], lambda _: passages())
    assert example.id == f"quill-under-edge-2021-05-04/{fingerprint(late.text)[:12]}"
    assert (example.document, example.kind) == ("quill-under-edge-2021-05-04", "inspection_report")
    assert (example.authority, example.published) == ("quill-under-edge", date(2021, 5, 4))
    assert example.text == "Visits were late."
    assert (example.themes, example.stances, example.primary_stance) == tuple(labels.values())
    assert example.group == reference(late).group == reference(late, file=FILE.replace("2021", "2018")).group


def test_a_passage_that_moved_is_found_and_counted() -> None:
    wanted = [reference(passage) for passage in passages()[1:3]]
    assert [found.moved for found in references.find(wanted, lambda _: passages())] == [False, False]
    moved = references.find(wanted, lambda _: passages(["A new first paragraph.", *TEXTS]))
    assert [found.moved for found in moved] == [True, True]
    assert [found.passage.text for found in moved] == TEXTS[1:3]


def test_of_two_equal_passages_the_nearer_is_meant() -> None:
    found = references.find([reference(passages()[2]), reference(passages()[0])], lambda _: passages(gap=3))
    assert [item.passage.start for item in found] == [passages(gap=3)[2].start, 0]


def test_quotes_and_spaces_do_not_hide_a_passage() -> None:
    wanted = [reference(passages()[1])]
    (example,) = hydrate(wanted, lambda _: passages(["The dog’s  lead\nwas short."]))
    assert example.text == "The dog’s  lead\nwas short."


def test_all_that_is_not_found_is_named_with_its_line() -> None:
    def passages_of(file: str) -> list[Passage]:
        if file != FILE:
            raise FileNotFoundError(file)
        return passages()

    lost = Passage("Nobody wrote this.", 0, 18)
    wanted = [reference(lost, file="nowhere-2020-01-01.pdf"), reference(passages()[0]), reference(lost)]
    with pytest.raises(HydrationError) as caught:
        hydrate(wanted, passages_of)
    assert [error.line for error in caught.value.errors] == [1, 3]
    assert "2 references not found" in str(caught.value)
    assert "nowhere-2020-01-01.pdf cannot be read" in str(caught.value)
    assert f"no passage of {FILE} hashes to" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"file": "quill.pdf"}, "not called authority-YYYY-MM-DD"),
        ({"file": "quill-2021-02-30.pdf"}, "day"),
        ({"sha256": "abc"}, "sha256"),
        ({"end": 0}, "end"),
        ({"start": 500}, "end is not after start"),
        ({"text": "Visits were late."}, "text: Extra inputs"),
        ({"annotator": ""}, "annotator"),
        ({"themes": ["weather"]}, "unknown theme"),
    ],
)
def test_a_row_that_is_wrong_says_why(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidRow, match=said):
        reference(passages()[0], **changes)


def test_lines_of_a_file_are_named(tmp_path: Path) -> None:
    path = tmp_path / "references.jsonl"
    good = json.dumps(row(passages()[0]))
    path.write_text(f"{good}\n{{\n{json.dumps(row(passages()[1], guide=''))}\n")
    with pytest.raises(DatasetError) as caught:
        references.read(path, TAXONOMY)
    assert [error.line for error in caught.value.errors] == [2, 3]
    path.write_text(f"{good}\n\n{good}\n")
    with pytest.raises(DatasetError, match=":2: a blank line"):
        references.read(path, TAXONOMY)


def test_the_command_writes_all_or_nothing(tmp_path: Path) -> None:
    """Any document will do for a report: here a plain text."""
    reports, source, output = tmp_path / "reports", tmp_path / "references.jsonl", tmp_path / "hydrated.jsonl"
    others = tmp_path / "unlabelled.jsonl"
    reports.mkdir()
    file = "quill-2021-05-04.txt"
    (reports / file).write_text("Inspection\n\n" + "\n\n".join(TEXTS))
    arguments = ["hydrate", "--reports", str(reports), "--references", str(source), "-o", str(output)]
    arguments += ["--unlabelled", str(others)]

    lost = Passage("Nobody wrote this.", 0, 18)
    source.write_text("".join(json.dumps(row(passage, file=file)) + "\n" for passage in (passages()[3], lost)))
    outcome = CliRunner().invoke(labels_app, arguments)
    assert isinstance(outcome.exception, HydrationError)
    assert not output.exists() and not others.exists()

    source.write_text(json.dumps(row(passages()[3], file=file)) + "\n")
    assert CliRunner().invoke(labels_app, arguments).exit_code == 0
    (example,) = dataset.load([output], TAXONOMY)
    assert example.text == TEXTS[3]
    rest = [json.loads(line) for line in others.read_text().splitlines()]
    assert [row["text"] for row in rest] == TEXTS[:3] and {row["authority"] for row in rest} == {"quill"}


def test_the_packaged_references_are_sound() -> None:
    if references.REFERENCES.exists():
        assert references.read(references.REFERENCES, TAXONOMY)
