"""Servers of their own, as they are started, that are killed, told to stop, and filled up."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from models.classifier import Classifier
from service import analysis
from service.client import Client
from service.keys import Scope
from service.report import ScoredDocument
from service.store import Store

TEXT = "Plans for children in care drift."


@dataclass(frozen=True)
class Server:
    """A process of `candour serve`. log: the file of what it said on standard error."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        assert parts.hostname and parts.port
        return parts.hostname, parts.port

    @property
    def in_flight(self) -> int:
        """Requests at work."""
        found = re.search(r"^candour_requests_in_flight (\d+)", httpx.get(f"{self.url}/metrics").text, re.MULTILINE)
        assert found
        return int(found[1])

    @property
    def children(self) -> list[int]:
        """The processes that read documents."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return [int(pid) for task in tasks for pid in task.read_text().split()]

    def refuses(self) -> bool:
        """Whether nobody listens."""
        with socket.socket() as sock:
            return sock.connect_ex(self.address) != 0


Serve = Callable[..., Server]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start a server on the test's SQLite file, with settings of its environment."""
    started: list[subprocess.Popen[bytes]] = []

    def serving(**settings: str) -> Server:
        log = tmp_path / f"log{len(started)}"
        environment = {"CANDOUR_DATABASE": f"sqlite:///{tmp_path}/candour.db"} | settings
        command = [str(Path(sys.executable).with_name("candour")), "serve", "--port", "0"]
        with log.open("wb") as errors:
            process = subprocess.Popen(command, env=os.environ | environment, stderr=errors)
        started.append(process)
        while not (found := re.search(r"running on (http://[\d.:]+)", log.read_text())):
            assert process.poll() is None, log.read_text()
            time.sleep(0.01)
        return Server(process, found[1].replace("0.0.0.0", "127.0.0.1"), log)

    yield serving
    for process in started:
        process.kill()
        process.wait()


@contextmanager
def begun(server: Server, path: str, body: bytes) -> Iterator[http.client.HTTPConnection]:
    """A request of which nothing but the head is sent yet; the body is for the block to send."""
    with closing(http.client.HTTPConnection(*server.address)) as connection:
        connection.putrequest("POST", path)
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders()
        yield connection


@contextmanager
def streaming(server: Server) -> Iterator[tuple[Callable[[bytes], None], http.client.HTTPResponse]]:
    """A stream of lines, of which the first is answered: what sends a piece (the empty one ends it), and the answer."""
    with closing(http.client.HTTPConnection(*server.address)) as connection:
        connection.putrequest("POST", "/v1/classify")
        connection.putheader("Content-Type", "application/x-ndjson")
        connection.putheader("Transfer-Encoding", "chunked")
        connection.endheaders()

        def send(piece: bytes) -> None:
            connection.send(b"%x\r\n%b\r\n" % (len(piece), piece))

        send(line(1))
        with connection.getresponse() as answer:
            assert json.loads(answer.readline())["id"] == 1
            yield send, answer


def line(number: int) -> bytes:
    return json.dumps({"id": number, "text": TEXT}).encode() + b"\n"


