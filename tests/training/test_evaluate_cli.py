"""`candour evaluate`: on files, on splits, as table, JSON and page."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from labels import dataset
from labels.dataset import DatasetError
from models.manifest import ArtefactError
from training.evaluate_cli import evaluate

app = typer.Typer()
app.command()(evaluate)
runner = CliRunner()


def test_the_json_and_the_page_hold_all_figures(small_store: Path, small_data: Path, tmp_path: Path) -> None:
    outputs = [tmp_path / "found.json", tmp_path / "found.html"]
    options = ["small", "--store", str(small_store), "--data", str(small_data), "--no-baselines"]
    result = runner.invoke(app, [*options, "-o", str(outputs[0]), "-o", str(outputs[1])])
    assert result.exit_code == 0 and "stance/critical" in result.stdout
    found = json.loads(outputs[0].read_text())
    rows = small_data.read_text().splitlines()
    assert found["data"]["passages"] == len(rows) and found["data"]["split"] == "all"
    figures = found["models"]["candour small"]
    assert {"labels", "macro_f1", "primary_accuracy", "calibration_error", "confident"} <= figures.keys()
    assert len(figures["labels"]) == 8 and set(found["slices"]) == {"kind", "year", "length", "authority"}
    assert 0 < len(found["worst"]) <= 50 and all(error["due"] != error["given"] for error in found["worst"])
    texts = {json.loads(row)["text"] for row in rows}
    assert {error["text"] for error in found["worst"]} <= texts
    page = outputs[1].read_text()
    assert page.count("<svg") == 3 and "http://" not in page.replace("http://www.w3.org", "")
    assert found["data"]["sha256"][:12] in page


def test_text_is_escaped_on_the_page(small_store: Path, small_data: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in small_data.read_text().splitlines()]
    for row in rows:
        row["text"] = f"<script>alert(1)</script> {row['text']}"
    (tmp_path / "sharp.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = ["small", "--store", str(small_store), "--data", str(tmp_path / "sharp.jsonl"), "--no-baselines"]
    assert runner.invoke(app, [*options, "-o", str(tmp_path / "found.html")]).exit_code == 0
    assert "<script>" not in (tmp_path / "found.html").read_text()


def test_by_default_the_test_split_is_measured(small_store: Path, tmp_path: Path) -> None:
    output = tmp_path / "found.json"
    options = ["small", "--store", str(small_store), "--no-baselines", "-o", str(output)]
    assert runner.invoke(app, options).exit_code == 0
    assert json.loads(output.read_text())["data"]["split"] == "test"


def test_every_baseline_stands_in_the_same_table(
    small_store: Path, small_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.baselines.SETFIT_STEPS", 2)
    monkeypatch.setattr("training.baselines.SETFIT_PASSAGES", 40)
    monkeypatch.setattr(dataset, "WRITTEN", small_data)
    monkeypatch.setattr(dataset, "HYDRATED", small_data.with_name("none"))
    result = runner.invoke(app, ["small", "--store", str(small_store)])
    assert result.exit_code == 0
    rows = {line.split("  ")[0]: line.split() for line in result.stdout.splitlines()}
    for name in ("majority", "TF-IDF + logistic regression", "TextBlob polarity", "VADER polarity",
                 "similarity to the definitions", "linear probe of MiniLM", "SetFit"):  # fmt: skip
        assert name in rows, result.stdout
    assert rows["VADER polarity"][2] == "-" and rows["SetFit"][1] != "-"  # of themes polarity says nothing
    assert "0.000" in rows["majority"]


def test_what_cannot_be_measured_says_why(small_store: Path, tmp_path: Path) -> None:
    where = ["--store", str(small_store), "--no-baselines"]
    (tmp_path / "empty.jsonl").write_text("")
    assert isinstance(
        runner.invoke(app, ["small", *where, "--data", str(tmp_path / "empty.jsonl")]).exception, DatasetError
    )
    assert isinstance(runner.invoke(app, ["nobody", *where]).exception, ArtefactError)
    nowhere = runner.invoke(app, ["small", *where, "-o", str(tmp_path / "none" / "found.html")])
    assert nowhere.exit_code == 2
    (tmp_path / "data.json").write_text("")
    lost = runner.invoke(
        app, ["small", *where, "--data", str(tmp_path / "data.json"), "-o", str(tmp_path / "data.json")]
    )
    assert lost.exit_code == 2 and (tmp_path / "data.json").read_text() == ""
    result = runner.invoke(app, ["small", *where, "-o", "found.txt"])
    assert result.exit_code == 2 and "found.txt" in result.output
