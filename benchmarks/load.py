"""The server under load: what is lost, whether each answer is the command's, and what memory it takes.

    python benchmarks/load.py [--database URL] [--clients 4] [--requests 2000] [--passages 20000] [--lines 100000]

A `candour serve` of its own, with keys, on this machine alone (Linux). In turn: mixed requests from several processes,
5% of them bad, each answer held against what `candour classify`, `score` and `compare` print for the same text, and at
the end every document against the store; then passages, as documents and as lines, for the server's memory; then a
stream of lines that is read while it is written; then one whose reader sleeps until the writer is blocked. Ends with
status 1 where an answer was wrong or a document is missing.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from sqlalchemy import make_url

from labels import dataset, taxonomy
from service.client import Client
from service.keys import Scope
from service.store import Store

CANDOUR = Path(sys.executable).with_name("candour")
NDJSON = {"Content-Type": "application/x-ndjson"}
# How often each sort of request is sent, of 100 good ones.
MIX = {
    "classify one": 24, "classify many": 10, "classify explained": 2, "document as a file": 10, "document inline": 10,
    "compare inline": 5, "compare by id": 5, "list": 9, "get": 10, "lines": 5, "/predict": 5, "/infer": 5,
}  # fmt: skip
BAD = 0.05
MAX_BYTES = 2_000_000
COUNCIL = "Tarnholme"


@dataclass(frozen=True)
class Case:
    """A request, and the status and body of its answer; of an error's body, the type."""

    name: str
    method: str
    path: str
    options: dict[str, Any] = field(default_factory=dict)
    status: int = 200
    body: Any = None


@dataclass(frozen=True)
class Outcome:
    """What came of a case. fault: how its answer differed. document: the id that was acknowledged."""

    name: str
    status: int
    seconds: float
    fault: str | None
    document: str | None


class Served:
    """A server, and what it takes of the machine."""

    def __init__(self, url: str, token: str, reader: str, pid: int, database: str) -> None:
        self.url, self.token, self.reader, self._pid = url, token, reader, pid
        parsed = make_url(database)
        self._log = Path(f"{parsed.database}-wal") if parsed.get_backend_name() == "sqlite" else None

    @property
    def memory(self) -> float:
        """Resident, of the server's own process, in MB."""
        return _resident(self._pid)

    def __str__(self) -> str:
        tasks = Path(f"/proc/{self._pid}/task").glob("*/children")
        readers = [pid for task in tasks for pid in task.read_text().split()]
        files, threads = (len(list(Path(f"/proc/{self._pid}/{what}").iterdir())) for what in ("fd", "task"))
        log = f", {self._log.stat().st_size / 1e6:.1f} MB write-ahead log" if self._log and self._log.exists() else ""
        return (
            f"{self.memory:.1f} MB (readers {sum(_resident(int(pid)) for pid in readers):.1f} MB), {files} file "
            f"descriptors, {threads} threads{log}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--requests", type=int, default=2_000, help="Of each client.")
    parser.add_argument("--passages", type=int, default=20_000)
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--database", help="An empty store that may be thrown away. Default: SQLite, a file.")
    options = parser.parse_args()

    texts = [row.text for row in dataset.load([dataset.WRITTEN], taxonomy.load())]
    random.Random(0).shuffle(texts)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with _served(options.database or f"sqlite:///{folder}/candour.db", folder / "log") as server:
            print(f"started                {server}")
            faults = _mixed(server, texts, folder, options.clients, options.requests)
            _passages(server, texts, options.passages, options.clients)
            faults += _stream(server, options.lines)
            faults += _slow(server)
            print(f"at the end             {server}")
        failed = [line for line in (folder / "log").read_text().splitlines() if '"level": "error"' in line]
        print(f"errors in the server's log: {len(failed)}", *failed[:3], sep="\n")
    print("faults:", len(faults), *faults[:10], sep="\n")
    sys.exit(1 if faults else 0)


@contextmanager
def _served(database: str, log: Path) -> Iterator[Served]:
    store = Store(database)
    store.upgrade()
    _, token = store.create_key("load", [Scope.READ, Scope.SCORE])
    _, reader = store.create_key("reader", [Scope.READ])
    store.close()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    settings = {"CANDOUR_DATABASE": database, "CANDOUR_RATE": "1000000/second", "CANDOUR_MAX_BYTES": str(MAX_BYTES)}
    url = f"http://127.0.0.1:{port}"
    with (
        log.open("wb") as errors,
        subprocess.Popen([CANDOUR, "serve", "--port", str(port)], env=os.environ | settings, stderr=errors) as process,
    ):
        try:
            while not _answers(url):
                if process.poll() is not None:
                    raise RuntimeError(f"the server did not start: {log.read_text()}")
                time.sleep(0.1)
            yield Served(url, token, reader, process.pid, database)
        finally:
            process.terminate()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").is_success
    except httpx.TransportError:
        return False


