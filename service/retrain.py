"""Retraining: corrections to a model that may follow the champion, in steps that a crash does not lose.

A run is a folder: run.json, which says how far it is, each step's log, the data and the verdict. Its steps are
processes of their own, since the service imports nothing of what trains. Who works on a run holds the lock of the model
store, and so does the step at work: after `kill -9` of the one, nobody begins before the other has ended too. The
kernel lets go of what a process held that dies.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path

from pydantic import ConfigDict, Field, ValidationError

from labels import dataset
from labels.files import replacing
from models import manifest, verdict
from models.manifest import ArtefactError
from models.registry import CHAMPION, Registry
from models.verdict import Rule, Verdict
from service.errors import CandourError, Conflict, InvalidInput, NotFound, RetrainError
from service.report import Result
from service.settings import Settings

# The exit status of a step that left out some of its inputs, and of the gate where it refuses.
SOME_FAILED = 3
CORRECTIONS, DATA, VERDICT, PAGE = "corrections.jsonl", "data.jsonl", "verdict.json", "verdict.html"
_LOCK, _RUN, _CHECKPOINTS, _DRIVER = ".retraining", "run.json", "checkpoints", "driver.log"
# Seconds between two looks at what a step prints, and lines of it that a run shows.
EVERY, LINES = 0.2, 20
# To take the lock, which is held for a moment by who looks whether it is held.
ATTEMPTS = 5


class State(StrEnum):
    """What becomes of a run. INTERRUPTED: nobody works on it; the same command goes on with it."""

    RUNNING = "running"
    INTERRUPTED = "interrupted"
    PASSED = "passed"
    PROMOTED = "promoted"
    REFUSED = "refused"
    FAILED = "failed"


class Name(StrEnum):
    """Of the steps, in their order.

    TRAIN splits, trains, calibrates, exports, evaluates and puts into the store. REFERENCE: of drift.
    """

    PULL = "pull"
    CHECK = "check"
    TRAIN = "train"
    GATE = "gate"
    REFERENCE = "reference"
    PUBLISH = "publish"


class Plan(Result):
    """What a run is to do."""

    model_config = ConfigDict(extra="forbid")
    promote: bool = Field(default=False, description="Make the model the champion if it passes the gate.")
    epochs: int = Field(default=5, ge=1, le=100, description="Passes over the training split.")
    teacher: bool = Field(default=True, description="Learn from the teacher's soft labels, too.")


class Step(Result):
    """A step that was begun, and how it ended; status is null until then."""

    name: Name
    command: list[str]
    started: datetime
    finished: datetime | None = None
    status: int | None = None


class Run(Result):
    """A run of `candour retrain`. id is the version of the model that it makes."""

    id: str
    plan: Plan
    data: dict[str, str] = Field(description="Files of labelled passages, and the sha256 of each.")
    store: str = Field(description="The folder of the model store.")
    champion: str = Field(description="The model that it is held against.")
    created: datetime
    finished: datetime | None = None
    state: State = State.RUNNING
    steps: tuple[Step, ...] = ()


class Retraining(Run):
    """A run as it is shown: with the end of its log, and the gate's refusals once it has spoken."""

    log: list[str] = Field(description="The last lines of the last step's log, or of what was said of its end.")
    refusals: list[Rule] | None = Field(description="The rules that the model breaks; null before the gate has spoken.")


@contextmanager
def locked(store: Path) -> Iterator[int]:
    """The lock of a model store, as a file descriptor that processes may inherit. Raises Conflict, RetrainError."""
    with _lock_file(store) as handle:
        for _ in range(ATTEMPTS):
            if _is_taken(handle, fcntl.LOCK_EX):
                break
            time.sleep(EVERY)
        else:
            raise Conflict(f"a retraining is at work on {store}")
        yield handle


def runs(folder: Path) -> list[str]:
    """The ids of the runs of a folder, the oldest first."""
    return sorted(path.parent.name for path in folder.glob(f"*/{_RUN}"))


def begun(settings: Settings, plan: Plan, data: list[Path]) -> Run:
    """The unfinished run of the same plan, data and champion, else a new one. The store is locked.

    Another unfinished run is given up: it counts as failed. Raises CandourError.
    """
    if find_spec("torch") is None:
        raise RetrainError("this needs the extra `train`: pip install -e '.[train]'")
    packaged = [path for path in (dataset.WRITTEN, dataset.HYDRATED) if path.is_file()]
    files = [path.resolve() for path in data or settings.retrain_data or packaged]
    if missing := [str(file) for file in files if not file.is_file()]:
        raise InvalidInput(f"there is no file {', '.join(missing)}")
    folder, store = settings.retrain_folder, str(settings.store.resolve())
    try:
        digests = {str(file): manifest.sha256(file) for file in files}
    except OSError as error:
        raise _unusable(error) from error
    try:
        champion = Registry(settings.store).resolve(CHAMPION).name
    except ArtefactError as error:
        raise RetrainError(f"there is nothing to hold a model against: {error}") from error
    for name in runs(folder):
        with suppress(RetrainError):  # a run.json that another candour wrote
            last = read(folder, name)
            if last.finished is None and last.store == store:
                if (last.plan, last.data, last.champion) == (plan, digests, champion):
                    return last
                _ended(folder, last, State.FAILED)
    now = datetime.now(UTC)  # to the microsecond, so that ids are in order
    created = now.replace(microsecond=0)
    run = Run(
        id=f"{now:%Y%m%d-%H%M%S-%f}", plan=plan, data=digests, store=store, champion=champion, created=created
    )  # fmt: skip
    try:
        (folder / run.id).mkdir(parents=True)
        return _write(folder, run)
    except OSError as error:
        raise _unusable(error) from error


