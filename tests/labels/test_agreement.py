"""Two annotators on the same passages."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score
from typer.testing import CliRunner

from labels import agreement, taxonomy
from labels.dataset import DatasetError
from service.labels_cli import labels_app

TAXONOMY = taxonomy.load()


def judgement(number: int, themes: str = "", stances: str = "", **changes: Any) -> dict[str, Any]:
    named = stances.split()
    return {
        "id": f"x/{number}", "themes": themes.split(), "stances": named, "primary_stance": named[0] if named else None,
        **changes,
    }  # fmt: skip


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def compare(first: list[dict[str, Any]], second: list[dict[str, Any]], folder: Path) -> agreement.Agreement:
    files = write(folder / "a.jsonl", *first), write(folder / "b.jsonl", *second)
    return agreement.compare(*(agreement.read(path, TAXONOMY) for path in files), TAXONOMY)


def test_kappa_is_that_of_the_textbook() -> None:
    """Cohen 1960 as everybody tells it: 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: kappa 0.4."""
    pairs = [(1, 1)] * 20 + [(1, 0)] * 5 + [(0, 1)] * 10 + [(0, 0)] * 15
    assert agreement.kappa(pairs) == pytest.approx(0.4)
    assert agreement.kappa([(0, 0)] * 5) is None


def test_masi_is_that_of_the_paper() -> None:
    a, ab, b, abc = frozenset("a"), frozenset("ab"), frozenset("b"), frozenset("abc")
    assert agreement.masi(ab, ab) == agreement.masi(frozenset(), frozenset()) == 0
    assert agreement.masi(a, b) == agreement.masi(frozenset(), a) == 1
    assert agreement.masi(a, ab) == pytest.approx(1 - 1 / 2 * 2 / 3)
    assert agreement.masi(ab, frozenset("bc")) == pytest.approx(1 - 1 / 3 * 1 / 3)
    assert agreement.masi(ab, abc) == pytest.approx(1 - 2 / 3 * 2 / 3)


def test_alpha_of_sets_follows_its_definition() -> None:
    """1 - observed / expected disagreement, each pair of the pooled values counted by hand."""
    pairs = [(frozenset("a"), frozenset("a")), (frozenset("a"), frozenset("ab")), (frozenset("b"), frozenset("ab"))]
    observed = np.mean([agreement.masi(*pair) for pair in pairs])
    pooled = [value for pair in pairs for value in pair]
    others = [agreement.masi(a, b) for i, a in enumerate(pooled) for j, b in enumerate(pooled) if i != j]
    assert agreement.alpha_of_sets(pairs) == pytest.approx(1 - observed / np.mean(others))
    assert agreement.alpha_of_sets(pairs[:1]) is None


def test_the_figures_of_each_label_are_those_of_scikit_learn(tmp_path: Path) -> None:
    draw = random.Random(4)
    first = [judgement(n, draw.choice(["", "leadership", "thresholds"])) for n in range(60)]
    second = [row if draw.random() < 0.7 else judgement(n, "leadership thresholds") for n, row in enumerate(first)]
    found = compare(first, second, tmp_path)
    leadership = next(row for row in found.labels if row.label == "theme/leadership")
    truth = [["leadership" in row["themes"] for row in rows] for rows in (first, second)]
    assert leadership.kappa == pytest.approx(cohen_kappa_score(*truth))
    assert (leadership.first, leadership.second) == tuple(map(sum, truth))
    assert leadership.alpha == pytest.approx(leadership.kappa, abs=0.05)
    unused = next(row for row in found.labels if row.label == "theme/missing_children")
    assert (unused.kappa, unused.alpha, unused.agreed) == (None, None, 1.0)


def test_only_what_both_labelled_counts(tmp_path: Path) -> None:
    first = [judgement(1, "leadership", "critical"), judgement(2), judgement(3, text="More fields do no harm.")]
    second = [judgement(3), judgement(1, "leadership", "critical defensive"), judgement(9)]
    found = compare(first, second, tmp_path)
    assert (found.passages, found.only_first, found.only_second) == (2, ["x/2"], ["x/9"])
    assert found.differing == ["x/1"]
    assert found.alpha_themes == 1
    assert found.primary_kappa == 1


def test_references_are_known_by_file_and_hash(tmp_path: Path) -> None:
    row = {
        "file": "quill-2021-05-04.pdf", "sha256": "ab" * 32, "start": 0, "end": 9, "themes": [], "stances": [],
        "primary_stance": None, "annotator": "someone", "guide": "1.0",
    }  # fmt: skip
    assert list(agreement.read(write(tmp_path / "r.jsonl", row), TAXONOMY)) == ["quill-2021-05-04/abababababab"]


def test_rows_that_are_wrong_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", judgement(1), judgement(1), judgement(2, "weather"), {"themes": []})
    with pytest.raises(DatasetError) as caught:
        agreement.read(path, TAXONOMY)
    assert [error.line for error in caught.value.errors] == [2, 3, 4]
    with pytest.raises(ValueError, match="no id in common"):
        compare([judgement(1)], [judgement(2)], tmp_path)


def test_the_command_prints_a_table_or_json(tmp_path: Path) -> None:
    first = write(tmp_path / "a.jsonl", judgement(1, "leadership"), judgement(2))
    second = write(tmp_path / "b.jsonl", judgement(1, "leadership"), judgement(2, "thresholds"))
    table = CliRunner().invoke(labels_app, ["agreement", str(first), str(second)])
    assert table.exit_code == 0
    assert "theme/leadership" in table.output
    assert "2 passages, 1 differ" in table.output
    found = CliRunner().invoke(labels_app, ["agreement", str(first), str(second), "--json"])
    assert json.loads(found.stdout)["differing"] == ["x/2"]
    none = CliRunner().invoke(labels_app, ["agreement", str(first), str(write(tmp_path / "c.jsonl", judgement(5)))])
    assert none.exit_code == 1