def _mixed(server: Served, texts: list[str], folder: Path, clients: int, requests: int) -> list[str]:
    """Send it all; the faults."""
    documents = _documents(texts, folder)
    with Client(server.url, server.token) as client:
        for document in documents[:20]:
            client.score(text=document["content"], council=COUNCIL)
        cases = _good(server, client, texts, documents, folder)
    bad = _bad(server, documents)
    print(f"after the first few    {server}")
    started = time.perf_counter()
    with ProcessPoolExecutor(clients) as pool:
        sent = [pool.submit(_client, n, server.url, server.token, cases, bad, requests) for n in range(clients)]
        outcomes = [outcome for one in sent for outcome in one.result()]
    taken = time.perf_counter() - started
    print(f"after mixed requests   {server}")
    print(f"{len(outcomes):,} requests in {taken:.0f} s: {len(outcomes) / taken:.0f} a second")
    for name in sorted({outcome.name for outcome in outcomes}):
        those = [outcome for outcome in outcomes if outcome.name == name]
        seconds = sorted(1000 * outcome.seconds for outcome in those)
        print(
            f"  {name:34s} {len(those):5d}   median {statistics.median(seconds):6.1f} ms   "
            f"p95 {seconds[int(0.95 * len(seconds))]:6.1f} ms   "
            f"{dict(Counter(outcome.status for outcome in those))}"
        )
    acknowledged = {outcome.document for outcome in outcomes if outcome.document}
    lost = _lost(server, documents, acknowledged)
    print(f"{len(acknowledged):,} documents acknowledged, {len(lost)} of them lost or changed")
    return [f"{outcome.name}: {outcome.fault}" for outcome in outcomes if outcome.fault] + lost


def _documents(texts: list[str], folder: Path) -> list[dict[str, Any]]:
    """Documents of two to eight passages, each with its `content` and what `candour score` makes of it."""
    chance, ahead = random.Random(1), iter(texts)
    sources = folder / "documents"
    sources.mkdir()
    for number in range(800):
        passages = [next(ahead) for _ in range(chance.randint(2, 8))]
        (sources / f"{number:03d}.txt").write_text("\n\n".join(passages), encoding="utf-8")
    output = folder / "documents.jsonl"
    _command("score", str(sources), "-o", str(output))
    scored = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    return [one | {"content": Path(one["path"]).read_text(encoding="utf-8")} for one in scored]


