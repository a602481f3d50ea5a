"""The recipe on a small real set: what it publishes, that it is repeatable, that it goes on after a kill."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from labels import dataset, splits, taxonomy
from models import classifier, manifest
from training.__main__ import train
from training.base import BaseWeightsError, resolve
from training.train import Settings, fit, last_checkpoint, run_name


@pytest.fixture
def run(tmp_path: Path, small_data: Path) -> Callable[..., Path]:
    def run(version: str, **options: object) -> Path:
        options = {"data": [small_data], "epochs": 1, "baselines": False, "teacher": False} | options
        train(store=tmp_path / "store", work=tmp_path / "work", version=version, **options)  # type: ignore[arg-type]
        return tmp_path / "store" / version

    return run


def test_what_is_published(small_store: Path, small_data: Path) -> None:
    folder = small_store / "small"
    found = manifest.read(folder)
    manifest.verify(folder, found)
    examples = dataset.load([small_data], taxonomy.load())
    assert found.lineage.data_sha256 == dataset.digest(examples)
    assert sum(found.lineage.data_counts.values()) == len(examples)
    assert found.lineage.base_sha256 == resolve().sha256
    assert tuple(output.key for output in found.outputs) == taxonomy.load().keys
    assert (folder / manifest.MODEL).stat().st_size < 26e6
    assert found.metrics["dev/int8_agreement"] > 0.9
    card = (folder / manifest.CARD).read_text()
    for key in taxonomy.load().keys:
        assert f"`{key}`" in card
    assert "the same in float32" in card and found.lineage.data_sha256 in card
    assert manifest.RELIABILITY in card and manifest.RISK_COVERAGE in card
    assert 0 <= found.metrics["test/calibration_error"] <= 1


def test_two_runs_of_one_seed_give_the_same_predictions(run: Callable[..., Path], small_store: Path) -> None:
    folder = run("again")
    texts = ["Nobody rang the school back.", "We are sorry, and we accept every finding.", "Agendas are online."]
    first = classifier.load("small", small_store).network.logits(texts)
    assert np.array_equal(first, classifier.load("again", folder.parent).network.logits(texts))


def test_a_killed_run_goes_on_from_its_last_epoch(tmp_path: Path, small_data: Path) -> None:
    labelling = taxonomy.load()
    divided = splits.divide(dataset.load([small_data], labelling))
    seen: list[float] = []

    def stop_in_the_second_epoch(figures: dict[str, float]) -> None:
        if "loss" in figures:
            seen.append(figures["epoch"])
        if len(seen) == 2:
            raise KeyboardInterrupt

    few = (divided["train"][:64], divided["dev"][:32], labelling, resolve(), tmp_path, Settings(epochs=3))
    with pytest.raises(KeyboardInterrupt):
        fit(*few, report=stop_in_the_second_epoch)
    resumed: list[float] = []
    fit(*few, report=lambda figures: resumed.append(figures["epoch"]) if "loss" in figures else None)
    assert seen == [1.0, 2.0] and resumed == [2.0, 3.0]


def test_a_checkpoint_that_a_kill_left_half_written_is_passed_over(tmp_path: Path) -> None:
    for step, files in (("5", ["model.safetensors", "trainer_state.json"]), ("10", ["model.safetensors"])):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        for name in files:
            (folder / name).write_text("{}")
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-5")
    assert not (tmp_path / "checkpoint-10").exists()
    assert last_checkpoint(tmp_path / "none") is None


def test_other_ingredients_are_another_run(small_data: Path) -> None:
    labelling = taxonomy.load()
    divided = splits.divide(dataset.load([small_data], labelling))
    made_of = (divided["train"], divided["dev"], labelling, resolve(), Settings())
    assert run_name("train", *made_of) == run_name("train", *made_of)
    others = [
        run_name("train", *made_of[:4], Settings(seed=2)),
        run_name("train", divided["train"][1:], *made_of[1:]),
        run_name("train", *made_of, None, ["A passage without labels."]),
    ]
    assert len({run_name("train", *made_of), *others}) == 4


def test_one_more_label_needs_no_code(run: Callable[..., Path], tmp_path: Path, small_data: Path) -> None:
    content = yaml.safe_load(taxonomy.PACKAGED.read_text())
    content["axes"]["theme"]["labels"].append(
        {"name": "voice", "title": "Voice", "definition": "Children are heard.", "not_when": "-", "examples": ["-"]}
    )
    (tmp_path / "taxonomy.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    rows = [json.loads(line) for line in small_data.read_text().splitlines()]
    for n, row in enumerate(rows):
        row["themes"] += ["voice"] if n % 5 == 0 else []
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    folder = run("nine", data=[tmp_path / "data.jsonl"], labels=tmp_path / "taxonomy.yaml")
    (found,) = classifier.load("nine", folder.parent).predict(["Children were asked what they wanted."])
    assert len(found.scores) == 9 and "theme/voice" in found.scores


def test_data_that_does_not_fit_stops_the_run_with_file_and_line(run: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"id": "x"}\nnot json\n')
    with pytest.raises(dataset.DatasetError, match=r"bad\.jsonl:1: .*\n.*bad\.jsonl:2: not JSON"):
        run("bad", data=[tmp_path / "bad.jsonl"])
    assert not (tmp_path / "store").exists()


def test_base_weights_are_the_published_ones() -> None:
    assert resolve().sha256 == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def test_base_weights_from_a_folder_and_from_nowhere(tmp_path: Path) -> None:
    assert resolve(resolve().source).source == resolve().source
    with pytest.raises(BaseWeightsError, match=r"has no model\.safetensors"):
        resolve(str(tmp_path))
