"""Scoring beyond one machine: several nodes, on this one, of which some are lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from ray.cluster_utils import Cluster

from models import registry
from models.classifier import Classifier
from service import analysis, cluster, outputs
from service.batch import Tally
from service.cluster import Work
from service.errors import ClusterError
from service.outputs import STAGED
from service.parsing import Limits
from service.report import ScoredDocument

COMMAND = Path(sys.executable).with_name("candour")
DOCUMENTS = 90


@pytest.fixture(scope="module")
def docs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ninety documents of twenty-one passages, one of them twice, and two that fail, of which one is there twice."""
    folder = tmp_path_factory.mktemp("many") / "docs"
    (folder / "2024").mkdir(parents=True)
    for number in range(DOCUMENTS):
        passages = [
            f"Inspectors found that visit {visit} to child {number} in Tarnholme was late, and that nobody had written "
            "down why. The council says that it is sorry, and that two more teams will begin their work in May."
            for visit in range(21)
        ]
        (folder / "2024" / f"{number:03}.txt").write_text("\n\n".join(passages))
    (folder / "2024" / "007.txt.meta.json").write_text('{"council": "Tarnholme", "published": "2024-03-05"}')
    shutil.copy(folder / "2024" / "011.txt", folder / "again.txt")
    (folder / "empty.txt").write_bytes(b"")
    (folder / "noise.pdf").write_bytes(bytes(range(256)) * 40)
    shutil.copy(folder / "noise.pdf", os.fsencode(folder / "nois") + b"\xe9.pdf")
    return folder


@pytest.fixture(scope="module")
def alone(docs: Path) -> Path:
    """What the run without Ray makes of them."""
    assert score(docs, docs.with_name("alone.parquet")).returncode == 3
    return docs.with_name("alone.parquet")


@pytest.fixture(scope="module")
def temporary() -> Iterator[Path]:
    """A folder by which Ray's processes are told from others; none of them is left in the end."""
    folder = Path(tempfile.mkdtemp(prefix="candour-ray-"))  # pytest's own are too long for the names of sockets
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", str(folder))
        yield folder
    gone(folder)
    shutil.rmtree(folder)


@pytest.fixture
def nodes(temporary: Path) -> Iterator[Cluster]:
    """A cluster of three nodes with a core each."""
    node = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 80_000_000}
    found = Cluster(initialize_head=True, head_node_args=node, shutdown_at_exit=False)
    try:
        for _ in range(2):
            found.add_node(**node)
        found.wait_for_nodes()
        yield found
    finally:
        found.shutdown()
        gone(temporary)