def _good(
    server: Served, client: Client, texts: list[str], documents: list[dict[str, Any]], folder: Path
) -> dict[str, list[Case]]:
    """Requests that are right, by their sort. The answers of listings are those of the idle server."""
    rows = {row["id"]: row for row in map(json.loads, _lines(texts[-1_000:], 0, "classify", "-").splitlines())}
    short = [text for text in texts if len(text.split()) < 25][:10]
    explained = [json.loads(line) for line in _lines(short, 0, "classify", "-", "--explain").splitlines()]
    model = client.current_model()
    columns = [output.key for output in model.outputs]

    def results(*found: dict[str, Any]) -> dict[str, Any]:
        return {"model": model.version, "results": [_labelled(one) for one in found]}

    def scores(row: dict[str, Any]) -> list[dict[str, Any]]:
        return [{"label": key, "score": value} for key, value in sorted(_by_key(row).items(), key=lambda s: -s[1])]

    def tensor(chosen: list[str]) -> Case:
        data = [_by_key(rows[text])[key] for text in chosen for key in columns]
        output = {"name": "scores", "datatype": "FP64", "shape": [len(chosen), len(columns)], "data": data}
        body = {"model_name": "candour", "model_version": model.version, "outputs": [output]}
        inputs = [{"name": "text", "datatype": "BYTES", "shape": [len(chosen)], "data": chosen}]
        asked = {"inputs": inputs, "outputs": [{"name": "scores"}]}
        return Case("/infer", "POST", "/v2/models/candour/infer", {"json": asked}, body=body)

    texts = list(rows)
    several = [texts[first : first + 7] for first in range(0, len(texts), 7)]
    held, fresh = documents[:20], documents[20:]
    cases = [Case("classify one", "POST", "/v1/classify", {"json": {"input": t}}, body=results(rows[t])) for t in texts]
    for chosen in several:
        found = results(*(rows[text] for text in chosen))
        cases.append(Case("classify many", "POST", "/v1/classify", {"json": {"input": chosen}}, body=found))
    for text, row in zip(short, explained, strict=True):
        asked = {"input": text, "explain": True}
        cases.append(Case("classify explained", "POST", "/v1/classify", {"json": asked}, body=results(row)))
    for number, document in enumerate(fresh):
        if number % 2:
            sent = {"files": {"file": (Path(document["path"]).name, document["content"].encode())}}
            answer = _stored(document, path=Path(document["path"]).name)
            cases.append(Case("document as a file", "POST", "/v1/documents", sent, body=answer))
        else:
            sent = {"json": {"text": document["content"]}}
            cases.append(Case("document inline", "POST", "/v1/documents", sent, body=_stored(document)))
    for report, response in zip(held[:4], held[4:8], strict=True):
        output = folder / "comparison.json"
        _command("compare", report["path"], response["path"], "-o", str(output))
        answer = json.loads(output.read_text(encoding="utf-8"))
        inline = {"report": {"text": report["content"]}, "response": {"text": response["content"]}}
        ids = {"report": {"id": report["id"]}, "response": {"id": response["id"]}}
        cases.append(Case("compare inline", "POST", "/v1/compare", {"json": inline}, body=answer))
        cases.append(Case("compare by id", "POST", "/v1/compare", {"json": ids}, body=answer))
    for document in held:
        answer = _stored(document, council=COUNCIL)
        cases.append(Case("get", "GET", f"/v1/documents/{document['id']}", body=answer))
    with httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {server.token}"}) as http_client:
        for path in ("documents?", "documents?stance=critical&", "passages?", "passages?confident=false&text=care&"):
            path = f"/v1/{path}council={COUNCIL}&limit=20"
            cases.append(Case("list", "GET", path, body=http_client.get(path).json()))
    for chosen in several[:20]:
        content = "".join(f"{json.dumps({'id': n, 'text': text})}\n" for n, text in enumerate(chosen)) + "no line\n"
        options = {"content": content.encode(), "headers": NDJSON}
        printed = _command("classify", "-", sent=content)
        cases.append(Case("lines", "POST", "/v1/classify", options, body=printed))
    cases += [Case("/predict", "POST", "/predict", {"json": {"inputs": t}}, body=scores(rows[t])) for t in texts]
    cases += [tensor(chosen) for chosen in several]
    return {name: [case for case in cases if case.name == name] for name in MIX}


def _bad(server: Served, documents: list[dict[str, Any]]) -> list[Case]:
    """Requests that are wrong, each in its way; the last leaves before it has its answer."""
    classify, score = ("POST", "/v1/classify"), ("POST", "/v1/documents")
    nobody = {"Authorization": "Bearer candour_nobody"}
    reader = {"Authorization": f"Bearer {server.reader}"}
    other = {"Content-Type": "application/pdf"}
    broken = {"Content-Type": "multipart/form-data; boundary=x"}
    pdf, noise = b"%PDF-1.7 and then nothing", bytes(range(256)) * 40
    return [
        Case("bad: no JSON", *classify, {"content": b"{"}, 400, "malformed-request"),
        Case("bad: no word", *classify, {"json": {"input": "..."}}, 422, "invalid-input"),
        Case("bad: half a pair", *classify, {"content": b'{"input": "\\ud800 a"}'}, 400, "malformed-request"),
        Case("bad: unknown field", *classify, {"json": {"input": "A.", "x": 1}}, 422, "invalid-request"),
        Case("bad: too many", *classify, {"json": {"input": ["A."] * 1_001}}, 413, "too-large"),
        Case("bad: too long", *classify, {"json": {"input": "plan " * 30_000}}, 413, "too-large"),
        Case("bad: body too large", *classify, {"content": b" " * (MAX_BYTES + 1)}, 413, "too-large"),
        Case("bad: type of body", *score, {"content": b"A.", "headers": other}, 415, "unsupported-body"),
        Case("bad: noise", *score, {"files": {"file": ("a.pdf", noise)}}, 415, "unsupported-document"),
        Case("bad: damaged", *score, {"files": {"file": ("a.pdf", pdf)}}, 422, "damaged-document"),
        Case("bad: empty", *score, {"json": {"text": " "}}, 422, "empty-document"),
        Case("bad: broken form", *score, {"content": b"no form", "headers": broken}, 400, "malformed-request"),
        Case("bad: no such document", "GET", "/v1/documents/0123456789abcdef", {}, 404, "not-found"),
        Case("bad: no such path", "GET", f"/v1/{documents[0]['id']}", {}, 404, "not-found"),
        Case("bad: method", "DELETE", "/v1/classify", {}, 405, "method-not-allowed"),
        Case("bad: cursor", "GET", "/v1/passages?cursor=none", {}, 422, "invalid-input"),
        Case("bad: key", *classify, {"json": {"input": "A."}, "headers": nobody}, 401, "unauthorised"),
        Case("bad: scope", *classify, {"json": {"input": "A."}, "headers": reader}, 403, "forbidden"),
        Case("bad: leaves", "LEAVE", "/v1/classify", {}, 0),
    ]