def gone(pid: int) -> bool:
    """Whether a process has ended, though nobody may have asked yet how."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def until(holds: Callable[[], bool]) -> None:
    while not holds():
        time.sleep(0.01)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_what_was_acknowledged_survives_a_kill_in_the_middle_of_writes(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    children = server.children
    acknowledged: list[ScoredDocument] = []

    def send(number: int) -> None:
        """Documents, one after the other, until nobody answers."""
        with Client(server.url, retries=0) as client:
            sent = 0
            while True:
                passages = [f"Visits to family {sent} of district {number} were late in week {n}." for n in range(20)]
                try:
                    acknowledged.append(client.score(text="\n\n".join(passages), council=f"District {number}"))
                except httpx.TransportError:
                    return
                sent += 1

    with ThreadPoolExecutor(4) as pool:
        sending = [pool.submit(send, number) for number in range(4)]
        until(lambda: len(acknowledged) >= 40 or any(one.done() for one in sending))
        server.process.kill()
        for one in sending:
            one.result()

    assert len(acknowledged) >= 40 and children
    until(lambda: all(map(gone, children)))
    with closing(sqlite3.connect(tmp_path / "candour.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert database.execute("PRAGMA foreign_key_check").fetchall() == []
    again = serve()
    with Client(again.url, retries=0) as client:
        assert [client.document(document.id) for document in acknowledged] == acknowledged
        kept = {document.id: document.summary.passages for document in client.documents(page_size=100)}
        # What was not acknowledged is there whole or not at all.
        assert len(kept) <= len(acknowledged) + 4
        assert all(len(client.document(id_).passages) == 20 == count for id_, count in kept.items())
        assert sum(1 for _ in client.passages(page_size=100)) == 20 * len(kept)


@pytest.mark.parametrize("times", [1, 2])
def test_a_server_that_is_told_to_stop_finishes_what_it_took(serve: Serve, champion: Classifier, times: int) -> None:
    server = serve()
    texts = [f"{TEXT} They drifted for {n} weeks." for n in range(600)]
    body = json.dumps({"text": TEXT}).encode()
    with (
        ThreadPoolExecutor(1) as pool,
        begun(server, "/v1/documents", body) as document,
        streaming(server) as (send, answer),
        Client(server.url, retries=0) as client,
    ):
        long = pool.submit(client.classify, texts)
        until(lambda: server.in_flight == 3 or long.done())
        for _ in range(times):
            server.process.send_signal(signal.SIGTERM)
            until(server.refuses)
        assert server.process.poll() is None
        send(line(2))
        assert json.loads(answer.readline())["id"] == 2
        send(line(3))
        send(b"")
        assert json.loads(answer.read())["id"] == 3
        document.send(body)
        scored = document.getresponse()
        assert scored.status == 200
        kept = ScoredDocument.model_validate_json(scored.read())
        expected = analysis.classify(texts, champion)
        assert [found.scores for found in long.result()] == [found.scores for found in expected]
    assert server.process.wait() == 0
    with Client(serve().url, retries=0) as client:
        assert client.document(kept.id) == kept


def test_an_idle_server_that_is_interrupted_ends_well(serve: Serve) -> None:
    server = serve()
    with Client(server.url, retries=0) as client:
        client.classify(TEXT)  # its connection stays open
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait() == 0
    assert "Traceback" not in server.log.read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_who_interrupts_twice_does_not_wait_for_a_stream(serve: Serve) -> None:
    server = serve()
    children = server.children
    with streaming(server) as (_, answer):
        server.process.send_signal(signal.SIGINT)
        until(server.refuses)
        server.process.send_signal(signal.SIGINT)
        server.process.wait()
        with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
            answer.read()
    assert children
    until(lambda: all(map(gone, children)))


def test_a_full_server_answers_before_it_has_read_the_request(serve: Serve) -> None:
    server = serve(CANDOUR_MAX_REQUESTS="1")
    body = json.dumps({"input": TEXT}).encode()
    with begun(server, "/v1/classify", body) as first, begun(server, "/v1/classify", body) as second:
        refused = second.getresponse()
        assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
        assert json.loads(refused.read())["type"] == "saturated"
        assert httpx.get(f"{server.url}/livez").status_code == 200
        first.send(body)
        assert first.getresponse().status == 200
    assert httpx.post(f"{server.url}/v1/classify", content=body).status_code == 200


def test_without_keys_no_other_machine_is_answered(serve: Serve, tmp_path: Path) -> None:
    server = serve(CANDOUR_HOST="0.0.0.0")
    log = server.log.read_text()
    assert "there are no keys: binding 127.0.0.1" in log and "running on http://127.0.0.1:" in log
    store = Store(f"sqlite:///{tmp_path}/candour.db")
    store.create_key("newsroom", [Scope.READ])
    store.close()
    assert httpx.get(f"{server.url}/v1/taxonomy").status_code == 401
    log = serve(CANDOUR_HOST="0.0.0.0").log.read_text()
    assert "no keys" not in log and "running on http://0.0.0.0:" in log