def processes(folder: Path) -> list[str]:
    """The command lines of the processes that name a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = process.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:  # it has ended
            continue
        if str(folder) in command:
            found.append(command)
    return found


def gone(folder: Path) -> None:
    """Wait until the processes that name a folder have ended."""
    for _ in range(600):
        if not (found := processes(folder)):
            return
        time.sleep(0.1)
    raise AssertionError(found)


def arguments(docs: Path, output: Path, *options: str) -> list[str | Path]:
    return [COMMAND, "score", docs.name, "-o", output, *options]


def score(docs: Path, output: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments(docs, output, *options), cwd=docs.parent, capture_output=True, text=True, check=False
    )


def rows(output: Path) -> list[dict[str, Any]]:
    """All columns, in an order that does not depend on who was done first."""
    return sorted(pq.read_table(output).to_pylist(), key=lambda row: (row["sha256"], row["position"]))


def failures(output: Path) -> list[dict[str, Any]]:
    found = outputs.errors_of(output).read_text(encoding="utf-8").splitlines()
    return sorted(map(json.loads, found), key=lambda failure: failure["path"])


def begun(run: subprocess.Popen[bytes], output: Path) -> None:
    """Wait until a run has written its first shards, and is not done."""
    while not list(output.glob(f"{STAGED}/*.parquet")):
        assert run.poll() is None
        time.sleep(0.01)


def test_a_cluster_that_loses_a_node_gives_the_rows_of_one_machine(
    docs: Path, alone: Path, nodes: Cluster, tmp_path: Path
) -> None:
    output = tmp_path / "out.parquet"
    with subprocess.Popen(arguments(docs, output, "--ray", nodes.address), cwd=docs.parent) as run:
        begun(run, output)
        nodes.remove_node(sorted(nodes.worker_nodes, key=str)[0], allow_graceful=False)
        assert run.poll() is None
    assert run.returncode == 3
    assert rows(output) == rows(alone) and len(rows(output)) == 21 * DOCUMENTS
    assert failures(output) == failures(alone) and len(failures(output)) == 3
    assert {path.suffix for path in output.iterdir()} == {".parquet"}
    again = score(docs, output, "--ray", nodes.address)
    assert f"documents 0, passages 0, failed 3, known {DOCUMENTS + 1}," in again.stderr
    assert rows(output) == rows(alone)


@pytest.mark.parametrize("next_one", [[], ["--ray", "local"]])
def test_a_run_whose_driver_is_killed_is_finished_by_the_next(
    docs: Path, alone: Path, temporary: Path, tmp_path: Path, next_one: list[str]
) -> None:
    output = tmp_path / "out.parquet"
    with subprocess.Popen(arguments(docs, output, "--ray", "local"), cwd=docs.parent) as run:
        begun(run, output)
        run.send_signal(signal.SIGKILL)
    gone(temporary)
    done = score(docs, output, *next_one)
    assert done.returncode == 3
    assert int(done.stderr.split("known ")[1].split(",")[0]) > 1
    assert rows(output) == rows(alone) and failures(output) == failures(alone)
    assert {path.suffix for path in output.iterdir()} == {".parquet"}


@pytest.mark.usefixtures("temporary")
def test_an_actor_with_another_model_of_the_same_name_does_nothing(
    docs: Path, champion: Classifier, tmp_path: Path
) -> None:
    other = champion.manifest.model_copy(update={"sha256": champion.manifest.sha256 | {"model.onnx": "0" * 64}})
    output = tmp_path / "out.parquet"
    with outputs.opened(output, [], []), cluster.connected("local", 1):
        work = Work.of(output, other, registry.PACKAGED, Limits(30, 1_000_000_000, 100), 1_000_000)
        with pytest.raises(ClusterError, match=f"the model {champion.version} on .* is not the one of this run"):
            list(cluster.score([docs / "again.txt"], lambda _: False, work, Tally()))
    assert list(output.iterdir()) == []


@pytest.fixture(scope="module")
def document(champion: Classifier) -> ScoredDocument:
    return analysis.analyse(b"Plans drift.\n\nVisits were missed, week after week.", champion, "a.txt")


def staged(output: Path, *documents: ScoredDocument) -> None:
    with outputs.staging(output, *labels(documents[0])) as shards:
        for document in documents:
            shards.write(document)


def labels(document: ScoredDocument) -> tuple[list[str], list[str]]:
    scores = document.passages[0].scores
    return list(scores.themes), list(scores.stances)


def test_staged_shards_are_taken_in_once_and_readers_pass_over_them(tmp_path: Path, document: ScoredDocument) -> None:
    output = tmp_path / "out.parquet"
    other = document.model_copy(update={"sha256": "0" * 64})
    with outputs.opened(output, *labels(document)) as table:
        table.write(other)
    staged(output, document)
    staged(output, document)  # a task that was done, and of which the driver did not hear
    (output / STAGED / "torn.parquet.partial").write_bytes(b"PAR1")
    assert pq.read_table(output).num_rows == 2
    assert duckdb.sql(f"select count(*) from '{output}/*.parquet'").fetchall() == [(2,)]
    with outputs.opened(output, *labels(document)) as table:
        assert table.version(document.sha256) == outputs.version_of(document.model, document.segmentation)
    assert [(row["sha256"], row["position"]) for row in rows(output)] == [
        (found.sha256, position) for found in (other, document) for position in range(2)
    ]
    assert {path.suffix for path in output.iterdir()} == {".parquet"}


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (["-o", "out.parquet", "--ray", "127.0.0.1:1"], 1, "no Ray cluster can be reached at 127.0.0.1:1"),
        (["-o", "out.parquet", "--ray", "somewhere"], 2, "HOST:PORT"),
        (["-o", "out.csv", "--ray", "local"], 2, "--output"),
        (["--ray", "local"], 2, "--output"),
        (["-o", "out.parquet", "--store", "--ray", "local"], 2, "--output"),
    ],
)
def test_usage(options: list[str], status: int, said: str, folder: Path) -> None:
    done = subprocess.run(
        [COMMAND, "score", "release.txt", *options], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == status and said in done.stderr and "Traceback" not in done.stderr


def test_without_ray_the_extra_is_named(folder: Path) -> None:
    code = "import sys; sys.modules['ray'] = None; from service.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "score", "release.txt", "-o", "out.parquet", "--ray", "local"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1 and "the extra `ray`" in done.stderr
