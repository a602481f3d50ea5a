"""Labels in and out: a round trip loses nothing, and a row that cannot be read is named while the rest goes in."""

from __future__ import annotations

import csv
import json
from datetime import date
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from labels import dataset, interchange, taxonomy
from labels.dataset import Example, RowError
from labels.interchange import FIELDS, FORMATS, Format
from service.labels_cli import labels_app
from training.labelling import DATASETS

TAXONOMY = taxonomy.load()
ALL = {**FORMATS, "datasets": DATASETS}
WRITTEN = dataset.load([dataset.WRITTEN], TAXONOMY)

line = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=30)
filled = line.map(lambda text: text.strip()).filter(bool)


@st.composite
def examples(draw: st.DrawFn) -> Example:
    stances = draw(st.lists(st.sampled_from(TAXONOMY.stances), unique=True))
    return Example(
        id=draw(filled), document=draw(filled), kind="blog", title=draw(line), authority=draw(line),
        published=draw(st.none() | st.dates(min_value=date(1900, 1, 1))), text=draw(filled), annotator=draw(filled),
        guide="1.0", themes=tuple(draw(st.lists(st.sampled_from(TAXONOMY.themes), unique=True))),
        stances=tuple(stances), primary_stance=draw(st.sampled_from(stances)) if stances else None,
    )  # fmt: skip


def back(form: Format, path: Path, written: list[Example]) -> list[Example | RowError]:
    form.write(path, written)
    return list(form.read(path, TAXONOMY))


