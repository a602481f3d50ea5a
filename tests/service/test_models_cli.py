"""`candour models`, as a shell runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from labels import dataset, splits, taxonomy
from models import manifest, verdict
from models.registry import Registry
from models.verdict import Rule, Verdict
from service import drift, retrain
from service.retrain import Plan, Run, State
from tests.models import variants

COMMAND = Path(sys.executable).with_name("candour")


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`one` is the champion, `base` the one before it; `two` and `three` have no alias."""
    store = variants.store(tmp_path_factory.mktemp("several"), "one", "two", "three")
    Registry(store).promote("one")
    return store


@pytest.fixture
def store(several: Path, tmp_path: Path) -> Path:
    return variants.linked(several, tmp_path / "store")


def models(store: Path, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, "models", *arguments], input=stdin, capture_output=True, text=True, check=False,
        env=os.environ | {"CANDOUR_STORE": str(store), "CANDOUR_RETRAIN_FOLDER": str(store.with_name("runs"))},
    )  # fmt: skip


def judge(store: Path, version: str, champion: str, passed: bool = True) -> None:
    """Keep a verdict on a version that was held against a champion."""
    speed = Rule(name="speed", passed=True, detail="0.98 times the champion's time")
    floor = Rule(name="floors/test", passed=passed, detail="f1/theme/education 0.41" if not passed else "none is below")
    said = Verdict(
        candidate=version, champion=champion, created=datetime.now(UTC), passed=passed, rules=(speed, floor),
        comparisons=(), new={}, best={},
    )  # fmt: skip
    verdict.keep(store, said)


def begin(store: Path, version: str, state: State = State.RUNNING) -> Path:
    """Write the run of a retraining that makes a version: where it is written."""
    now = datetime.now(UTC)
    run = Run(id=version, plan=Plan(), data={}, store=str(store), champion="one", created=now, state=state)
    folder = store.with_name("runs") / version
    folder.mkdir(parents=True)
    ended = run.model_copy(update={"finished": None if state is State.RUNNING else now})
    (folder / "run.json").write_text(ended.model_dump_json())
    return folder / "run.json"


def test_what_no_model_has_learned_from_is_kept_beside_a_model(store: Path, tmp_path: Path) -> None:
    labelling = taxonomy.load()
    divided = splits.divide(dataset.load([dataset.WRITTEN], labelling))
    documents = {split: divided[split][0].document for split in splits.SPLITS}
    chosen = [e for split in splits.SPLITS for e in divided[split] if e.document == documents[split]]
    dataset.write(tmp_path / "data.jsonl", chosen)
    done = models(store, "reference", "two", "--data", str(tmp_path / "data.jsonl"))
    assert done.returncode == 0, done.stderr
    held = drift.read(store / "two" / "drift.json")
    assert held.model == "two" and len(held.documents) == 2
    split_of = {e.authority: split for split, examples in divided.items() for e in examples}
    assert {split_of[profile.council or ""] for profile in held.documents} == {"dev", "test"}
    assert not (store / "one" / "drift.json").exists()
    assert models(store, "verify", "two").returncode == 0


def damage(store: Path, version: str) -> None:
    card = store / version / manifest.CARD
    text = card.read_bytes()
    card.unlink()  # its content is that of the other versions, too
    card.write_bytes(text + b"\n")


def test_list_shows_each_version_with_its_aliases_and_scores(store: Path) -> None:
    done = models(store, "list")
    assert done.returncode == 0, done.stderr
    head, *rows = [line.split() for line in done.stdout.splitlines()]
    assert head[:3] == ["version", "created", "aliases"]
    assert [row[0] for row in rows] == ["base", "one", "three", "two"]
    by_version = {row[0]: row for row in rows}
    assert by_version["one"][3] == "champion" and by_version["base"][3] == "previous"
    metrics = manifest.read(store / "two").metrics
    expected = [f"{metrics[name]:.4f}" for name in ("test/macro_f1/theme", "test/macro_f1/stance")]
    assert by_version["two"][3:5] == expected
    size = sum(path.stat().st_size for path in (store / "two").iterdir()) / 1e6
    assert by_version["two"][5] == f"{size:.1f}"