def _unusable(error: OSError) -> RetrainError:
    return RetrainError(f"{error.filename} cannot be used: {error.strerror}")


def show(settings: Settings, name: str) -> Retraining:
    """A run as it is now. Raises NotFound and RetrainError."""
    folder = settings.retrain_folder
    run = read(folder, name)
    state = run.state
    if state is State.RUNNING:
        with _lock_file(Path(run.store)) as handle:
            if _is_taken(handle, fcntl.LOCK_SH):
                run = read(folder, name)  # it may have ended since it was read
                state = run.state if run.finished else State.INTERRUPTED
    logs = [_log(folder, run, step.name) for step in run.steps[-1:]]
    if state is State.INTERRUPTED:  # the driver says last what ended it
        logs += [folder / run.id / _DRIVER]
    written = sorted((path for path in logs if path.exists()), key=lambda path: path.stat().st_mtime_ns)
    lines = written[-1].read_text(encoding="utf-8", errors="replace").splitlines()[-LINES:] if written else []
    try:
        said = verdict.read(folder / run.id / VERDICT)
    except ArtefactError as error:
        raise RetrainError(str(error)) from error
    return Retraining(
        **run.model_dump(exclude={"state"}), state=state, log=lines, refusals=said.refusals if said else None
    )


def read(folder: Path, name: str) -> Run:
    """What is written of a run. Raises NotFound."""
    if name not in runs(folder):
        raise NotFound(f"there is no run {name!r}")
    try:
        return Run.model_validate_json((folder / name / _RUN).read_bytes())
    except ValidationError as error:
        raise RetrainError(f"{folder / name / _RUN} holds no run: {dataset.validation_detail(error)}") from error


def drive(settings: Settings, run: Run, handle: int, tell: Callable[[str], object]) -> Run:
    """Do the steps of a run that are left. handle: the lock, which they inherit; tell: is given what they print."""
    folder = settings.retrain_folder
    for number, name in enumerate(Name, 1):
        before = [step for step in run.steps if step.name is not name]
        if any(step.name is name and step.finished for step in run.steps):
            continue
        tell(f"[{number}/{len(Name)}] {name}")
        step = Step(name=name, command=_command(settings, run, name), started=_now())
        run = _write(folder, run.model_copy(update={"steps": (*before, step)}))
        status = _do(settings, run, step, handle, tell)
        if status < 0:
            raise RetrainError(f"{name} was ended by signal {-status}: the same command goes on from there")
        step = step.model_copy(update={"finished": _now(), "status": status})
        run = run.model_copy(update={"steps": (*before, step)})
        if state := _end(settings, run, name, status):
            return _ended(folder, run, state)
        run = _write(folder, run)
    return run


def start(settings: Settings, plan: Plan) -> Run:
    """Begin a run, or go on with it, in a process that outlives this one. Raises CandourError."""
    folder = settings.retrain_folder
    with locked(settings.store) as handle:
        run = begun(settings, plan, [])
        with (folder / run.id / _DRIVER).open("ab") as log:
            process = subprocess.Popen(
                [*_python("service.retrain"), run.id, str(handle)],
                env=environment(settings), stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[handle],
                start_new_session=True,
            )  # fmt: skip
    threading.Thread(target=process.wait, name="retrain", daemon=True).start()  # or it would stay as a zombie
    return run


def _command(settings: Settings, run: Run, name: Name) -> list[str]:
    """What a step runs; publishing is done here, and runs nothing."""
    folder = settings.retrain_folder.resolve() / run.id
    corrections, store = str(folder / CORRECTIONS), str(settings.store.resolve())
    data = str(folder / DATA)
    match name:
        case Name.PULL:
            where = ["-o", corrections, "--merged", data]
            return [*_python("service.cli"), "labels", "pull", *where, *_each("--beside", run.data)]
        case Name.CHECK:
            return [*_python("service.cli"), "labels", "check", data, "--no-label-errors"]
        case Name.TRAIN:
            options = ["--epochs", str(run.plan.epochs), "--teacher" if run.plan.teacher else "--no-teacher"]
            where = ["--store", store, "--work", str(folder / _CHECKPOINTS), "--version", run.id]
            where += ["--parent", run.champion]
            return [*_python("training"), "--data", data, *where, *options, "--no-baselines"]
        case Name.GATE:
            where = ["--against", run.champion, "--store", store, "--corrections", corrections]
            pages = ["-o", str(folder / PAGE), "-o", str(folder / VERDICT)]
            return [*_python("training.verdict"), run.id, *_each("--data", run.data), *where, *pages]
        case Name.REFERENCE:
            reports = ["--reports", str(settings.reports.resolve())] if settings.reports else []
            where = ["--store", store, *_each("--data", run.data), *reports]
            return [*_python("service.cli"), "models", "reference", run.id, *where]
        case Name.PUBLISH:
            return []


