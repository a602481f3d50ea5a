"""Another champion while the server runs: every process of it serves it, and no answer fails or is of two models."""

from __future__ import annotations

import gc
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from anyio.to_thread import current_default_thread_limiter
from fastapi.testclient import TestClient
from starlette.concurrency import run_in_threadpool

from models import classifier, manifest
from models.classifier import Classifier
from models.registry import Registry
from service import analysis
from service.api.app import create_app
from service.report import Classification
from service.settings import Settings
from tests.models import variants
from tests.service.serving import served

VERSIONS = ("strict", "lenient")
PROMOTIONS = 100
CLIENTS = 4
TEXTS = [
    "We are sorry that plans for children in care drift.",
    "Inspectors found that visits to children were late, and managers did not know.",
    "Leaders praised the team that speaks with every child who comes back after going missing.",
    "Bins are emptied on Monday.",
]


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`strict` is the champion, `lenient` the one before it."""
    store = variants.store(tmp_path_factory.mktemp("several"), *VERSIONS)
    for version in ("lenient", "strict"):
        Registry(store).promote(version)
    return store


@pytest.fixture(scope="module")
def expected(several: Path) -> dict[str, list[Classification]]:
    """What each version says of the texts, which is never the same."""
    found = {version: analysis.classify(TEXTS, classifier.load(version, several)) for version in VERSIONS}
    assert all(
        (one.themes, one.stances) != (other.themes, other.stances)
        for one, other in list(zip(*found.values(), strict=True))[:3]
    )
    return found


@pytest.fixture
def store(several: Path, tmp_path: Path) -> Path:
    return variants.linked(several, tmp_path / "store")


@pytest.fixture
def settings(store: Path, tmp_path: Path) -> Settings:
    return Settings(store=store, database=f"sqlite:///{tmp_path}/candour.db", threads=1)


@pytest.fixture
def url(settings: Settings) -> Iterator[str]:
    with served(settings) as url:
        yield url


def until(holds: Callable[[], bool]) -> None:
    while not holds():
        time.sleep(0.01)


def ready(url: str) -> dict[str, str]:
    """What a fresh connection is told."""
    answer = httpx.get(f"{url}/readyz", timeout=60)
    assert answer.status_code == 200, answer.text
    found: dict[str, str] = answer.json()
    return found


def metric(url: str, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} ([\d.]+)", httpx.get(f"{url}/metrics").text, re.MULTILINE)
    assert found, name
    return float(found[1])


def test_a_promotion_is_served_and_a_rollback_too(url: str, store: Path) -> None:
    assert ready(url) == {"status": "ready", "model": "strict"}
    for change, version in ((lambda: Registry(store).promote("base"), "base"), (Registry(store).rollback, "strict")):
        change()
        until(lambda version=version: ready(url)["model"] == version)  # type: ignore[misc]
        assert httpx.get(f"{url}/v1/models/current").json()["version"] == version
        assert metric(url, f'candour_model{{version="{version}"}}') == 1
    assert httpx.get(f"{url}/metrics").text.count("\ncandour_model{") == 1
    assert metric(url, 'candour_swaps_total{result="done"}') == 2
    assert metric(url, 'candour_swaps_total{result="failed"}') == 0


def test_a_server_of_one_version_stays_with_it(settings: Settings, store: Path) -> None:
    pinned = settings.model_copy(update={"model": "strict", "database": settings.database + "2"})
    with served(settings) as url, served(pinned) as other:
        for version in ("base", "lenient", "base"):  # the follower is the clock
            Registry(store).promote(version)
            until(lambda version=version: ready(url)["model"] == version)  # type: ignore[misc]
        assert ready(other) == {"status": "ready", "model": "strict"}


def test_a_swap_waits_for_no_thread_that_requests_share(settings: Settings, store: Path) -> None:
    app, release = create_app(settings), threading.Event()
    with TestClient(app) as client, ThreadPoolExecutor(1) as pool:
        assert client.portal
        shared = client.portal.call(current_default_thread_limiter)
        try:
            for _ in range(int(shared.total_tokens)):
                client.portal.start_task_soon(run_in_threadpool, release.wait)
            until(lambda: shared.borrowed_tokens == shared.total_tokens)
            waiting = pool.submit(client.get, "/readyz")
            for version in ("lenient", "base"):
                Registry(store).promote(version)
                until(lambda version=version: app.state.classifier.version == version)  # type: ignore[misc]
            assert shared.borrowed_tokens == shared.total_tokens and not waiting.done()
        finally:
            release.set()
        assert waiting.result().status_code == 200


def damaged(store: Path) -> None:
    card = store / "base" / manifest.CARD
    text = card.read_bytes()
    card.unlink()  # its content is that of the other versions, too
    card.write_bytes(text + b"\n")
    _name(store, "base")


def of_another_segmentation(store: Path) -> None:
    variants.publish(store, "new", segmentation="0")
    Registry(store).promote("new")


def no_network(store: Path) -> None:
    variants.publish(store, "new", model=b"no network")
    Registry(store).promote("new")


def of_other_labels(store: Path) -> None:
    outputs = manifest.read(store / "base").model_dump(mode="json")["outputs"]
    variants.publish(store, "new", outputs=outputs[1:])
    Registry(store).promote("new")


def not_there(store: Path) -> None:
    _name(store, "lost")


def no_aliases(store: Path) -> None:
    (store / "aliases.json").unlink()


def broken_aliases(store: Path) -> None:
    (store / "aliases.json.partial").write_text("{")
    (store / "aliases.json.partial").replace(store / "aliases.json")


def _name(store: Path, version: str) -> None:
    """Make a version the champion as nobody should: without a look at it."""
    (store / "aliases.json.partial").write_text(json.dumps({"champion": version}))
    (store / "aliases.json.partial").replace(store / "aliases.json")


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (damaged, "not the published file"),
        (of_another_segmentation, "segmentation 0"),
        (no_network, "cannot be loaded"),
        (of_other_labels, "8 outputs"),
        (not_there, "and there is no model of that name"),
        (no_aliases, "no model 'champion'"),
        (broken_aliases, "damaged"),
    ],
)
def test_a_champion_that_cannot_be_served_leaves_the_one_before_it(
    url: str, store: Path, expected: dict[str, list[Classification]], caplog: pytest.LogCaptureFixture,
    broken: Callable[[Path], None], why: str,
) -> None:  # fmt: skip
    broken(store)
    until(lambda: "problem" in ready(url))
    found = ready(url)
    assert (found["status"], found["model"]) == ("ready", "strict") and why in found["problem"]
    assert found["problem"].startswith("champion: ")
    for _ in range(2):
        answer = httpx.post(f"{url}/v1/classify", json={"input": TEXTS}).json()
        assert [Classification.model_validate(one) for one in answer["results"]] == expected["strict"]
    assert metric(url, 'candour_swaps_total{result="failed"}') == 1
    # What is promoted next is tried again, be it what is served already.
    _name(store, "strict")
    until(lambda: "problem" not in ready(url))
    assert ready(url)["model"] == "strict"
    _name(store, "lenient")
    until(lambda: ready(url)["model"] == "lenient")
    assert metric(url, 'candour_swaps_total{result="failed"}') == 1
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == ["not swapped"]


def test_what_was_mended_is_served_when_it_is_promoted_again(url: str, store: Path) -> None:
    whole = (store / "base" / manifest.CARD).read_bytes()
    damaged(store)
    until(lambda: "problem" in ready(url))
    (store / "base" / manifest.CARD).write_bytes(whole)
    Registry(store).promote("base")
    until(lambda: ready(url) == {"status": "ready", "model": "base"})


def held(version: str) -> int:
    """How many models of a version are in memory."""
    return sum(type(one) is Classifier and one.version == version for one in gc.get_objects())


def network_threads() -> int:
    return sum(thread.name.startswith("network") for thread in threading.enumerate())


def test_a_request_ends_on_the_model_that_it_began_with_which_is_then_freed(
    url: str, store: Path, expected: dict[str, list[Classification]]
) -> None:
    before = network_threads()
    variants.publish(store, "early", threshold=0.99)
    Registry(store).promote("early")
    until(lambda: ready(url)["model"] == "early")
    with streaming(url) as (ask, answer):
        labels = [ask(text) for text in TEXTS[:2]]
        Registry(store).promote("lenient")
        until(lambda: ready(url)["model"] == "lenient")
        now = httpx.post(f"{url}/v1/classify", json={"input": TEXTS[0]})
        assert now.headers["candour-model"] == now.json()["model"] == "lenient"
        labels += [ask(text) for text in TEXTS[2:]]
        assert answer.headers["Candour-Model"] == "early" and held("early") == 1
    assert labels == [found.model_copy(update={"model": "early"}) for found in expected["strict"]]
    until(lambda: held("early") == 0)
    assert held("lenient") == 1
    until(lambda: network_threads() <= before)


@contextmanager
def streaming(url: str) -> Iterator[tuple[Callable[[str], Classification], http.client.HTTPResponse]]:
    """A stream of lines, which ends with the block: what asks for the labels of a text, and the answer."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
    connection.putrequest("POST", "/v1/classify")
    connection.putheader("Content-Type", "application/x-ndjson")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()

    def send(content: bytes) -> None:
        connection.send(b"%x\r\n%b\r\n" % (len(content), content))

    send(b'{"id": 0, "text": "Open at nine."}\n')  # before it, nothing is answered
    with connection.getresponse() as answer:
        answer.readline()

        def ask(text: str) -> Classification:
            send(json.dumps({"id": 1, "text": text}).encode() + b"\n")
            return Classification.model_validate_json(answer.readline())

        yield ask, answer
        send(b"")
        assert answer.read() == b""
    connection.close()