@pytest.mark.parametrize("name", FORMATS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(st.lists(examples(), max_size=4))
def test_a_round_trip_loses_nothing_whatever_the_text(name: str, tmp_path: Path, written: list[Example]) -> None:
    assert back(FORMATS[name], tmp_path / "file", written) == written


@pytest.mark.parametrize("name", ALL)
def test_a_round_trip_of_the_packaged_set(name: str, tmp_path: Path) -> None:
    taken = back(ALL[name], tmp_path / "out", WRITTEN)
    assert sorted(taken, key=lambda row: str(row.id)) == sorted(WRITTEN, key=lambda row: row.id)  # type: ignore[union-attr]


def test_newlines_and_quotes_go_through_a_table(tmp_path: Path) -> None:
    row = WRITTEN[0].model_copy(update={"text": 'She said:\r\n"We; they, all"\n\nare\rsorry'})
    assert back(FORMATS["csv"], tmp_path / "x.csv", [row]) == [row]
    with (tmp_path / "x.csv").open(newline="", encoding="utf-8") as file:
        assert tuple(next(csv.reader(file))) == FIELDS


def test_what_a_spreadsheet_does_to_a_table_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    interchange.write_csv(path, WRITTEN[:3])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert list(interchange.read_csv(path, TAXONOMY)) == WRITTEN[:3]


def test_rows_of_a_table_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    rows = [row.model_dump(mode="json") | {"themes": "leadership", "stances": ""} for row in WRITTEN[:6]]
    for row in rows:
        row["primary_stance"] = ""
    rows[1]["themes"] = "leadership; weather"
    rows[2]["published"] = "last week"
    rows[3]["text"] = "caf\udce9"
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        writer.writerows(rows)
        file.write("too,short\r\n" + "x," * 40 + "\r\n")
    taken = list(interchange.read_csv(path, TAXONOMY))
    assert [row.id for row in taken if isinstance(row, Example)] == [WRITTEN[n].id for n in (0, 4, 5)]
    errors = [row for row in taken if isinstance(row, RowError)]
    assert [error.line for error in errors] == [3, 4, 5, 8, 9]
    for error, said in zip(errors, ("'weather'", "published", "not UTF-8", "required", "more cells"), strict=True):
        assert said in error.detail


def task(*annotations: dict[str, Any], **data: Any) -> dict[str, Any]:
    """A task as Label Studio exports it (its guide, 'Label Studio JSON format of annotated tasks')."""
    row = WRITTEN[0].model_dump(mode="json")
    return {
        "id": 4211, "annotations": list(annotations), "file_upload": "5a1f-tasks.json", "drafts": [],
        "predictions": [{"id": 7, "model_version": "m1", "result": [choices("themes", "thresholds")], "score": 0.4}],
        "data": row | data, "meta": {}, "created_at": "2026-03-09T21:52:49.513742Z",
        "updated_at": "2026-03-09T22:16:08.746926Z", "inner_id": 1, "total_annotations": len(annotations),
        "cancelled_annotations": 0, "total_predictions": 1, "comment_count": 0, "project": 83, "updated_by": 10,
        "comment_authors": [],
    }  # fmt: skip


def choices(name: str, *values: str) -> dict[str, Any]:
    return {
        "value": {"choices": list(values)}, "id": "Dx_aB91ISN", "from_name": name, "to_name": "text",
        "type": "choices", "origin": "manual",
    }  # fmt: skip


def annotation(*result: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "id": 1001, "completed_by": 10, "result": list(result), "was_cancelled": False, "ground_truth": False,
        "created_at": "2026-03-09T22:16:08.728353Z", "updated_at": "2026-03-09T22:16:08.728378Z",
        "draft_created_at": None, "lead_time": 4.288, "prediction": {}, "result_count": len(result),
        "unique_id": "c1", "import_id": None,
        "last_action": None, "task": 4211, "project": 83, "updated_by": 10, "parent_prediction": None, **changes,
    }  # fmt: skip


def import_tasks(path: Path, *tasks: Any) -> list[Example | RowError]:
    path.write_text(json.dumps(tasks))
    return list(interchange.read_label_studio(path, TAXONOMY))


def test_a_persons_choices_replace_ours_and_name_the_person(tmp_path: Path) -> None:
    chosen = annotation(
        choices("themes", "leadership", "thresholds"), choices("stances", "defensive", "critical"),
        choices("primary_stance", "critical"), {"type": "textarea", "from_name": "note", "value": {"text": ["Hm."]}},
    )  # fmt: skip
    (row,) = import_tasks(tmp_path / "x.json", task(chosen))
    assert isinstance(row, Example)
    assert (row.themes, row.stances) == (("leadership", "thresholds"), ("defensive", "critical"))
    assert (row.primary_stance, row.annotator) == ("critical", "label-studio:10")
    assert row.text == WRITTEN[0].text
    chosen["completed_by"] = {"id": 10, "email": "ed@example.org", "first_name": "", "last_name": ""}
    (row,) = import_tasks(tmp_path / "x.json", task(chosen))
    assert isinstance(row, Example)
    assert row.annotator == "label-studio:ed@example.org"


def test_who_changed_nothing_signs_nothing(tmp_path: Path) -> None:
    same = annotation(choices("stances", "critical"), choices("primary_stance", "critical"))
    assert import_tasks(tmp_path / "x.json", task(same)) == [WRITTEN[0]]


def test_one_stance_is_its_own_primary_and_no_choice_is_no_label(tmp_path: Path) -> None:
    one, none = import_tasks(tmp_path / "x.json", task(annotation(choices("stances", "defensive"))), task(annotation()))
    assert isinstance(one, Example)
    assert isinstance(none, Example)
    assert (one.stances, one.primary_stance) == (("defensive",), "defensive")
    assert (none.themes, none.stances, none.primary_stance) == ((), (), None)


def test_skipped_annotations_do_not_count_and_ground_truth_decides(tmp_path: Path) -> None:
    skipped = annotation(choices("themes", "thresholds"), was_cancelled=True)
    one, other = annotation(choices("themes", "leadership")), annotation(choices("themes", "care_planning"))
    first, second = import_tasks(
        tmp_path / "x.json", task(skipped, one), task(one, other | {"ground_truth": True})
    )  # fmt: skip
    assert isinstance(first, Example)
    assert isinstance(second, Example)
    assert (first.themes, second.themes) == (("leadership",), ("care_planning",))


def test_tasks_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    one = annotation(choices("themes", "leadership"))
    taken = import_tasks(
        tmp_path / "x.json", task(), task(one, one), task(annotation(choices("topic", "x"))), task(one),
        task(annotation(choices("themes", "weather"))), "a task", task(one, text=""),
        task(annotation(choices("stances", "critical", "defensive"))), task(annotation(choices("themes", ["x"]))),  # type: ignore[arg-type]
    )  # fmt: skip
    said = {row.line: row.detail for row in taken if isinstance(row, RowError)}
    assert sorted(said) == [1, 2, 3, 5, 6, 7, 8, 9]
    assert "no annotation" in said[1]
    assert "2 annotations" in said[2]
    assert "'topic'" in said[3]
    assert "'weather'" in said[5]
    assert "not a task" in said[6]
    assert "text" in said[7]
    assert "without a primary_stance" in said[8]


@pytest.mark.parametrize("content", ["{", "{}", "\ufeff["])
def test_a_file_that_is_no_project(tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(content, encoding="utf-8")
    (row,) = interchange.read_label_studio(path, TAXONOMY)
    assert isinstance(row, RowError)


def test_the_tasks_fit_the_interface(tmp_path: Path) -> None:
    """Every choice that a task makes is offered by the control that it names."""
    view = ElementTree.fromstring(interchange.label_studio_interface(TAXONOMY))
    offered = {group.get("name"): {c.get("value") for c in group} for group in view.findall("Choices")}
    assert [(group.get("name"), group.get("choice")) for group in view.findall("Choices")] == [
        ("themes", "multiple"), ("stances", "multiple"), ("primary_stance", "single"),
    ]  # fmt: skip
    interchange.write_label_studio(tmp_path / "x.json", WRITTEN)
    for found in json.loads((tmp_path / "x.json").read_bytes()):
        assert set(found["data"]) == set(FIELDS)
        for region in found["annotations"][0]["result"]:
            assert (region["type"], region["to_name"]) == ("choices", "text")
            assert set(region["value"]["choices"]) <= offered[region["from_name"]]


def test_datasets_reads_what_is_written(tmp_path: Path) -> None:
    from datasets import load_dataset, load_from_disk

    DATASETS.write(tmp_path / "out", WRITTEN[:400])
    loaded = load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    for read in (load_from_disk(tmp_path / "out"), loaded):
        assert set(read) == {"train", "dev", "test"}
        assert sum(split.num_rows for split in read.values()) == 400
        assert read["train"][0]["published"].year > 2000
        assert read["train"].column_names == list(FIELDS)


def run(*arguments: object) -> Any:
    return CliRunner().invoke(labels_app, list(map(str, arguments)))


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "json"])
def test_the_commands_go_out_and_back(tmp_path: Path, suffix: str) -> None:
    source, there, back = tmp_path / "in.jsonl", tmp_path / f"there.{suffix}", tmp_path / "back.jsonl"
    dataset.write(source, WRITTEN[:50])
    assert run("export", source, "-o", there).exit_code == 0
    assert run("import", there, "-o", back).exit_code == 0
    assert back.read_bytes() == source.read_bytes()