def _client(
    number: int, url: str, token: str, cases: dict[str, list[Case]], bad: list[Case], requests: int
) -> list[Outcome]:
    """What came of each request of one client."""
    chance, outcomes = random.Random(number), []
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
        for _ in range(requests):
            if chance.random() < BAD:
                case = chance.choice(bad)
            else:
                (name,) = chance.choices(list(MIX), list(MIX.values()))
                case = chance.choice(cases[name])
            started = time.perf_counter()
            status, body = _answer(client, case, url, token)
            taken = time.perf_counter() - started
            fault = None
            if (status, body) != (case.status, case.body):
                fault = f"{status} {str(body)[:300]} and not {case.status} {str(case.body)[:300]}"
            document = body["id"] if status == 200 and case.path == "/v1/documents" else None
            outcomes.append(Outcome(case.name, status, taken, fault, document))
    return outcomes


def _answer(client: httpx.Client, case: Case, url: str, token: str) -> tuple[int, Any]:
    if case.method == "LEAVE":
        _leave(url, token, case.path)
        return 0, None
    try:
        response = client.request(case.method, case.path, **case.options)
    except httpx.TransportError as error:
        return 0, repr(error)
    if response.headers["content-type"] == NDJSON["Content-Type"]:
        return response.status_code, response.text
    body = response.json()
    return response.status_code, body if response.is_success else body["type"]