@dataclass(frozen=True)
class Served:
    """`candour serve` with two worker processes."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    @property
    def workers(self) -> list[int]:
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        children = [int(pid) for task in tasks for pid in task.read_text().split()]
        return [pid for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


@pytest.fixture
def two_workers(settings: Settings, tmp_path: Path) -> Iterator[Served]:
    log = tmp_path / "log"
    environment = {"CANDOUR_STORE": str(settings.store), "CANDOUR_DATABASE": settings.database, "CANDOUR_WORKERS": "2"}
    command = [Path(sys.executable).with_name("candour"), "serve", "--port", "0"]
    with log.open("wb") as errors:
        process = subprocess.Popen(command, env=os.environ | environment, stderr=errors)

    def said(words: str) -> list[str]:
        assert process.poll() is None, log.read_text()
        return re.findall(words, log.read_text())

    try:
        until(lambda: len(said("Application startup complete")) == 2)
        yield Served(process, said(r"running on (http://[\d.:]+)")[0], log)
    finally:
        process.kill()
        process.wait()


class Sender:
    """One client's requests: each method sends one, and fails unless its answer is that of the version it names."""

    def __init__(self, url: str, expected: dict[str, list[Classification]]) -> None:
        self._client = httpx.Client(base_url=url, timeout=60)
        self._expected = expected
        self.seen: list[str] = []

    def send_until(self, done: threading.Event) -> list[str]:
        """The versions of the answers, in order."""
        with self._client:
            while not done.is_set():
                for send in (self.classify, self.lines, self.infer, self.document):
                    self.seen.append(send())
        return self.seen

    def _post(self, path: str, **options: object) -> httpx.Response:
        answer = self._client.post(path, **options)  # type: ignore[arg-type]
        assert answer.status_code == 200, answer.text
        return answer

    def classify(self) -> str:
        answer = self._post("/v1/classify", json={"input": TEXTS * 10})
        body = answer.json()
        found = [Classification.model_validate(one) for one in body["results"]]
        assert found == self._expected[body["model"]] * 10
        assert answer.headers["candour-model"] == body["model"]
        return str(body["model"])

    def lines(self) -> str:
        sent = "".join(json.dumps({"id": 1, "text": text}) + "\n" for text in TEXTS * 50)
        answer = self._post("/v1/classify", content=sent, headers={"content-type": "application/x-ndjson"})
        found = [Classification.model_validate_json(line) for line in answer.text.splitlines()]
        assert found == self._expected[answer.headers["candour-model"]] * 50
        return answer.headers["candour-model"]

    def infer(self) -> str:
        tensor = {"name": "text", "datatype": "BYTES", "shape": [len(TEXTS)], "data": TEXTS}
        asked = {"inputs": [tensor], "outputs": [{"name": "on"}]}
        answer = self._post("/v2/models/candour/infer", json=asked)
        body = answer.json()
        labels = [len(one.themes) + len(one.stances) for one in self._expected[body["model_version"]]]
        on = body["outputs"][0]["data"]
        columns = len(on) // len(TEXTS)
        assert [sum(on[row * columns : (row + 1) * columns]) for row in range(len(TEXTS))] == labels
        assert answer.headers["candour-model"] == body["model_version"]
        return str(body["model_version"])

    def document(self) -> str:
        body = self._post("/v1/documents", json={"text": "\n\n".join(TEXTS)}).json()
        found = [Classification.model_validate(one) for one in body["passages"]]
        assert found == self._expected[body["model"]]
        return str(body["model"])


linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")


@linux
def test_a_hundred_promotions_and_rollbacks_under_load_fail_no_answer_of_any_worker(
    two_workers: Served, store: Path, expected: dict[str, list[Classification]]
) -> None:
    done = threading.Event()
    with ThreadPoolExecutor(CLIENTS) as pool:
        senders = [pool.submit(Sender(two_workers.url, expected).send_until, done) for _ in range(CLIENTS)]
        try:
            for number in range(PROMOTIONS):
                found = Registry(store).rollback() if number % 2 else Registry(store).promote("lenient")
                until(lambda now=found.version: ready(two_workers.url)["model"] == now)  # type: ignore[misc]
                assert not any(sender.done() for sender in senders)
        finally:
            done.set()
        seen = [sender.result() for sender in senders]
    assert all(set(versions) == set(VERSIONS) for versions in seen)
    # Each worker by itself, the others being held still.
    Registry(store).promote("base")
    workers = two_workers.workers
    assert len(workers) == 2
    for worker in workers:
        for other in set(workers) - {worker}:
            os.kill(other, signal.SIGSTOP)
        until(lambda: ready(two_workers.url) == {"status": "ready", "model": "base"})
        for other in set(workers) - {worker}:
            os.kill(other, signal.SIGCONT)
    assert "not swapped" not in two_workers.log.read_text() and "Traceback" not in two_workers.log.read_text()


@linux
def test_workers_end_well_when_they_are_told_to_stop(two_workers: Served) -> None:
    workers = two_workers.workers
    two_workers.process.send_signal(signal.SIGTERM)
    assert two_workers.process.wait() == 0
    assert len(workers) == 2 and not any(Path(f"/proc/{pid}").exists() for pid in workers)
    assert "Traceback" not in two_workers.log.read_text()


@linux
def test_workers_end_when_the_process_that_started_them_is_killed(two_workers: Served) -> None:
    workers = two_workers.workers
    two_workers.process.kill()
    two_workers.process.wait()
    assert len(workers) == 2
    until(lambda: not any(_lives(pid) for pid in workers))


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_model_that_cannot_be_served_stops_the_start(settings: Settings, workers: str) -> None:
    damaged(settings.store)
    ran = subprocess.run(
        [Path(sys.executable).with_name("candour"), "serve", "--port", "0", "--workers", workers],
        env=os.environ | {"CANDOUR_STORE": str(settings.store), "CANDOUR_DATABASE": settings.database},
        capture_output=True, text=True,
    )  # fmt: skip
    assert ran.returncode == 1 and "not the published file" in ran.stderr and "Traceback" not in ran.stderr
