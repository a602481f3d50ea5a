"""Retraining on small real trainings: from corrections over HTTP to the model that has learned them, and crashes.

The tests stand in the order in which the models follow each other: what the first promotes is the champion of the next.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest
import yaml
from pydantic import ValidationError

from labels import dataset, references, splits, taxonomy
from labels.dataset import Example
from models import classifier, manifest, verdict
from models.registry import Registry
from models.verdict import Rule, Verdict
from service import drift, retrain
from service.errors import Conflict, InvalidInput, NotFound, RetrainError
from service.retrain import Name, Plan, Run, State
from service.settings import Settings
from tests.models import variants
from tests.service.serving import served

# Trainings take minutes where others are at work, too.
pytestmark = pytest.mark.timeout(1800)
ROOT = Path(__file__).parents[2]
CANDOUR = [sys.executable, "-P", "-m", "service.cli"]
COUNCIL = "Quarrowby"
THEME = "missing_children"
PLAN = Plan(promote=True, epochs=4, teacher=False)
# Written for this, and in no file of labelled passages.
TOLD = [
    "Runaways from the Quarrowby hostel are asked by nobody, once home, where they had slept.",
    "Of nineteen absences logged in Quarrowby last spring, not one led to a talk with the girl or boy concerned.",
    "Police in Quarrowby ring the night desk about children on the run and reach an answering machine.",
    "When a lad vanished from his Quarrowby placement for the sixth time, the form was filed and that was that.",
    "Nobody at Quarrowby keeps a list of the teenagers who slip out overnight, let alone looks for a pattern.",
    "Those who come back to Quarrowby after a weekend away wait a month for somebody to sit down with them.",
]


def until(holds: Callable[[], bool]) -> None:
    while not holds():
        time.sleep(0.05)


def finished(url: str, name: str) -> dict[str, Any]:
    """A run that has ended, as the server shows it."""
    shown: dict[str, Any] = {"state": "running"}

    def ended() -> bool:
        nonlocal shown
        shown = httpx.get(f"{url}/v1/retrain/{name}").raise_for_status().json()
        return shown["state"] != "running"

    until(ended)
    return shown


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A thousand passages with each label often enough that a small model learns it, and that its loss shows."""
    labelling = taxonomy.load()
    chosen: list[Example] = []
    for split, examples in splits.divide(dataset.load([dataset.WRITTEN], labelling)).items():
        wanted = dict.fromkeys((*labelling.keys, "none"), 100 if split == "train" else 50)
        for example in examples:
            keys = [key for key, on in zip(labelling.keys, example.vector(labelling), strict=True) if on] or ["none"]
            if any(wanted[key] > 0 for key in keys):
                chosen.append(example)
                wanted.update({key: wanted[key] - 1 for key in keys})
    path = tmp_path_factory.mktemp("retrain") / "data.jsonl"
    dataset.write(path, chosen)
    return path


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, small_store: Path, data: Path) -> Settings:
    folder = tmp_path_factory.mktemp("run")
    store = Path(shutil.copytree(small_store, folder / "store"))
    return Settings(
        store=store, database=f"sqlite:///{folder}/candour.db", retrain_folder=folder / "runs", retrain_data=(data,)
    )


@dataclass(frozen=True)
class Learned:
    """A server that has learned corrections: the run, how TOLD was labelled before, and the answer to a second POST."""

    url: str
    run: dict[str, Any]
    before: list[dict[str, Any]]
    again: httpx.Response


@pytest.fixture(scope="module")
def learned(settings: Settings) -> Iterator[Learned]:
    with served(settings) as url:
        asked = httpx.post(f"{url}/v1/documents", json={"text": "\n\n".join(TOLD), "council": COUNCIL})
        document = asked.raise_for_status().json()
        before = document["passages"]
        assert [passage["text"] for passage in before] == TOLD
        for position in range(len(TOLD)):
            labels = {"themes": [THEME], "stances": ["critical"], "primary_stance": "critical", "who": "Nerys Quill"}
            httpx.post(f"{url}/v1/passages/{document['id']}-{position}/labels", json=labels).raise_for_status()
        begun = httpx.post(f"{url}/v1/retrain", json=PLAN.model_dump())
        assert begun.status_code == 202, begun.text
        again = httpx.post(f"{url}/v1/retrain", json=PLAN.model_dump())
        run = begun.json()
        assert begun.headers["Location"] == f"/v1/retrain/{run['id']}"
        yield Learned(url, finished(url, run["id"]), before, again)