def _leave(url: str, token: str, path: str) -> None:
    """Promise a thousand bytes, send ten, and go."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port)) as sock:
        head = f"POST {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nContent-Length: 1000\r\n\r\n"
        sock.sendall(head.encode() + b'{"input": ')


def _lost(server: Served, documents: list[dict[str, Any]], acknowledged: set[str]) -> list[str]:
    """Documents that were acknowledged and are not in the store as the command scores them."""
    expected = {document["id"]: document for document in documents}
    with Client(server.url, server.token) as client:
        listed = {document.id for document in client.documents(page_size=100)}
        found = {id_: client.document(id_).model_dump(mode="json") for id_ in acknowledged & listed}
    wrong = [id_ for id_, one in found.items() if one["passages"] != expected[id_]["passages"]]
    return [f"document {id_} is not in the store" for id_ in acknowledged - listed] + [
        f"document {id_} is another in the store" for id_ in wrong
    ]


def _passages(server: Served, texts: list[str], count: int, clients: int) -> None:
    """Passages in new documents of ten, and as many as lines, in turn; the memory after each tenth."""
    run = secrets.token_hex(4)  # a store that is used twice has not seen the documents

    def send(client: Client, number: int) -> None:
        chosen = [f"Paper {run} {number}. {texts[(number * 10 + n) % len(texts)]}" for n in range(10)]
        if number % 2:
            client.score(text="\n\n".join(chosen))
        else:
            list(client.classify_lines(enumerate(chosen)))

    block = count // 100
    with Client(server.url, server.token) as client, ThreadPoolExecutor(clients) as pool:
        list(pool.map(lambda number: send(client, number), range(block)))
        before = server.memory
        print(f"warm, {10 * block:,} passages  {server}")
        for part in range(1, 11):
            started = time.perf_counter()
            list(pool.map(lambda number: send(client, number), range(part * block, (part + 1) * block)))
            print(
                f"{10 * part * block:7,} passages more  {server}, {100 * (server.memory / before - 1):+.1f}%, "
                f"{10 * block / (time.perf_counter() - started):.0f} passages/s"
            )


class Stream:
    """A stream of lines: they are written by a thread while they are read. Every thousandth is no line.

    digits: how long the id of each line is, which its answer repeats.
    """

    def __init__(self, server: Served, count: int, digits: int = 1) -> None:
        parts = urlsplit(server.url)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
        # Small ones, so that the machine holds little between the two ends. They must be set before the connection is.
        self._connection.sock = sock = socket.socket()
        for buffer in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            sock.setsockopt(socket.SOL_SOCKET, buffer, 65_536)
        sock.connect((parts.hostname, parts.port))
        self._connection.putrequest("POST", "/v1/classify")
        fields = {"Authorization": f"Bearer {server.token}", "Transfer-Encoding": "chunked", **NDJSON}
        for name, value in fields.items():
            self._connection.putheader(name, value)
        self._connection.endheaders()
        self._count = count
        self._digits = digits
        self.written = 0
        self._writer = threading.Thread(target=self._write)
        self._writer.start()

    def _write(self) -> None:
        for number in range(1, self._count + 1):
            row = {"id": f"{number:0{self._digits}d}", "text": f"Plans for child {number} drift."}
            line = b"no line" if _is_bad(number) else json.dumps(row).encode()
            self._connection.send(b"%x\r\n%b\n\r\n" % (len(line) + 1, line))
            self.written = number
        self._connection.send(b"0\r\n\r\n")

    def read(self) -> Iterator[str]:
        """A fault for each line that is not the answer to its own; at the end, for those that never came."""
        answer, number = self._connection.getresponse(), 0
        for number, content in enumerate(iter(answer.readline, b""), 1):
            found = json.loads(content)
            if "error" in found if not _is_bad(number) else found.get("line") != number:
                yield f"line {number}: {content[:200]!r}"
            elif not _is_bad(number) and int(found["id"]) != number:
                yield f"line {number} is answered as {int(found['id'])}"
            else:
                yield ""
        self._writer.join()
        self._connection.close()
        if number != self._count:
            yield f"{number:,} lines answer {self._count:,}"


def _is_bad(number: int) -> bool:
    return number % 1_000 == 0


def _stream(server: Served, count: int) -> list[str]:
    faults, started, before = [], time.perf_counter(), server.memory
    for number, fault in enumerate(Stream(server, count).read(), 1):
        if fault:
            faults.append(fault)
        if number % max(1, count // 10) == 0:
            print(
                f"{number:7,} lines streamed  {server}, {100 * (server.memory / before - 1):+.1f}%, "
                f"{number / (time.perf_counter() - started):.0f} lines/s"
            )
    return faults


def _slow(server: Served) -> list[str]:
    """A reader that sleeps until the writer has stood still for five seconds, and then reads all."""
    count, before = 10_000, server.memory
    stream, written = Stream(server, count, digits=4_000), -1
    while stream.written not in (written, count):
        written = stream.written
        time.sleep(5)
    print(
        f"no line read: the writer {'is through' if written == count else 'stands'} after {stream.written:,} lines of "
        f"{count:,}; {server}, {100 * (server.memory / before - 1):+.1f}%"
    )
    faults = [fault for fault in stream.read() if fault]
    print(f"then all read          {server}, {100 * (server.memory / before - 1):+.1f}%")
    return faults if stream.written == count else [*faults, "the stream did not go on"]


def _command(*arguments: str, sent: str = "") -> str:
    """What a command of candour prints."""
    done = subprocess.run([CANDOUR, *arguments], input=sent.encode(), stdout=subprocess.PIPE, check=False)
    if done.returncode not in (0, 3):  # 3: some inputs failed, as some should
        raise RuntimeError(f"candour {arguments[0]} ended with {done.returncode}")
    return done.stdout.decode()


def _lines(texts: list[str], first: int, *command: str) -> str:
    rows = ({"id": text, "text": text} for text in texts[first:])
    return _command(*command, sent="".join(f"{json.dumps(row)}\n" for row in rows))


def _by_key(row: dict[str, Any]) -> dict[str, float]:
    """Each label's probability by axis and name, of a line of the command."""
    return {
        f"{axis[:-1]}/{name}": value for axis in ("themes", "stances") for name, value in row["scores"][axis].items()
    }


def _labelled(row: dict[str, Any]) -> dict[str, Any]:
    """A line of the command as a result of /v1/classify."""
    on = {f"{axis[:-1]}/{name}" for axis in ("themes", "stances") for name in row[axis]}
    found = {name: value for name, value in row.items() if name != "id"}
    return found | {"labels": {key: key in on for key in _by_key(row)}}


def _stored(document: dict[str, Any], **known: str) -> dict[str, Any]:
    """A document of the command as the server answers it, which does not know its path."""
    found = {name: value for name, value in document.items() if name != "content"}
    return found | {"path": None} | known


def _resident(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    main()
