"""Many clients at once on a real server, on each database: nothing is lost, and each answer is that of the command."""

from __future__ import annotations

import http.client
import json
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from labels import taxonomy
from models.classifier import Classifier
from service import analysis, batch, compare, outputs
from service.batch import Tally
from service.client import Client
from service.report import Classification, ScoredDocument
from service.settings import Settings
from service.store import Store
from tests.service.serving import served

CLIENTS = 4
REQUESTS = 60
SUBJECTS = ("Visits to children", "Plans for children in care", "Calls to the front door", "Reviews of foster carers")
VERDICTS = (
    "were late, and managers did not know.",
    "are on time, as inspectors found.",
    "are what we are sorry for.",
    "were never as bad as the report says.",
    "will be counted in May.",
)
TEXTS = [f"{subject} {verdict}" for subject in SUBJECTS for verdict in VERDICTS]
# Each is sent in one way alone: a file leaves its name.
FILES = ["\n\n".join(TEXTS[first : first + 3]) for first in range(0, 18, 2)]
INLINE = ["\n\n".join(TEXTS[first : first + 3]) for first in range(1, 18, 2)]


@dataclass(frozen=True)
class Expected:
    """What the core, which the command prints, makes of each text and document."""

    labels: dict[str, Classification]
    documents: dict[str, ScoredDocument]
    lines: str
    columns: list[str]

    def comparison(self, report: str, response: str) -> Any:
        found = compare.compare(self.documents[report], self.documents[response], taxonomy.load())
        return found.model_dump(mode="json")

    def scores(self, text: str) -> list[float]:
        """In the order of the model's outputs."""
        found = self.labels[text].scores
        return [(found.themes | found.stances)[key.partition("/")[2]] for key in self.columns]


@pytest.fixture(scope="module")
def expected(champion: Classifier) -> Expected:
    documents = {content: analysis.analyse(content.encode(), champion, "a.txt") for content in FILES}
    documents |= {content: analysis.analyse(content.encode(), champion) for content in INLINE}
    rows = batch.classify(lines().splitlines(keepends=True), champion, Tally(), 1_000)
    return Expected(
        labels=dict(zip(TEXTS, analysis.classify(TEXTS, champion), strict=True)),
        documents=documents,
        lines="".join(map(outputs.line, rows)),
        columns=[output.key for output in champion.manifest.outputs],
    )


def lines() -> bytes:
    rows = [json.dumps({"id": number, "text": text}).encode() for number, text in enumerate(TEXTS)]
    rows[3] = b"no line"
    return b"\n".join(rows)


class Sender:
    """One client's requests: each method sends one, and fails where its answer is another than expected."""

    def __init__(self, client: httpx.Client, expected: Expected, chance: random.Random) -> None:
        self._client = client
        self._expected = expected
        self._chance = chance
        self.acknowledged: set[str] = set()

    @property
    def good(self) -> Sequence[Callable[[], None]]:
        return (
            self.classify, self.document, self.file, self.compare, self.compare_stored, self.listing, self.get,
            self.lines, self.predict, self.infer,
        )  # fmt: skip

    def _post(self, path: str, **options: Any) -> Any:
        response = self._client.post(path, **options)
        assert response.status_code == 200, response.text
        return response.json()

    def _some(self) -> list[str]:
        return self._chance.sample(TEXTS, self._chance.randint(1, 9))

    def classify(self) -> None:
        texts = self._some()
        found = self._post("/v1/classify", json={"input": texts})["results"]
        assert [Classification.model_validate(one) for one in found] == [self._expected.labels[text] for text in texts]

    def document(self) -> None:
        self._scored(content := self._chance.choice(INLINE), self._post("/v1/documents", json={"text": content}))

    def file(self) -> None:
        content = self._chance.choice(FILES)
        self._scored(content, self._post("/v1/documents", files={"file": ("a.txt", content.encode())}))

    def _scored(self, content: str, answer: Any) -> None:
        found = ScoredDocument.model_validate(answer)
        assert found == self._expected.documents[content]
        self.acknowledged.add(found.id)

    def compare(self) -> None:
        report, response = self._chance.sample(INLINE, 2)
        body = {"report": {"text": report}, "response": {"text": response}}
        assert self._post("/v1/compare", json=body) == self._expected.comparison(report, response)

    def compare_stored(self) -> None:
        self.document()
        report, response = self._chance.choice(self._stored(INLINE)), self._chance.choice(INLINE)
        body = {"report": {"id": self._expected.documents[report].id}, "response": {"text": response}}
        assert self._post("/v1/compare", json=body) == self._expected.comparison(report, response)

    def _stored(self, contents: list[str]) -> list[str]:
        return [content for content in contents if self._expected.documents[content].id in self.acknowledged]

    def listing(self) -> None:
        found = {item["id"]: item for item in self._client.get("/v1/documents?limit=100").json()["items"]}
        assert found.keys() >= self.acknowledged
        summaries = {document.id: document.summary for document in self._expected.documents.values()}
        assert all(item["summary"] == summaries[id_].model_dump() for id_, item in found.items())

    def get(self) -> None:
        self.file()
        document = self._expected.documents[self._chance.choice(self._stored(FILES))]
        answer = self._client.get(f"/v1/documents/{document.id}")
        assert ScoredDocument.model_validate_json(answer.content) == document

    def lines(self) -> None:
        headers = {"Content-Type": "application/x-ndjson"}
        assert self._client.post("/v1/classify", content=lines(), headers=headers).text == self._expected.lines

    def predict(self) -> None:
        texts = self._some()
        found = self._post("/predict", json={"inputs": [[text] for text in texts]})
        by_label = [{one["label"]: one["score"] for one in row} for row in found]
        assert [[row[key] for key in self._expected.columns] for row in by_label] == list(
            map(self._expected.scores, texts)
        )

    def infer(self) -> None:
        texts = self._some()
        tensor = {"name": "text", "datatype": "BYTES", "shape": [len(texts)], "data": texts}
        (scores,) = self._post("/v2/models/candour/infer", json={"inputs": [tensor], "outputs": [{"name": "scores"}]})[
            "outputs"
        ]
        assert scores["data"] == [score for text in texts for score in self._expected.scores(text)]

    def bad(self) -> None:
        pdf, form = b"%PDF-1.7 and then nothing", {"content-type": "multipart/form-data; boundary=x"}
        kinds: list[tuple[str, str, dict[str, Any], int]] = [
            ("POST", "/v1/classify", {"content": b"{"}, 400),
            ("POST", "/v1/classify", {"json": {"input": "..."}}, 422),
            ("POST", "/v1/classify", {"json": {"input": ["A."] * 1_001}}, 413),
            ("POST", "/v1/documents", {"files": {"file": ("a.pdf", pdf)}}, 422),
            ("POST", "/v1/documents", {"files": {"file": ("a.pdf", bytes(range(256)) * 40)}}, 415),
            ("POST", "/v1/documents", {"content": b"no form", "headers": form}, 400),
            ("GET", "/v1/documents/0123456789abcdef", {}, 404),
            ("GET", "/v1/passages?cursor=none", {}, 422),
            ("GET", "/v1/taxonomy", {"headers": {"authorization": "Bearer candour_nobody"}}, 401),
            ("DELETE", "/v1/classify", {}, 405),
        ]
        method, path, options, status = self._chance.choice(kinds)
        response = self._client.request(method, path, **options)
        assert (response.status_code, response.json()["status"]) == (status, status)