def test_list_goes_on_past_what_cannot_be_read(store: Path) -> None:
    path = store / "two" / manifest.MANIFEST
    path.unlink()
    path.write_text("{")
    done = models(store, "list")
    assert done.returncode == 0 and "cannot be used" in done.stderr
    rows = {line.split()[0]: line.split()[1] for line in done.stdout.splitlines()}
    assert rows["two"] == "unusable" and rows["three"] != "unusable"


def test_show_says_thresholds_metrics_and_lineage(store: Path) -> None:
    done = models(store, "show")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("one champion\n")
    found = manifest.read(store / "one")
    rows = {line.split()[0]: line.split()[-1] for line in done.stdout.splitlines() if line.strip()}
    assert rows["stance/critical/threshold"] == "0.9900"
    assert rows["test/macro_f1/theme"] == f"{found.metrics['test/macro_f1/theme']:.4f}"
    assert rows["commit"] == found.lineage.commit and rows["data_counts/train"] == "13967"
    assert rows["packages/onnxruntime"] == found.lineage.packages["onnxruntime"]
    assert found.sha256[manifest.MODEL] in "".join(done.stdout.split())


def test_diff_shows_what_differs_and_counts_the_rest(store: Path) -> None:
    lineage = manifest.read(store / "base").lineage.model_dump(mode="json")
    changed = lineage | {"seed": 7, "parent": "base", "data_counts": {"train": 14000}}
    variants.publish(store, "other", threshold=0.25, lineage=changed)
    done = models(store, "diff", "champion", "other")
    assert done.returncode == 0, done.stderr
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if line.strip()}
    assert rows["theme/thresholds/threshold"] == ["0.9900", "0.2500", "-0.7400"]
    assert rows["seed"] == ["1", "7", "+6"]
    assert rows["parent"] == [name for name in (lineage["parent"], "base") if name]
    assert rows["data_counts/train"] == ["13967", "14000", "+33"] and rows["data_counts/dev"] == ["2054"]
    assert "theme/thresholds/bias" not in rows and "test/macro_f1/theme" not in rows
    assert rows["metrics:"][0] == "0" and rows["calibration:"][0] == "8"
    assert models(store, "diff", "one", "one").stdout.count("\n\n") == 4


def test_promote_and_roll_back(store: Path) -> None:
    done = models(store, "promote", "two")
    assert done.returncode == 0 and "the champion is two; before it: one" in done.stderr
    assert Registry(store).aliases() == {"champion": "two", "previous": "one"}
    done = models(store, "rollback")
    assert done.returncode == 0 and "the champion is one; before it: two" in done.stderr
    assert Registry(store).aliases() == {"champion": "one", "previous": "two"}


def test_what_passed_against_the_champion_is_promoted_without_a_word(store: Path) -> None:
    judge(store, "two", "one")
    Registry(store).nominate("two")
    done = models(store, "promote", "candidate")
    assert done.returncode == 0 and "the champion is two" in done.stderr and "held against" not in done.stderr


def test_what_no_gate_has_seen_is_promoted_with_a_warning(store: Path) -> None:
    done = models(store, "promote", "two")
    assert done.returncode == 0 and "the champion is two" in done.stderr
    assert "two was held against nothing: `python -m training.verdict two`" in done.stderr


def test_what_the_gate_refused_is_not_promoted_and_the_rules_are_named(store: Path) -> None:
    judge(store, "two", "one", passed=False)
    before = Registry(store).aliases()
    done = models(store, "promote", "two")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "the gate refused two (floors/test: f1/theme/education 0.41)" in done.stderr and "speed" not in done.stderr
    assert Registry(store).aliases() == before
    assert models(store, "promote", "two", "--anyway").returncode == 0
    assert Registry(store).aliases() == {"champion": "two", "previous": "one"}