def test_the_import_names_what_it_leaves_out(tmp_path: Path) -> None:
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    rows = [row.model_dump(mode="json") for row in WRITTEN[:3]]
    source.write_text("".join(json.dumps(row) + "\n" for row in [*rows, rows[0], rows[1] | {"themes": ["weather"]}]))
    outcome = run("import", source, "-o", output)
    assert outcome.exit_code == 3
    assert f"{source}:4: id {WRITTEN[0].id} stands twice" in outcome.output
    assert f"{source}:5: unknown theme 'weather'" in outcome.output
    assert "3 rows imported, 2 not" in outcome.output
    assert dataset.load([output], TAXONOMY) == WRITTEN[:3]


def test_a_file_of_which_nothing_goes_in_overwrites_nothing(tmp_path: Path) -> None:
    source, output = tmp_path / "in.json", tmp_path / "out.jsonl"
    source.write_text("{")
    output.write_text("what was there")
    assert run("import", source, "-o", output).exit_code == 1
    assert output.read_text() == "what was there"


def test_a_format_that_is_not_known(tmp_path: Path) -> None:
    outcome = run("export", dataset.WRITTEN, "-o", tmp_path / "x.xml")
    assert outcome.exit_code == 2
    assert "csv" in outcome.output


def test_splits_are_fixed_by_a_command(tmp_path: Path) -> None:
    file = tmp_path / "splits.json"
    assert run("split", dataset.WRITTEN, "--file", file).exit_code == 0
    assert set(json.loads(file.read_bytes())) == {row.group for row in WRITTEN}
