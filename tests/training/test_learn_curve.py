"""The learning curve: laws that are found again, runs that are kept, and what a small curve says."""

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from labels import dataset, splits, taxonomy
from labels.dataset import Example
from training import learn_curve
from training.learn_curve import NEXT, Plan, PowerLaw, Run

TAXONOMY = taxonomy.load()
KEYS = TAXONOMY.keys
RNG = np.random.default_rng(3)


@pytest.fixture(scope="module")
def examples(small_data: Path) -> dict[str, list[Example]]:
    return {str(split): rows for split, rows in splits.divide(dataset.load([small_data], TAXONOMY)).items()}


def made(size: int, seed: int, f1: list[float], documents: int = 60, passages: int = 20) -> Run:
    """A run whose F1 of each label is about f1: of `passages` passages a document, half have the label."""
    positives = documents * passages // 2
    right = [RNG.multinomial(round(value * positives), [1 / documents] * documents) for value in f1]
    named = np.full((documents, len(f1)), passages)
    counted = np.array(right).T.tolist()
    return Run(size, seed, size, [size // 4] * len(f1), counted, named.tolist(), size, 1.0)


def test_the_law_that_points_follow_is_found_again() -> None:
    positives = np.array([100.0, 200.0, 400.0, 800.0, 1600.0])
    law = PowerLaw.of(positives, 0.9 - 3 * positives**-0.7)
    assert law.limit == pytest.approx(0.9, abs=0.005) and law.rate == pytest.approx(0.7, abs=0.03)
    assert law.at(3200) == pytest.approx(0.9 - 3 * 3200**-0.7, abs=0.002)


def test_a_curve_that_falls_promises_nothing() -> None:
    law = PowerLaw.of(np.array([100.0, 200.0, 400.0]), np.array([0.8, 0.78, 0.75]))
    assert law.at(500) - law.at(400) == pytest.approx(0.0, abs=1e-6)


def test_the_label_that_still_rises_is_the_one_to_collect(examples: dict[str, list[Example]]) -> None:
    def f1(size: int) -> list[float]:
        return [0.9 - 2 * (size / 4) ** -0.5 if key == "stance/defensive" else 0.8 for key in KEYS]

    runs = [made(size, seed, f1(size)) for seed in (1, 2) for size in (40, 80, 160, 320)]
    found = {label.key: label for label in learn_curve.curves(runs, KEYS, examples["train"], TAXONOMY)}
    rising = found["stance/defensive"]
    assert max(found.values(), key=lambda label: label.gain) is rising and rising.best > 0.9
    assert rising.interval[0] <= rising.gain <= rising.interval[1] and rising.gain > 0.01
    assert all(label.gain < 0.02 for label in found.values() if label is not rising)
    assert rising.points[0].f1 == pytest.approx(f1(40)[KEYS.index("stance/defensive")], abs=0.01)
    assert all(point.interval[0] < point.f1 < point.interval[1] for point in rising.points)
    train = examples["train"]
    assert rising.positives == sum("defensive" in e.stances for e in train)
    assert rising.needed == round(NEXT * len(train) / rising.positives)
    assert learn_curve.verdict(list(found.values())).startswith("Collect stance/defensive next")


def test_smaller_sets_are_whole_documents_of_the_larger(examples: dict[str, list[Example]]) -> None:
    train = examples["train"]
    small, large = (learn_curve.nested(train, size, 7) for size in (50, 150))
    assert 50 <= len(small) < len(large) < len(train) and {e.id for e in small} < {e.id for e in large}
    for drawn in (small, large):
        whole = {e.document for e in drawn}
        assert len(drawn) == sum(e.document in whole for e in train)
    assert {e.id for e in small} != {e.id for e in learn_curve.nested(train, 50, 8)}


def test_every_size_has_as_many_steps() -> None:
    assert [Plan.of(size, 1, 8000, 3, 0).epochs for size in (1000, 2000, 4000, 8000)] == [24, 12, 6, 3]


def test_a_label_is_measured_with_thresholds_from_the_other_documents(examples: dict[str, list[Example]]) -> None:
    dev = examples["dev"]
    truth = np.array([e.vector(TAXONOMY) for e in dev])
    right, named = learn_curve.measured(8.0 * truth - 4, dev, TAXONOMY)
    assert right.shape == named.shape == (len({e.document for e in dev}), len(KEYS))
    assert (right.sum(axis=0) == truth.sum(axis=0)).all() and (named == 2 * right).all()


def test_a_small_curve_from_runs_that_are_not_run_twice(
    small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learn_curve, "RESAMPLES", 20)
    app = typer.Typer()
    app.command()(learn_curve.learn_curve)
    runs, outputs = tmp_path / "runs.jsonl", [tmp_path / "curve.json", tmp_path / "curve.html"]
    sizes = ["--size", "15", "--size", "30", "--size", "45"]
    options = [str(runs), "--data", str(small_data), *sizes, "--seeds", "1", "--epochs", "1"]
    first = CliRunner().invoke(app, options)
    assert first.exit_code == 0 and "Collect " in first.stdout and "about 0:00:00 left" in first.stderr
    lines = runs.read_text().splitlines()
    assert [json.loads(line)["size"] for line in lines] == [15, 30, 45]
    runs.write_text("".join(line + "\n" for line in lines[:2]))  # as a kill leaves it
    options += ["-o", str(outputs[0]), "-o", str(outputs[1])]
    assert CliRunner().invoke(app, options).exit_code == 0
    again = runs.read_text().splitlines()
    assert again[:2] == lines[:2] and len(again) == 3
    assert json.loads(again[2])["right"] == json.loads(lines[2])["right"]
    found = json.loads(outputs[0].read_text())
    assert [label["key"] for label in found["labels"]] == list(KEYS) and len(found["labels"][0]["points"]) == 3
    page = outputs[1].read_text()
    assert page.count("<svg") == 1 and "http://" not in page.replace("http://www.w3.org", "")
    other = CliRunner().invoke(app, [*options[:-5], "2"])
    assert other.exit_code == 2 and "another setting" in other.output
    few = CliRunner().invoke(app, [str(runs), "--data", str(small_data), "--size", "20", "--size", "60"])
    assert few.exit_code == 2