def test_what_was_held_against_another_champion_is_not_promoted(store: Path) -> None:
    judge(store, "two", "base")
    before = Registry(store).aliases()
    done = models(store, "promote", "two")
    assert done.returncode == 1 and "two was held against base, and the champion is one" in done.stderr
    assert Registry(store).aliases() == before
    assert models(store, "promote", "two", "--anyway").returncode == 0
    assert Registry(store).aliases() == {"champion": "two", "previous": "one"}


def test_a_verdict_that_cannot_be_read_is_no_leave_to_promote(store: Path) -> None:
    judge(store, "two", "one")
    (store / "verdicts" / "two.json").write_text("{")
    done = models(store, "promote", "two")
    assert done.returncode == 1 and "holds no verdict" in done.stderr and "Traceback" not in done.stderr
    assert models(store, "promote", "two", "--anyway").returncode == 0


def test_the_champion_and_the_one_before_it_are_promoted_as_rollback_does_whatever_was_said_of_them(
    store: Path,
) -> None:
    judge(store, "one", "base")
    judge(store, "base", "three", passed=False)
    for name, aliases in (
        ("champion", {"champion": "one", "previous": "base"}),
        ("base", {"champion": "base", "previous": "one"}),
        ("previous", {"champion": "one", "previous": "base"}),
    ):
        done = models(store, "promote", name)
        assert done.returncode == 0 and "held against" not in done.stderr
        assert Registry(store).aliases() == aliases


def test_what_no_server_could_serve_is_not_promoted(store: Path) -> None:
    damage(store, "two")
    variants.publish(store, "cut", segmentation="0")
    variants.publish(store, "none", model=b"no network")
    before = Registry(store).aliases()
    for name, why in (
        ("two", "not the published file"), ("cut", "segmentation 0"), ("none", "cannot be loaded"), ("x", "no model"),
    ):  # fmt: skip
        done = models(store, "promote", name)
        assert done.returncode == 1 and why in done.stderr and "Traceback" not in done.stderr
    assert Registry(store).aliases() == before
    damage(store, "base")
    done = models(store, "rollback")
    assert done.returncode == 1 and "not the published file" in done.stderr
    assert Registry(store).aliases() == before


def test_a_rollback_without_a_previous_champion_is_refused(tmp_path: Path) -> None:
    done = models(variants.store(tmp_path), "rollback")
    assert done.returncode == 1 and "no previous champion" in done.stderr


def test_verify_names_what_is_damaged(store: Path) -> None:
    done = models(store, "verify")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [f"{version}: good" for version in ("base", "one", "three", "two")]
    damage(store, "two")
    (store / "base" / manifest.TOKENIZER).unlink()
    done = models(store, "verify")
    assert done.returncode == 1 and done.stdout.splitlines() == ["one: good", "three: good"]
    assert f"two/{manifest.CARD} is not the published file" in done.stderr
    assert f"base/{manifest.TOKENIZER} cannot be read" in done.stderr
    assert models(store, "verify", "champion", "three").returncode == 0
    assert models(store, "verify", "champion", "previous").returncode == 1


def test_verify_looks_at_the_reference_of_drift_and_at_a_store_alone(store: Path, tmp_path: Path) -> None:
    drift.beside(store, "two").write_text('{"x": 1}')
    done = models(store, "verify", "two")
    assert done.returncode == 1 and "is no reference" in done.stderr
    done = models(tmp_path / "none", "verify")
    assert done.returncode == 1 and "there is no model store" in done.stderr


def test_verify_misses_no_version_that_an_alias_names_and_nobody_has(store: Path) -> None:
    (store / "aliases.json").unlink()
    (store / "aliases.json").write_text('{"champion": "one", "previous": "lost"}')
    done = models(store, "verify")
    assert done.returncode == 1 and "no model 'lost'" in done.stderr


