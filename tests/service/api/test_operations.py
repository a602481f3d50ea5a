"""What the server says of itself, and what it does when there is too much or it goes wrong."""

import gzip
import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from models.classifier import Classifier
from models.manifest import ArtefactError
from service.api.app import create_app
from service.settings import Settings
from service.store import Store
from tests.service.api.answers import problem

Serve = Callable[..., TestClient]


def test_alive_ready_and_documented(client: TestClient, champion: Classifier) -> None:
    assert client.get("/livez").json() == {"status": "alive"}
    assert client.get("/readyz").json() == {"status": "ready", "model": champion.version}
    assert client.get("/docs").status_code == 200
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/v1/classify", "/v1/documents", "/livez", "/readyz"} <= paths.keys()


def test_before_the_model_is_loaded_it_is_alive_and_not_ready() -> None:
    client = TestClient(create_app())  # without its lifespan
    assert client.get("/livez").status_code == 200
    response = client.get("/readyz")
    problem(response, 503, "not-ready")
    assert response.headers["retry-after"] == "1"


def test_a_store_of_another_candour_is_not_ready(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with TestClient(create_app(Settings(database=f"sqlite:///{tmp_path}/candour.db"))) as client:
        assert client.get("/readyz").status_code == 200
        with closing(sqlite3.connect(tmp_path / "candour.db")) as database:
            database.execute("UPDATE alembic_version SET version_num = 'later'")
            database.commit()
        assert "later" not in problem(client.get("/readyz"), 503, "store")  # it is answered without a key, too
        assert "later" in caplog.text
        assert client.get("/livez").status_code == 200


def test_a_model_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="no model"), TestClient(create_app(Settings(store=tmp_path))):
        pass


def test_every_answer_names_the_model_and_the_request(client: TestClient, champion: Classifier) -> None:
    answers = [client.get("/livez"), client.head("/readyz"), client.get("/v1/nothing"), client.post("/v1/classify")]
    assert [answer.headers["candour-model"] for answer in answers] == [champion.version] * 4
    assert len({answer.headers["x-request-id"] for answer in answers}) == 4
    assert client.get("/livez", headers={"X-Request-ID": "mine:1"}).headers["x-request-id"] == "mine:1"
    assert client.get("/livez", headers={"X-Request-ID": "no good"}).headers["x-request-id"] != "no good"


def test_unknown_paths_and_methods_are_problems_too(client: TestClient) -> None:
    for path in ("/v1/nothing", "/v1/taxonomy/"):
        problem(client.get(path), 404, "not-found")
    for path, allowed in (("/v1/documents", "GET, POST"), ("/v1/documents/0", "DELETE, GET"), ("/livez", "GET, HEAD")):
        refused = client.put(path)
        problem(refused, 405, "method-not-allowed")
        assert refused.headers["allow"] == allowed


@pytest.mark.parametrize("path", ["/v1/classify", "/v1/documents", "/predict"])
def test_compressed_bodies_are_refused(client: TestClient, path: str) -> None:
    body = gzip.compress(b'{"input": "Plans drift."}')
    refused = client.post(path, content=body, headers={"content-encoding": "GZIP", "content-type": "application/json"})
    assert "gzip" in problem(refused, 415, "unsupported-body")
    assert refused.headers["accept-encoding"] == "identity"
    plain = client.post("/v1/classify", json={"input": "Plans drift."}, headers={"content-encoding": "identity"})
    assert plain.status_code == 200


def counts(client: TestClient) -> dict[str, float]:
    """Each sample of /metrics by its name and labels."""
    found = text_string_to_metric_families(client.get("/metrics").text)
    return {
        f"{sample.name}{json.dumps(sample.labels, sort_keys=True)}": sample.value
        for family in found
        for sample in family.samples
    }


