"""Documents scored beyond one machine: the pipeline of `batch`, side by side on every core of a Ray cluster.

Each actor holds the model, reads, cuts and labels the files of one task after the other, and writes whole shards into
the output. Only paths go to the actors, and only counts and failures come back, so that neither the driver nor the
object store grows with the documents. What a lost actor was at is done again by another; its shards take the place of
any that were written twice.
"""

from __future__ import annotations

import logging
import math
import os
import socket
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
import ray.data
from ray.exceptions import RayError, RayTaskError

from models import classifier, manifest, registry
from models.classifier import Classifier
from models.manifest import ArtefactError, Manifest
from service import batch, outputs
from service.batch import Tally
from service.errors import ClusterError
from service.parsing import Limits, Parsers
from service.report import Failure

LOCAL = "local"
# The most files of a task: what is done again when a worker is lost, and what a shard holds at most.
TASK = 256
# Tasks for each core at least, so that none waits long for the last.
TASKS_A_CORE = 4
# Bytes of the object store of a cluster of this machine alone; paths and counts are all that pass through it.
OBJECT_STORE = 100_000_000
# Seconds in which a cluster must take the connection.
CONNECT = 10.0


@dataclass(frozen=True)
class Work:
    """What every worker must know. All paths are absolute, and the same on all machines.

    folder: what the files' paths are relative to. store: of models; None for the one in each machine's own package.
    """

    folder: Path
    output: Path
    model: Manifest
    store: Path | None
    limits: Limits
    max_bytes: int

    @classmethod
    def of(cls, output: Path, model: Manifest, store: Path, limits: Limits, max_bytes: int) -> Work:
        """Work as seen from the driver's current folder."""
        own = None if store == registry.PACKAGED else store.absolute()
        return cls(Path.cwd(), output.absolute(), model, own, limits, max_bytes)