def _python(module: str) -> list[str]:
    # -P: what lies about in the folder where this was called is not imported.
    return [sys.executable, "-P", "-m", module]


def _each(option: str, values: Iterable[str]) -> list[str]:
    return [word for value in values for word in (option, value)]


def environment(settings: Settings) -> dict[str, str]:
    """The environment, in which processes find the same settings as here."""
    said = settings.model_dump(mode="json")
    values = {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in said.items()
        if value is not None
    }
    return os.environ | {f"CANDOUR_{name.upper()}": value for name, value in values.items()}


def _do(settings: Settings, run: Run, step: Step, handle: int, tell: Callable[[str], object]) -> int:
    """A step, whose exit status this is; what it prints is told, and kept in its log."""
    if step.name is Name.TRAIN and run.id in Registry(settings.store).versions():
        return 0  # a crash came between its end and the word of it
    path = _log(settings.retrain_folder, run, step.name)
    if step.name is Name.PUBLISH:
        try:
            _publish(settings, run)
        except (CandourError, ArtefactError) as error:
            path.write_text(f"{error}\n", encoding="utf-8")
            tell(str(error))
            return 1
        return 0
    with path.open("ab") as written, path.open("r", encoding="utf-8", errors="replace") as log:
        log.seek(0, os.SEEK_END)
        process = subprocess.Popen(
            step.command, env=environment(settings), stdin=subprocess.DEVNULL, stdout=written,
            stderr=subprocess.STDOUT, pass_fds=[handle],
        )  # fmt: skip
        with process:
            try:
                ended = False
                while not ended:
                    ended = process.poll() is not None
                    for line in log:
                        tell(line.rstrip())
                    time.sleep(0 if ended else EVERY)
            except BaseException:
                process.terminate()
                raise
    return process.returncode


def _publish(settings: Settings, run: Run) -> None:
    """Name the model as its verdict has it. To do it twice is to do it once. Raises RetrainError, ArtefactError."""
    registry, said = Registry(settings.store), _verdict(settings, run)
    if not said.passed:
        return
    name_it = registry.promote if run.plan.promote else registry.nominate
    name_it(run.id, over=run.champion)


def _verdict(settings: Settings, run: Run) -> Verdict:
    found = verdict.read(settings.retrain_folder / run.id / VERDICT)
    if found is None:
        raise RetrainError(f"the gate has said nothing of {run.id}")
    return found


def _end(settings: Settings, run: Run, name: Name, status: int) -> State | None:
    """What a run becomes by a step: None while there are steps to come."""
    some = name in (Name.PULL, Name.GATE) and status == SOME_FAILED
    if status and not some and name is not Name.REFERENCE:  # a model without one can be served, and given one later
        return State.FAILED
    if name is not Name.PUBLISH:
        return None
    passed = State.PROMOTED if run.plan.promote else State.PASSED
    return passed if _verdict(settings, run).passed else State.REFUSED


def _ended(folder: Path, run: Run, state: State) -> Run:
    """A run that has ended so. Of the passages that it was given, its verdict alone holds those that flipped."""
    for name in (CORRECTIONS, DATA):
        (folder / run.id / name).unlink(missing_ok=True)
    shutil.rmtree(folder / run.id / _CHECKPOINTS, ignore_errors=True)
    return _write(folder, run.model_copy(update={"state": state, "finished": _now()}))


def _write(folder: Path, run: Run) -> Run:
    with replacing(folder / run.id / _RUN) as partial:
        partial.write_text(run.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return run


def _log(folder: Path, run: Run, name: Name) -> Path:
    return folder / run.id / f"{name}.log"


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


@contextmanager
def _lock_file(store: Path) -> Iterator[int]:
    try:
        handle = os.open(store / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise RetrainError(f"{store / _LOCK} cannot be opened: {error.strerror}") from error
    try:
        yield handle
    finally:
        os.close(handle)


def _is_taken(handle: int, kind: int) -> bool:
    """Whether the lock could be had, and is ours now."""
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


if __name__ == "__main__":
    _settings = Settings()
    try:
        drive(_settings, read(_settings.retrain_folder, sys.argv[1]), int(sys.argv[2]), print)
    except (CandourError, ArtefactError, OSError) as _error:
        sys.exit(str(_error))
