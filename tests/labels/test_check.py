"""What `candour labels check` finds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from labels import check, dataset, taxonomy
from labels.check import Finding, Report
from labels.dataset import Example
from labels.passages import fingerprint
from training import labelling

TAXONOMY = taxonomy.load()
# barnsley trains, devon is dev by the hash rule.
SIDES: dict[str, Any] = {"quillshire": "train", "marrowby": "test", "barnsley": "train", "devon": "dev"}
LONG = "The keeper of the light wrote down every ship that went by in the night and sent the list to the harbour"


def example(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": f"x/{number}", "document": "x", "kind": "blog", "title": "On ships", "authority": "Quillshire",
        "text": f"Passage {number}.", "published": "2021-02-03", "annotator": "someone", "guide": "1.0", "themes": [],
        "stances": [], "primary_stance": None, **changes,
    }  # fmt: skip


def reference(text: str, file: str = "barnsley-2023-10-27.pdf", **changes: Any) -> dict[str, Any]:
    return {
        "file": file, "sha256": fingerprint(text), "start": 0, "end": len(text), "themes": [], "stances": [],
        "primary_stance": None, "annotator": "someone", "guide": "1.0", **changes,
    }  # fmt: skip


def run(path: Path, *rows: dict[str, Any]) -> Report:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return check.check([path], TAXONOMY, SIDES, floor=0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rows.jsonl"


def found(report: Report, name: str) -> list[tuple[str, int]]:
    return [(finding.severity, finding.line) for finding in report.findings if finding.check == name]


def only(report: Report, name: str) -> Finding:
    (finding,) = [finding for finding in report.findings if finding.check == name]
    return finding


def test_sound_rows_give_nothing(path: Path) -> None:
    assert run(path, *[example(number) for number in range(3)], reference(LONG)).findings == ()


def test_schema_and_unknown_labels_carry_file_and_line(path: Path) -> None:
    report = run(path, example(1), example(2, themes=["weather"]), example(3, annotator=""), reference("x", guide=""))
    assert found(report, "schema") == [("error", 2), ("error", 3), ("error", 4)]
    assert str(report.errors[0]) == f"{path}:2: unknown theme 'weather' [schema]"


def test_an_id_that_stands_twice(path: Path) -> None:
    report = run(path, *map(example, range(3)), example(1, text="Another."), reference(LONG), reference(LONG))
    assert found(report, "id") == [("error", 4), ("error", 6)]


def test_the_same_passage_again(path: Path) -> None:
    same = [example(1, text="Visits “were” late."), example(2, text='Visits "were"  late.'), example(3)]
    assert found(run(path, *same), "duplicate") == [("warning", 2)]
    other = example(2, text='Visits "were" late.', document="y", authority="Marrowby")
    finding = only(run(path, same[0], other), "duplicate")
    assert (finding.severity, finding.line) == ("error", 2)
    assert f"in test, the same passage as {path}:1 (x/1) in train" in finding.detail


def test_the_same_passage_under_two_labels(path: Path) -> None:
    critical = {"stances": ["critical"], "primary_stance": "critical"}
    report = run(path, example(1), example(2), example(3, text="Passage 1.", **critical))
    assert only(report, "two-labels").line == 3
    assert "critical; primary critical, and there nothing" in only(report, "two-labels").detail
    assert found(run(path, reference(LONG), example(1, text=LONG, **critical)), "two-labels") == [("error", 2)]
    orders = [example(n, text=LONG, themes=themes) for n, themes in enumerate([["leadership", "thresholds"]] * 2)]
    orders[1]["themes"] = orders[1]["themes"][::-1]
    assert not found(run(path, *orders), "two-labels")


def test_a_hydrated_row_is_no_duplicate_of_its_reference(path: Path) -> None:
    row = reference(LONG)
    hydrated = example(
        1, id=f"barnsley-2023-10-27/{row['sha256'][:12]}", document="barnsley-2023-10-27", kind="inspection_report",
        authority="barnsley", text=LONG,
    )  # fmt: skip
    report = run(path, row, hydrated)
    assert report.findings == ()
    assert report.tables["source"] == {"real inspection_report": 1}
    stale = run(path, row, hydrated | {"themes": ["leadership"]})
    assert {finding.check for finding in stale.errors} == {"id", "two-labels"}


def test_near_duplicates(path: Path) -> None:
    near = [example(1, text=LONG + "."), example(2, text=LONG.upper() + " every morning."), example(3)]
    assert found(run(path, *near), "near-duplicate") == [("warning", 2)]
    near[1] |= {"document": "y", "authority": "Marrowby"}
    finding = only(run(path, *near), "near-duplicate")
    assert (finding.severity, finding.line) == ("error", 2)
    assert f"with {path}:1 (x/1), which is in train and this in test" in finding.detail
    assert not found(run(path, example(1, text=LONG), example(2, text=" ".join(LONG.split()[::-1]))), "near-duplicate")


def test_a_document_or_an_authority_in_two_splits(path: Path) -> None:
    document = run(path, example(1), example(2), example(3, authority="Marrowby"))
    assert only(document, "leakage").detail.startswith("the document x is in train as 'quillshire' and in test as")
    names = {"the royal borough of quillshire": "dev", **SIDES}
    path.write_text(
        "\n".join(map(json.dumps, [example(1), example(2, document="y", authority="The Royal Borough of Quillshire")]))
    )
    report = check.check([path], TAXONOMY, names, floor=0)
    assert "the authority quillshire is in train" in only(report, "leakage").detail


def test_a_written_authority_that_exists(path: Path) -> None:
    written = [example(n, authority="Devon County Council") for n in range(3)]
    report = run(path, *written, reference(LONG, file="devon-2015-05-12.pdf"))
    assert found(report, "real-name") == [("warning", 1)]
    leaking = check.check([path], TAXONOMY, {**SIDES, "devon county council": "train"}, floor=0)
    assert found(leaking, "leakage") == [("error", 1)]


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("Royal Borough of Kensington and Chelsea", "kensington chelsea"),
        ("kensington-and-chelsea", "kensington chelsea"),
        ("Redcar & Cleveland Borough Council", "redcar cleveland"),
        ("St Helens MBC", "st helens"),
        ("Derby City Council", "derby"),
        ("Derbyshire County Council", "derbyshire"),
        ("City of London Corporation", "london"),
        ("london-corporation", "london"),
        ("The Council", "the council"),
        ("", ""),
    ],
)
def test_names_of_authorities(name: str, place: str) -> None:
    assert check.place_name(name) == place


def test_groups_that_are_not_fixed(path: Path) -> None:
    report = run(path, *map(example, range(3)), example(4, document="y", authority="Larkham"))
    assert only(report, "split").detail.startswith("1 groups are not in the splits file, such as 'larkham'")


def test_documents_without_context(path: Path) -> None:
    report = run(path, example(1, title=" "), example(2), reference(LONG))
    assert [finding.detail for finding in report.warnings] == ["x has no title", "x has only 2 passages"]


def test_labels_with_few_passages(path: Path) -> None:
    path.write_text("".join(json.dumps(example(n, themes=["leadership"])) + "\n" for n in range(4)))
    few = [finding.detail for finding in check.check([path], TAXONOMY, SIDES, floor=4).findings]
    assert "theme/thresholds has 0 passages, fewer than 4" in few
    assert not any("leadership" in detail for detail in few)


def test_the_tables_count_every_row(path: Path) -> None:
    tables = run(path, example(1, published=None), example(2, themes=["leadership"]), reference(LONG)).tables
    assert tables["source"] == {"blog": 2, "real inspection_report": 1}
    assert tables["year"] == {"2021": 1, "2023": 1, "none": 1}
    assert tables["label"]["theme/leadership"] == 1
    assert tables["label"]["none"] == 2
    assert tables["split"] == {"train": 3}


def test_labels_that_were_turned_over_are_suspected() -> None:
    """Real rows, of which some lose or gain a plain label: most of those are found, and few others."""
    examples = dataset.load([dataset.WRITTEN], TAXONOMY)
    plain = [n for n, row in enumerate(examples) if row.stances == ("apologetic",) and "sorry" in row.text.lower()]
    turned = set(plain[::4])
    rows = [
        check.row_of(row.model_copy(update={"stances": (), "primary_stance": None}) if n in turned else row, "x", n)
        for n, row in enumerate(examples)
    ]
    suspects = [s for s in labelling.suspects(rows, TAXONOMY) if s.key == "stance/apologetic" and not s.given]
    assert len(turned & {suspect.row.line for suspect in suspects}) > 0.5 * len(turned) > 5
    assert str(labelling.finding(suspects[0])).endswith("[label-error]")


def test_too_few_groups_give_no_suspects(path: Path) -> None:
    assert labelling.suspects(run(path, *map(example, range(3)), reference(LONG)).rows, TAXONOMY) == []


def command(*arguments: str) -> Any:
    app = typer.Typer()
    app.command()(labelling.check)
    return CliRunner().invoke(app, list(arguments))


def test_the_command_says_errors_and_warnings_apart(path: Path) -> None:
    path.write_text("\n".join(map(json.dumps, [example(1), example(2, themes=["weather"])])))
    outcome = command(str(path))
    assert outcome.exit_code == 3
    errors, _, warnings = outcome.output.partition("\nwarnings\n")
    assert f"{path}:2: unknown theme 'weather' [schema]" in errors
    assert "x has only 1 passages [context]" in warnings
    path.write_text("\n".join(map(json.dumps, map(example, range(3)))))
    assert command(str(path)).exit_code == 0


def test_the_packaged_data_has_no_errors() -> None:
    report = check.check(check.packaged(), TAXONOMY)
    assert [str(finding) for finding in report.errors] == []
    assert not [finding for finding in report.warnings if finding.check in {"count", "context", "split"}]


def test_an_example_is_a_row() -> None:
    assert check.row_of(Example.model_validate(example(1)), "x", 4).place == "x:4"