def test_many_clients_lose_nothing_and_have_the_answers_of_the_command(database_url: str, expected: Expected) -> None:
    sent: list[httpx.Request] = []

    def send(url: str, number: int) -> set[str]:
        chance = random.Random(number)
        with httpx.Client(base_url=url, timeout=60, event_hooks={"request": [sent.append]}) as client:
            sender = Sender(client, expected, chance)
            for _ in range(REQUESTS):
                sender.bad() if chance.random() < 0.05 else chance.choice(sender.good)()
        return sender.acknowledged

    with served(Settings(database=database_url)) as url:
        with ThreadPoolExecutor(CLIENTS) as pool:
            acknowledged = set().union(*pool.map(lambda number: send(url, number), range(CLIENTS)))
        found = [
            sample
            for family in text_string_to_metric_families(httpx.get(f"{url}/metrics").text)
            for sample in family.samples
        ]
    assert len(sent) >= CLIENTS * REQUESTS
    assert sum(sample.value for sample in found if sample.name == "candour_requests_total") == len(sent)
    assert [s.value for s in found if s.name in ("candour_requests_in_flight", "candour_slices_waiting")] == [0, 0]
    store, by_id = Store(database_url), {document.id: document for document in expected.documents.values()}
    assert {id_: store.get(id_) for id_ in acknowledged} == {id_: by_id[id_] for id_ in acknowledged}
    store.close()
    with served(Settings(database=database_url)) as url, Client(url) as client:
        assert {document.id for document in client.documents()} == acknowledged


def test_a_stream_that_comes_faster_than_it_is_answered_loses_no_line(database_url: str) -> None:
    count = 1_000
    # More than the server holds, so that some waits to be read at any time.
    note = b"x" * 1_000

    def write(connection: http.client.HTTPConnection) -> None:
        for number in range(1, count + 1):
            piece = (
                b"no line\n"
                if number % 100 == 0
                else b'{"id": %d, "text": "Plans drift.", "note": "%b"}\n' % (number, note)
            )
            connection.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        connection.send(b"0\r\n\r\n")

    with served(Settings(database=database_url)) as url, closing(_connection(url)) as connection:
        connection.putrequest("POST", "/v1/classify")
        connection.putheader("Content-Type", "application/x-ndjson")
        connection.putheader("Transfer-Encoding", "chunked")
        connection.endheaders()
        writer = threading.Thread(target=write, args=(connection,))
        writer.start()
        with connection.getresponse() as answer:
            found = list(_rows(answer))
        writer.join()
    assert [row["line"] if "error" in row else row["id"] for row in found] == list(range(1, count + 1))
    assert [number for number, row in enumerate(found, 1) if "error" in row] == list(range(100, count + 1, 100))


def _connection(url: str) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    return http.client.HTTPConnection(parts.hostname or "", parts.port)


def _rows(answer: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    while content := answer.readline():
        yield json.loads(content)