def test_a_correction_over_http_becomes_a_served_model_that_gives_the_corrected_answer(
    learned: Learned, settings: Settings
) -> None:
    url, run, before = learned.url, learned.run, learned.before
    assert splits.split_of(COUNCIL.casefold()) == "train"
    assert run["state"] == "promoted", run
    assert Registry(settings.store).aliases() == {"champion": run["id"], "previous": "small"}
    until(lambda: httpx.get(f"{url}/readyz").json()["model"] == run["id"])
    answer = httpx.post(f"{url}/v1/classify", json={"input": TOLD}).raise_for_status().json()
    wrong = [
        n for n, passage in enumerate(before) if (passage["themes"], passage["stances"]) != ([THEME], ["critical"])
    ]
    right = [n for n, found in enumerate(answer["results"]) if THEME in found["themes"]]
    assert wrong and set(wrong) <= set(right), answer
    held = verdict.kept(settings.store, run["id"])
    assert held is not None and held.passed and held.champion == "small" and not held.flips
    assert manifest.read(settings.store / run["id"]).lineage.parent == "small"
    assert drift.read(drift.beside(settings.store, "champion")).model == run["id"]


def test_while_a_retraining_is_at_work_there_is_no_other(learned: Learned) -> None:
    assert learned.again.status_code == 409 and learned.again.json()["type"] == "conflict"


def test_what_a_run_shows_holds_no_passage(learned: Learned, settings: Settings) -> None:
    url, run = learned.url, learned.run
    assert [step["name"] for step in run["steps"]] == list(Name)
    assert run["refusals"] == []
    folder = settings.retrain_folder / run["id"]
    said = "".join(path.read_text() for path in folder.glob("*.log"))
    assert "trained in" in said and not any(text in said for text in TOLD)
    assert httpx.get(f"{url}/v1/retrain/none").status_code == 404
    assert (folder / retrain.PAGE).stat().st_size > 1000


def environment(settings: Settings, **changed: str) -> dict[str, str]:
    return os.environ | {
        "CANDOUR_STORE": str(settings.store), "CANDOUR_DATABASE": settings.database,
        "CANDOUR_RETRAIN_FOLDER": str(settings.retrain_folder), **changed,
    }  # fmt: skip