def test_metrics_count_requests_passages_tokens_and_labels(serve: Serve, champion: Classifier) -> None:
    client = serve()
    texts = ["We are sorry that plans for children in care drift.", "Bins are emptied on Monday."]
    client.post("/v1/classify", json={"input": texts})
    client.post("/v1/classify", json={"input": ""})
    client.get("/v1/nothing")
    client.request("SCAN", "/v1/documents")
    found = counts(client)
    assert found["candour_passages_total{}"] == 2
    assert found["candour_tokens_total{}"] == champion.network.tokens(texts)
    assert found['candour_labels_total{"axis": "stance", "label": "apologetic"}'] == 1
    assert found[f'candour_model{{"version": "{champion.version}"}}'] == 1
    for status in ("200", "422"):
        labels = json.dumps({"method": "POST", "route": "/v1/classify", "status": status})
        assert found[f"candour_requests_total{labels}"] == 1
    assert found['candour_request_seconds_count{"method": "POST", "route": "/v1/classify"}'] == 2
    assert not any("nothing" in name or "SCAN" in name for name in found)  # a scanner's words would fill the memory
    assert found["candour_requests_in_flight{}"] == 0  # what asks for it is not counted


@pytest.fixture
def stuck(serve: Serve) -> Iterator[tuple[FastAPI, TestClient, threading.Event]]:
    """A server for two requests at a time, and an event until which scoring a document does not end."""
    client = serve(max_requests=2, max_seconds=20)
    app = client.app
    assert isinstance(app, FastAPI)
    until = threading.Event()
    for _ in range(2):
        app.state.scheduler._executor.submit(until.wait)
    yield app, client, until
    until.set()


def test_a_full_server_says_so_at_once_and_recovers(stuck: tuple[FastAPI, TestClient, threading.Event]) -> None:
    _, client, until = stuck
    with ThreadPoolExecutor(2) as pool:
        held = [pool.submit(client.post, "/v1/classify", json={"input": "Plans drift."}) for _ in range(2)]
        while counts(client)["candour_requests_in_flight{}"] < 2:
            assert not any(one.done() for one in held)
        refused = client.post("/v1/classify", json={"input": "Plans drift."})
        assert "CANDOUR_MAX_REQUESTS" in problem(refused, 503, "saturated")
        assert refused.headers["retry-after"] == "1"
        assert client.get("/livez").status_code == 200
        until.set()
        assert [one.result().status_code for one in held] == [200, 200]
    assert client.post("/v1/classify", json={"input": "Plans drift."}).status_code == 200


def test_a_request_that_takes_too_long_is_ended(serve: Serve) -> None:
    client = serve(max_seconds=0.2)
    app = client.app
    assert isinstance(app, FastAPI)
    until = threading.Event()
    for _ in range(64):
        app.state.scheduler._executor.submit(until.wait)
    try:
        assert "CANDOUR_MAX_SECONDS" in problem(client.post("/v1/classify", json={"input": "A."}), 503, "timed-out")
    finally:
        until.set()


def test_what_nobody_foresaw_is_logged_and_answered_without_a_trace(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client = serve()

    def broken(self: Store, id: str) -> None:  # noqa: A002, ARG001
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr(Store, "get", broken)
    answer = client.get("/v1/documents/0123", headers={"X-Request-ID": "r-1"})
    assert "fault of ours" not in answer.text
    problem(answer, 500, "internal")
    assert answer.headers["x-request-id"] == "r-1" and "ZeroDivisionError" in caplog.text
    assert client.get("/livez").status_code == 200


def test_logs_hold_no_text(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    client = serve()
    client.post("/v1/classify", json={"input": "Quillwort drifts."})
    client.post("/v1/documents", json={"text": "Quillwort drifts.", "title": "Quillwort"})
    client.get("/v1/passages?text=quillwort")
    assert "answered" in caplog.text and "/v1/passages" in [getattr(record, "route", "") for record in caplog.records]
    ours = [record for record in caplog.records if not record.name.startswith("httpx")]  # the test's own client
    assert not any("quillwort" in str(vars(record)).lower() for record in ours)
