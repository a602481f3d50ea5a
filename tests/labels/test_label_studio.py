"""An export of a real Label Studio goes in: its fields, ids and ways of naming people, not what we think they are.

The two files are unedited. They were made with Label Studio 1.23.2 (pip install label-studio), on 127.0.0.1:

- six rows of labels/data/written.jsonl, those in IDS, were written by `candour labels export six.jsonl -o six.json
  --format label-studio --interface interface.xml`;
- a first user (number 1) made a project with interface.xml by POST /api/projects, and put six.json into it by
  POST /api/projects/1/import;
- a second user (number 3), signed up by the project's invitation, changed the annotation of task 2 by
  PATCH /api/annotations/2/;
- GET /api/projects/1/export?exportType=JSON gave label-studio-export.json, JSON_MIN label-studio-export-min.json.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from labels import dataset, interchange, taxonomy
from labels.dataset import Example, RowError
from service.labels_cli import labels_app

EXPORT = Path(__file__).parent / "label-studio-export.json"
MIN = EXPORT.with_name("label-studio-export-min.json")
TAXONOMY = taxonomy.load()
IDS = (
    "g06-yeldersea-slac-2013/04",  # two themes, two stances
    "g04-waxcombe-jtai/03",  # the same; its annotation was changed
    "f18-vaunton-public-question/12",  # no label
    "a07-axenford-focused-visit-exploitation/13",  # one theme, no stance
    "d10-childrens-commissioner-lostwick/09",  # one stance, no theme; quotation marks
    "c12-jennowby-cuts/12",  # pound signs
)
CHANGED = IDS[1]


@pytest.fixture(scope="module")
def packaged() -> dict[str, Example]:
    return {row.id: row for row in dataset.load([dataset.WRITTEN], TAXONOMY) if row.id in IDS}


def test_what_nobody_changed_comes_back_as_it_went_and_a_change_names_who_made_it(packaged: dict[str, Example]) -> None:
    """User 1 imported the annotation, so Label Studio says that they completed it; user 3 is who changed it."""
    (task,) = (task for task in json.loads(EXPORT.read_bytes()) if task["data"]["id"] == CHANGED)
    assert [(found["completed_by"], found["updated_by"]) for found in task["annotations"]] == [(1, 3)]
    changed = packaged[CHANGED].model_copy(
        update={
            "themes": ("leadership", "thresholds"), "stances": ("defensive", "critical", "apologetic"),
            "primary_stance": "defensive", "annotator": "label-studio:3",
        }
    )  # fmt: skip
    expected = [changed if key == CHANGED else packaged[key] for key in IDS]
    assert list(interchange.read_label_studio(EXPORT, TAXONOMY)) == expected


def test_the_command_takes_it(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    outcome = CliRunner().invoke(labels_app, ["import", str(EXPORT), "-o", str(output)])
    assert outcome.exit_code == 0, outcome.output
    assert [row.id for row in dataset.load([output], TAXONOMY)] == list(IDS)


def test_json_min_is_refused_and_the_right_export_is_named() -> None:
    """It holds no ids of ours: Label Studio's numbers for tasks and people stand in their place."""
    rows = list(interchange.read_label_studio(MIN, TAXONOMY))
    assert len(rows) == len(IDS)
    for row in rows:
        assert isinstance(row, RowError)
        assert "not as JSON-MIN" in row.detail