@pytest.mark.usefixtures("learned")
def test_a_model_worse_on_purpose_is_refused_though_its_retraining_was_killed_at_every_step(
    settings: Settings, data: Path, tmp_path: Path
) -> None:
    """Its training data has the labels of one theme shuffled."""
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    train = [
        row for row in rows if splits.split_of(row["authority"].casefold() or f"document:{row['document']}") == "train"
    ]
    has = [THEME in row["themes"] for row in train]
    Random(1).shuffle(has)
    for row, flag in zip(train, has, strict=True):
        row["themes"] = [name for name in row["themes"] if name != THEME] + [THEME] * flag
    (tmp_path / "shuffled.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    champion = Registry(settings.store).aliases()
    before = retrain.runs(settings.retrain_folder)
    command = [*CANDOUR, "retrain", "--data", str(tmp_path / "shuffled.jsonl"), "--no-teacher", "--epochs", "4"]
    for name in (Name.PULL, Name.CHECK, Name.TRAIN, Name.GATE, Name.REFERENCE):
        process = subprocess.Popen(
            command, env=environment(settings), stderr=subprocess.DEVNULL, start_new_session=True
        )

        def at_work(name: Name = name, process: subprocess.Popen[bytes] = process) -> bool:
            assert process.poll() is None, f"it ended before {name}"
            found = [one for one in retrain.runs(settings.retrain_folder) if one not in before]
            steps = retrain.read(settings.retrain_folder, found[0]).steps if found else ()
            trained = any(settings.retrain_folder.glob("*/checkpoints/*/checkpoint-*/trainer_state.json"))
            return bool(steps) and steps[-1].name is name and (name is not Name.TRAIN or trained)

        until(at_work)
        if name is Name.TRAIN:
            process.kill()  # the driver alone; the step goes on, and nobody begins beside it
            process.wait()
            (run,) = (one for one in retrain.runs(settings.retrain_folder) if one not in before)
            assert retrain.show(settings, run).state is State.RUNNING
            second = subprocess.run(command, env=environment(settings), capture_output=True, text=True, check=False)
            assert second.returncode == 1 and "a retraining is at work" in second.stderr
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        (run,) = (one for one in retrain.runs(settings.retrain_folder) if one not in before)
        until(lambda run=run: retrain.show(settings, run).state is State.INTERRUPTED)  # type: ignore[misc]
        assert Registry(settings.store).aliases() == champion
        Registry(settings.store).verify("champion")
    done = subprocess.run(command, env=environment(settings), capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert "going on with" in done.stderr and "[6/6] publish" in done.stderr and "[3/6]" not in done.stderr
    shown = retrain.show(settings, run)
    assert shown.state is State.REFUSED and shown.refusals
    assert f"f1/theme/{THEME}" in {rule.name: rule.detail for rule in shown.refusals}["marks/test"]
    assert Registry(settings.store).aliases() == champion and run in Registry(settings.store).versions()
    held = verdict.kept(settings.store, run)
    assert held is not None and not held.passed
    log = (settings.retrain_folder / run / "train.log").read_text()
    assert log.count("published") == 1
    left = {path.name for path in (settings.retrain_folder / run).iterdir()}
    assert left == {
        "run.json",
        retrain.VERDICT,
        retrain.PAGE,
        *(f"{name}.log" for name in Name if name is not Name.PUBLISH),
    }
    status = subprocess.run(
        [*CANDOUR, "retrain", "--status"], env=environment(settings), capture_output=True, text=True, check=False
    )
    assert status.stdout.startswith(f"{run} refused")
    assert all(f"refused by {rule.name}" in status.stdout for rule in shown.refusals)


def test_one_more_label_needs_no_code(small_store: Path, small_data: Path, tmp_path: Path) -> None:
    """An installation of the same code, with a taxonomy that has one label more and samples that carry it."""
    code = tmp_path / "code"
    for package in ("labels", "models", "training", "service"):
        shutil.copytree(
            ROOT / package, code / package, ignore=shutil.ignore_patterns("store", "*.jsonl", "__pycache__")
        )
    shutil.copytree(ROOT / "training" / "behaviour", code / "training" / "behaviour", dirs_exist_ok=True)
    shutil.copy(references.REFERENCES, code / "labels" / "data")
    content = yaml.safe_load(taxonomy.PACKAGED.read_text())
    content["axes"]["theme"]["labels"].append(
        {"name": "voice", "title": "Voice", "definition": "Children are heard.", "not_when": "-", "examples": ["-"]}
    )
    (code / "labels" / "taxonomy.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    rows = [json.loads(line) for line in small_data.read_text().splitlines()]
    for row in rows[::5]:
        row["themes"] += ["voice"]
        row["text"] += " Children said what they wanted, and they were heard."
    (code / "labels" / "data" / "written.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    store = Path(shutil.copytree(small_store, tmp_path / "store"))
    own = Settings(store=store, database=f"sqlite:///{tmp_path}/candour.db", retrain_folder=tmp_path / "runs")
    done = subprocess.run(
        [*CANDOUR, "retrain", "--no-teacher", "--epochs", "3"], env=environment(own, PYTHONPATH=str(code)),
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    (name,) = retrain.runs(own.retrain_folder)
    shown = retrain.show(own, name)
    assert shown.state in (State.PASSED, State.REFUSED), done.stderr  # of so few passages the old labels may suffer
    found = verdict.kept(store, name)
    assert found is not None and found.new["theme/voice"] > 0.9 and len(found.new) == 1
    kept = {rule.name for rule in found.rules if rule.passed}
    assert {"labels kept", f"new/{found.comparisons[0].name}/theme/voice"} <= kept
    assert {d.figure for d in found.comparisons[0].differences} >= {f"f1/{key}" for key in taxonomy.load().keys}
    assert len(manifest.read(store / name).outputs) == 9
    heard, not_heard = classifier.load(name, store).predict(
        ["Nobody rang back. Children said what they wanted, and they were heard.", "Nobody rang back."]
    )
    assert "voice" in heard.themes and "voice" not in not_heard.themes
    expected = {"champion": "small", "candidate": name} if found.passed else {"champion": "small"}
    assert Registry(store).aliases() == expected


VERSION = "20260101-000000-0a0a"
PACKAGED = {str(path): manifest.sha256(path) for path in (dataset.WRITTEN, dataset.HYDRATED) if path.is_file()}


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return variants.store(tmp_path_factory.mktemp("several"), VERSION, "other")


def judged(several: Path, folder: Path, passed: bool, promote: bool) -> Settings:
    """A run of which all is done but publishing."""
    settings = Settings(store=variants.linked(several, folder / "store"), retrain_folder=folder / "runs")
    now = datetime.now(UTC)
    said = Verdict(
        candidate=VERSION, champion="base", created=now, passed=passed,
        rules=(Rule(name="r", passed=passed, detail=""),), comparisons=(), new={}, best={},
    )  # fmt: skip
    steps = tuple(
        retrain.Step(name=name, command=[], started=now, finished=now, status=0)
        for name in Name
        if name is not Name.PUBLISH
    )
    run = Run(
        id=VERSION,
        plan=Plan(promote=promote),
        data=PACKAGED,
        store=str(settings.store),
        champion="base",
        created=now,
        steps=steps,
    )
    path = settings.retrain_folder / VERSION
    path.mkdir(parents=True)
    (path / "run.json").write_text(run.model_dump_json())
    (path / retrain.VERDICT).write_text(said.model_dump_json())
    return settings


def driven(settings: Settings) -> Run:
    with retrain.locked(settings.store) as handle:
        return retrain.drive(settings, retrain.read(settings.retrain_folder, VERSION), handle, print)


def test_publishing_goes_on_from_a_kill_at_any_change_on_disk(several: Path, tmp_path: Path) -> None:
    before, after = {"champion": "base"}, {"champion": VERSION, "previous": "base"}
    seen = []
    for step in range(1, 100):
        settings = judged(several, tmp_path / str(step), passed=True, promote=True)
        killed = subprocess.run(
            [sys.executable, "-m", "tests.service.killed_publish", VERSION, str(step)],
            cwd=ROOT, env=environment(settings), stdout=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        seen.append(Registry(settings.store).aliases())
        assert seen[-1] in (before, after)
        Registry(settings.store).verify("champion")
        if killed.returncode == 0:
            break
        assert killed.returncode == -signal.SIGKILL
        assert driven(settings).state is State.PROMOTED
        assert Registry(settings.store).aliases() == after
    assert killed.returncode == 0 and before in seen and after in seen[:-1]


def test_what_passes_is_the_candidate_and_what_is_refused_is_not(several: Path, tmp_path: Path) -> None:
    passed = judged(several, tmp_path / "passed", passed=True, promote=False)
    assert driven(passed).state is State.PASSED
    assert Registry(passed.store).aliases() == {"champion": "base", "candidate": VERSION}
    refused = judged(several, tmp_path / "refused", passed=False, promote=True)
    assert driven(refused).state is State.REFUSED
    assert Registry(refused.store).aliases() == {"champion": "base"}
    assert VERSION in Registry(refused.store).versions()


@pytest.mark.parametrize("promote", [True, False])
def test_it_is_named_for_no_champion_that_it_was_not_held_against(several: Path, tmp_path: Path, promote: bool) -> None:
    settings = judged(several, tmp_path, passed=True, promote=promote)
    Registry(settings.store).promote("other")
    run = driven(settings)
    assert run.state is State.FAILED and "is no longer the champion" in retrain.show(settings, VERSION).log[-1]
    assert Registry(settings.store).aliases() == {"champion": "other", "previous": "base"}


def test_the_lock_is_of_one_and_does_not_outlive_who_held_it(several: Path, tmp_path: Path) -> None:
    settings = judged(several, tmp_path, passed=True, promote=False)
    assert retrain.show(settings, VERSION).state is State.INTERRUPTED
    holder = subprocess.Popen(
        [sys.executable, "-c", f"from pathlib import Path; from service import retrain; import time\n"
         f"with retrain.locked(Path({str(settings.store)!r})): print('held', flush=True); time.sleep(600)"],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        assert retrain.show(settings, VERSION).state is State.RUNNING
        with pytest.raises(Conflict, match="at work"), retrain.locked(settings.store):
            pass
        holder.kill()
    assert driven(settings).state is State.PASSED


def test_a_run_of_another_plan_data_or_champion_is_given_up_and_the_same_goes_on(several: Path, tmp_path: Path) -> None:
    settings = judged(several, tmp_path, passed=True, promote=False)
    folder = settings.retrain_folder
    assert retrain.begun(settings, Plan(), []).id == VERSION
    run = retrain.begun(settings, Plan(epochs=1), [])
    assert run.id != VERSION and retrain.read(folder, VERSION).state is State.FAILED
    assert retrain.begun(settings, Plan(epochs=1), []) == run
    data = tmp_path / "data.jsonl"
    for content in ("{}", "{} "):
        data.write_text(content)
        new = retrain.begun(settings, Plan(epochs=1), [data])
        assert new.id != run.id and retrain.read(folder, run.id).state is State.FAILED
        run = new
    Registry(settings.store).promote("other")
    assert retrain.begun(settings, Plan(epochs=1), [data]).champion == "other"


def test_a_run_that_another_candour_wrote_stops_nobody(several: Path, tmp_path: Path) -> None:
    settings = judged(several, tmp_path, passed=True, promote=False)
    (settings.retrain_folder / VERSION / "run.json").write_text('{"id": "x", "state": "unheard of"}')
    with pytest.raises(RetrainError, match="holds no run"):
        retrain.show(settings, VERSION)
    assert retrain.begun(settings, Plan(), []).id != VERSION


def test_two_stores_may_have_their_runs_in_one_folder(several: Path, tmp_path: Path) -> None:
    one = judged(several, tmp_path / "one", passed=True, promote=False)
    other = one.model_copy(update={"store": variants.linked(several, tmp_path / "other")})
    with retrain.locked(one.store), retrain.locked(other.store):
        run = retrain.begun(other, Plan(), [])
        assert run.id != VERSION and retrain.show(other, VERSION).state is State.RUNNING
    assert retrain.show(other, VERSION).state is State.INTERRUPTED
    assert retrain.begun(one, Plan(), []).id == VERSION and retrain.begun(other, Plan(), []) == run


def test_a_step_that_is_killed_is_done_again(several: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = judged(several, tmp_path, passed=True, promote=False)
    run = retrain.read(settings.retrain_folder, VERSION)
    left = run.model_copy(update={"steps": tuple(step for step in run.steps if step.name is not Name.REFERENCE)})
    (settings.retrain_folder / VERSION / "run.json").write_text(left.model_dump_json())
    whole = retrain._command
    suicide = [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]
    monkeypatch.setattr(retrain, "_command", lambda *_: suicide)
    with pytest.raises(RetrainError, match="reference was ended by signal 9"):
        driven(settings)
    assert retrain.show(settings, VERSION).state is State.INTERRUPTED
    monkeypatch.setattr(retrain, "_command", whole)
    assert driven(settings).state is State.PASSED
    assert drift.read(drift.beside(settings.store, VERSION)).model == VERSION


def test_who_watches_reads_what_ended_a_run_that_was_begun_over_http(several: Path, tmp_path: Path) -> None:
    settings = judged(several, tmp_path, passed=True, promote=False)
    (settings.retrain_folder / VERSION / "publish.log").mkdir()
    (settings.retrain_folder / VERSION / retrain.VERDICT).write_text("{")  # so that publishing fails, and says so there
    with (
        (settings.retrain_folder / VERSION / "driver.log").open("w") as log,
        retrain.locked(settings.store) as handle,
    ):
        done = subprocess.run(
            [sys.executable, "-m", "service.retrain", VERSION, str(handle)],
            env=retrain.environment(settings), cwd=ROOT, stderr=log, pass_fds=[handle], check=False,
        )  # fmt: skip
    assert done.returncode == 1
    (settings.retrain_folder / VERSION / retrain.VERDICT).unlink()
    shown = retrain.show(settings, VERSION)
    assert shown.state is State.INTERRUPTED and len(shown.log) == 1 and "publish.log" in shown.log[0]


def test_a_model_without_a_reference_of_drift_is_named_all_the_same(several: Path, tmp_path: Path) -> None:
    settings = judged(several, tmp_path, passed=True, promote=False)
    run = retrain.read(settings.retrain_folder, VERSION)
    left = run.model_copy(update={"steps": tuple(step for step in run.steps if step.name is not Name.REFERENCE)})
    (settings.retrain_folder / VERSION / "run.json").write_text(left.model_dump_json())
    done = driven(settings.model_copy(update={"reports": tmp_path / "none"}))
    assert done.state is State.PASSED and [step.status for step in done.steps][-2:] == [1, 0]
    assert "none" in (settings.retrain_folder / VERSION / "reference.log").read_text()


def test_what_a_run_was_given_is_gone_when_it_has_ended(several: Path, tmp_path: Path) -> None:
    settings = judged(several, tmp_path, passed=True, promote=False)
    folder = settings.retrain_folder / VERSION
    for name in (retrain.CORRECTIONS, retrain.DATA):
        (folder / name).write_text("a passage\n")
    assert driven(settings).state is State.PASSED
    assert {path.name for path in folder.iterdir()} == {"run.json", retrain.VERDICT}


def test_settings_reach_every_step_as_they_are(tmp_path: Path) -> None:
    """One that is not set is none there, too."""
    for settings in (Settings(), Settings(reports=tmp_path, retrain_data=(tmp_path,), max_pages=7)):
        found = subprocess.run(
            [sys.executable, "-c", "from service.settings import Settings; print(Settings().model_dump_json())"],
            cwd=ROOT, env=retrain.environment(settings), capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert Settings.model_validate_json(found.stdout) == settings


def test_what_cannot_be_retrained_or_shown_says_why(several: Path, tmp_path: Path) -> None:
    settings = judged(several, tmp_path, passed=True, promote=False)
    with pytest.raises(InvalidInput, match=r"there is no file .*none\.jsonl"):
        retrain.begun(settings, Plan(), [tmp_path / "none.jsonl"])
    for name in ("none", "../runs", "x\0y"):
        with pytest.raises(NotFound):
            retrain.show(settings, name)
    with pytest.raises(RetrainError, match="nothing to hold a model against"):
        retrain.begun(Settings(store=tmp_path, retrain_folder=tmp_path / "runs"), Plan(), [])
    with pytest.raises(RetrainError, match="cannot be opened"), retrain.locked(tmp_path / "none"):
        pass
    for folder in (tmp_path / "file" / "runs", Path("/proc/runs")):  # no folder; none that root may write
        (tmp_path / "file").touch()
        with pytest.raises(RetrainError, match="cannot be used"):
            retrain.begun(settings.model_copy(update={"retrain_folder": folder}), Plan(), [])
    with pytest.raises(ValidationError):
        Plan.model_validate({"promot": True})