@contextmanager
def connected(address: str, cores: int) -> Iterator[None]:
    """A cluster to score on: the one at HOST:PORT, or, for `local`, one of this machine that ends with the block.

    cores: of a local one, 0 for all. Raises ClusterError.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # What goes wrong is raised; Ray would print it as well, with pages of traceback.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    ray.data.DataContext.get_current().enable_progress_bars = False
    try:
        if address == LOCAL:
            ray.init(
                address, num_cpus=cores or None, include_dashboard=False, object_store_memory=OBJECT_STORE,
                log_to_driver=False, logging_level=logging.ERROR,
            )  # fmt: skip
        else:
            host, _, port = address.rpartition(":")
            # Ray itself would try for a quarter of an hour; an address where something else answers takes it one try.
            socket.create_connection((host.strip("[]"), int(port)), CONNECT).close()
            os.environ.setdefault("RAY_gcs_server_port_wait_time_s", "1")
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, OverflowError, RuntimeError, ValueError, RayError) as error:
        raise ClusterError(f"no Ray cluster can be reached at {address}: {_first_line(error)}") from error
    try:
        yield
    finally:
        ray.shutdown()


def score(files: Sequence[Path], known: Callable[[str], bool], work: Work, tally: Tally) -> Iterator[list[Failure]]:
    """Score files on the cluster, into shards staged in the output; the failures of each task, as it is done.

    known: whether a content need not be scored, given its sha256; asked in the order of the files. Raises ClusterError.
    """
    try:
        cores = int(ray.cluster_resources().get("CPU", 0))  # type: ignore[no-untyped-call]
        if not cores:
            raise ClusterError("the Ray cluster has no CPU")
        new = _new(files, known, work, cores)
        tally.known += len(files) - sum(map(len, new))
        actors = ray.data.ActorPoolStrategy(min_size=1, initial_size=max(1, min(cores, len(new))))
        for row in _done(new, cores, _Scorer, fn_constructor_args=(work,), compute=actors, num_cpus=1):
            yield _counted(row, tally)
    except RayTaskError as error:
        raise ClusterError(f"a worker failed: {_first_line(error.cause)}") from error
    except RayError as error:
        raise ClusterError(f"the Ray cluster failed: {_first_line(error)}") from error


def _new(files: Sequence[Path], known: Callable[[str], bool], work: Work, cores: int) -> list[list[Path]]:
    """The files to score, those of the same content together, so that one actor has to say which of them counts."""
    digests = {
        os.fsdecode(row["file"]): row["sha256"]
        for row in _done([[file] for file in files], cores, _digest, fn_args=(work,))
    }
    new: dict[str, list[Path]] = {}
    for file in files:
        sha256 = digests[str(file)]
        if sha256 is None or not known(sha256):
            new.setdefault(sha256 or str(file), []).append(file)
    return list(new.values())


def _done(groups: Sequence[Sequence[Path]], cores: int, work: Any, **how: Any) -> Iterator[dict[str, Any]]:
    """The rows that tasks answer, in the order in which they are done. The files of a group are in one task."""
    if not groups:
        return
    size = max(1, min(TASK, len(groups) // (TASKS_A_CORE * cores)))
    rows = [{"files": [os.fsencode(file) for file in group]} for group in groups]  # not every path is a text
    tasks = ray.data.from_items(rows, override_num_blocks=math.ceil(len(rows) / size))
    done = tasks.map_batches(work, batch_size=None, batch_format="pyarrow", **how)
    block: Any
    for block in done.iter_batches(batch_size=None, batch_format="pyarrow"):
        yield from block.to_pylist()


def _files(block: pa.Table) -> list[Path]:
    return [Path(os.fsdecode(file)) for group in block["files"].to_pylist() for file in group]


def _digest(block: pa.Table, work: Work) -> pa.Table:
    """The sha256 of each file; null where it cannot be read: scoring will say why."""
    files = _files(block)
    digests = [_sha256(work.folder / file, work.max_bytes) for file in files]
    return pa.table({"file": [os.fsencode(file) for file in files], "sha256": pa.array(digests, pa.string())})


def _sha256(path: Path, max_bytes: int) -> str | None:
    try:
        found = path.stat()
        return manifest.sha256(path) if stat.S_ISREG(found.st_mode) and found.st_size <= max_bytes else None
    except OSError:
        return None


class _Scorer:
    """An actor: one core, one model, one process that reads documents."""

    def __init__(self, work: Work) -> None:
        self._work = work

    @cached_property  # not in the constructor: what a task raises comes to the driver as it is
    def _classifier(self) -> Classifier:
        wanted = self._work.model
        loaded = classifier.load(wanted.version, self._work.store or registry.PACKAGED, threads=1)
        if loaded.manifest != wanted:
            raise ArtefactError(f"the model {wanted.version} on {socket.gethostname()} is not the one of this run")
        return loaded

    @cached_property
    def _parsers(self) -> Parsers:
        return Parsers(1, self._work.limits)

    def __call__(self, block: pa.Table) -> Iterator[pa.Table]:
        work, tally, failures = self._work, Tally(), []
        files = {work.folder / file: file for file in _files(block)}
        names = {_name(path): _name(file) for path, file in files.items()}
        outs = work.model.outputs
        themes, stances = ([out.name for out in outs if out.axis == axis] for axis in ("theme", "stance"))
        with outputs.staging(work.output, themes, stances) as staged:
            for result in batch.score(
                files, self._classifier, self._parsers, tally, work.max_bytes, known=lambda _: False
            ):
                named = result.model_copy(update={"path": names[str(result.path)]})
                if isinstance(named, Failure):
                    failures.append(named.model_dump_json())
                else:
                    staged.write(named)
        # Only now, when what it counts is on the disk.
        yield pa.table(
            {
                "known": [tally.known],
                "documents": [tally.documents],
                "passages": [tally.passages],
                "waiting": [tally.waiting],
                "model": [tally.model],
                "failures": pa.array([failures], pa.list_(pa.string())),
            }
        )


def _counted(row: dict[str, Any], tally: Tally) -> list[Failure]:
    """Add what a task did to the tally; its failures."""
    failures = [Failure.model_validate_json(line) for line in row["failures"]]
    tally.known += row["known"]
    tally.documents += row["documents"]
    tally.passages += row["passages"]
    tally.waiting += row["waiting"]
    tally.model += row["model"]
    tally.failures.update(failure.error.type for failure in failures)
    return failures


def _name(file: Path) -> str:
    return os.fsencode(file).decode("utf-8", "replace")


def _first_line(error: BaseException | None) -> str:
    return str(error).strip().partition("\n")[0]