def test_prune_asks_first_and_keeps_the_newest(store: Path) -> None:
    variants.publish(store, "old", created="2020-01-01T00:00:00Z")
    for answer in ("n\n", ""):
        done = models(store, "prune", "--keep", "2", stdin=answer)
        assert done.returncode == 1 and done.stdout.splitlines()[0] == "old"
        assert "old" in Registry(store).versions()
    assert models(store, "prune", "--keep", "2", stdin="y\n").returncode == 0
    assert Registry(store).versions() == ["base", "one", "three", "two"]
    done = models(store, "prune", "--yes")
    assert done.returncode == 0 and sorted(done.stdout.splitlines()) == ["three", "two"]
    assert "removed 2" in done.stderr
    assert Registry(store).versions() == ["base", "one"]
    assert models(store, "prune").returncode == 0  # there is nothing to ask


def test_a_retraining_may_begin_while_prune_waits_for_an_answer(store: Path) -> None:
    environment = os.environ | {"CANDOUR_STORE": str(store), "CANDOUR_RETRAIN_FOLDER": str(store.with_name("runs"))}
    with subprocess.Popen(
        [COMMAND, "models", "prune"], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        stderr=subprocess.DEVNULL,
    ) as asking:  # fmt: skip
        assert asking.stdout is not None
        assert {asking.stdout.readline().strip(), asking.stdout.readline().strip()} == {"two", "three"}
        with retrain.locked(store):
            Registry(store).promote("two")
        asking.communicate("y\n")
    assert asking.returncode == 0 and Registry(store).versions() == ["base", "one", "two"]


def test_prune_keeps_the_newest_of_those_that_may_go(store: Path) -> None:
    for version, day in (("older", 2), ("oldest", 1)):
        variants.publish(store, version, created=f"2020-01-0{day}T00:00:00Z")
    judge(store, "two", "one", passed=False)
    done = models(store, "prune", "--yes", "--keep", "2")
    assert done.returncode == 0 and done.stdout.splitlines() == ["oldest"]
    assert Registry(store).versions() == ["base", "older", "one", "three", "two"]


def test_prune_leaves_the_model_of_a_retraining_that_has_not_ended(store: Path) -> None:
    run = begin(store, "two")
    begin(store, "three", State.FAILED)
    done = models(store, "prune", "--yes", "--refused")
    assert done.returncode == 0 and done.stdout.splitlines() == ["three"]
    run.write_text("{")
    begin(store, "nobodys").write_text("{")
    variants.publish(store, "four")
    done = models(store, "prune", "--yes", "--refused")
    assert done.returncode == 0 and done.stdout.splitlines() == ["four"] and "two stays: " in done.stderr
    assert Registry(store).versions() == ["base", "one", "two"]


def test_prune_leaves_what_the_gate_refused_until_it_is_told_to_take_that_too(store: Path) -> None:
    judge(store, "two", "one", passed=False)
    judge(store, "three", "one")
    done = models(store, "prune", "--yes")
    assert done.returncode == 0 and done.stdout.splitlines() == ["three"]
    variants.publish(store, "four")
    judge(store, "four", "one")
    (store / "verdicts" / "four.json").write_text("{")
    done = models(store, "prune", "--yes")
    assert done.returncode == 0 and not done.stdout and "four stays: " in done.stderr
    done = models(store, "prune", "--yes", "--refused")
    assert done.returncode == 0 and sorted(done.stdout.splitlines()) == ["four", "two"]
    assert Registry(store).versions() == ["base", "one"]


def test_the_store_can_be_named(store: Path, tmp_path: Path) -> None:
    done = models(tmp_path / "nowhere", "show", "two", "--store", str(store))
    assert done.returncode == 0 and done.stdout.startswith("two\n")
    done = models(tmp_path / "nowhere", "show", "two")
    assert done.returncode == 1 and "there is no model store" in done.stderr
