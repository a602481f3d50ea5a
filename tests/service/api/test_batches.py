"""Batches over HTTP: handed over, watched, cancelled, fetched; on every database."""

import csv
import io
import json
import re
import stat
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient

from models.classifier import Classifier
from service import analysis
from service.keys import Scope
from service.store import Store
from tests.service.api.answers import problem
from tests.service.api.test_documents import everything

NDJSON = {"Content-Type": "application/x-ndjson"}
ZIP = {"Content-Type": "application/zip"}
COMMAND = Path(sys.executable).with_name("candour")


def lines(documents: Iterable[object]) -> bytes:
    return b"".join(json.dumps(document).encode() + b"\n" for document in documents)


def texts(name: str, count: int, passages: int = 1) -> list[dict[str, str]]:
    """Documents that no other test sends."""
    return [
        {"text": "\n\n".join(f"Visit {p} to family {n} of {name} was late." for p in range(passages)), "path": f"{n}"}
        for n in range(count)
    ]


def zipped(files: Iterable[tuple[str | zipfile.ZipInfo, bytes]]) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return held.getvalue()


def in_folder(folder: Path) -> Iterable[tuple[str, bytes]]:
    """The files that `candour score .` finds, in its order, and the metadata."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        yield str(path.relative_to(folder)), path.read_bytes()


def submitted(client: TestClient, content: bytes, headers: dict[str, str] = NDJSON) -> dict[str, Any]:
    answer = client.post("/v1/batches", content=content, headers=headers)
    assert answer.status_code == 202, answer.text
    batch: dict[str, Any] = answer.json()
    assert answer.headers["Location"] == f"/v1/batches/{batch['id']}"
    return batch


def until(client: TestClient, id_: str, holds: Callable[[dict[str, Any]], bool], **options: Any) -> dict[str, Any]:
    """The batch, when it is so."""
    while True:
        batch: dict[str, Any] = client.get(f"/v1/batches/{id_}", **options).json()
        assert batch["documents"] == batch["done"] + batch["failed"] + batch["repeated"] + batch["left"]
        if holds(batch):
            return batch
        time.sleep(0.01)


def ended(client: TestClient, id_: str, **options: Any) -> dict[str, Any]:
    return until(client, id_, lambda batch: batch["state"] in ("done", "cancelled"), **options)


def results(client: TestClient, id_: str) -> list[dict[str, Any]]:
    answer = client.get(f"/v1/batches/{id_}/results")
    assert answer.status_code == 200 and answer.headers["Content-Type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.content.splitlines()]


def counted(client: TestClient, name: str) -> float:
    found = re.search(rf"^candour_{name} (\S+)$", client.get("/metrics").text, re.MULTILINE)
    assert found
    return float(found[1])


def test_lines_become_documents_and_the_bad_ones_fail_in_their_places(
    client: TestClient, champion: Classifier, release: str
) -> None:
    body = lines(
        [
            {"text": release, "path": "release", "council": "Tarnholme", "published": "2026-05-04"},
            {"text": "Plans drift.", "html": "<p>Plans drift.</p>"},
            {"html": "<p>The director of Ostrey resigned over the failings.</p>"},
            {"text": " ", "path": "blank"},
            {"text": "Plans drift.", "kind": "poem"},
        ]
    )
    batch = submitted(client, body + b"\nno JSON\n" + lines([{"text": release}]))
    assert (batch["documents"], batch["failed"], batch["repeated"]) == (7, 3, 1)
    done = ended(client, batch["id"])
    assert (done["state"], done["done"], done["failed"], done["left"]) == ("done", 2, 4, 0)
    assert done["model"] == champion.version and done["created"] <= done["started"] <= done["finished"]
    first, second, third, blank, fifth, last = results(client, batch["id"])
    expected = analysis.analyse(release.encode(), champion, "release").model_dump(mode="json")
    assert first == expected | {"council": "Tarnholme", "published": "2026-05-04"}
    assert client.get(f"/v1/documents/{first['id']}").json() == first
    assert [bad["line"] for bad in (second, fifth, last)] == [2, 5, 7]
    assert "exactly one of text and html" in second["error"]["detail"] and "kind" in fifth["error"]["detail"]
    assert third["path"] is None and third["media_type"] == "text/html"
    assert (blank["path"], blank["error"]["type"]) == ("blank", "empty-document")


def test_the_three_forms_are_those_of_the_command(
    serve: Callable[..., TestClient], folder: Path, tmp_path: Path
) -> None:
    client = serve()
    (folder / "a copy.txt").write_bytes((folder / "release.txt").read_bytes())
    (folder / "nothing.txt").write_bytes(b"")
    (folder / "formula.txt").write_text("=1+1 is what the auditors of Marl, and their friends, call a plan.")
    (folder / "formula.txt.meta.json").write_text('{"council": "Marl", "published": "2026-05-04"}')
    (folder / "noise.pdf.meta.json").write_text("[]")
    batch = submitted(client, zipped(in_folder(folder)), ZIP)
    assert ended(client, batch["id"])["done"] == 3
    for form in ("jsonl", "csv", "parquet"):
        path = tmp_path / f"out.{form}"
        ran = subprocess.run([COMMAND, "score", ".", "-o", path], cwd=folder, stderr=subprocess.PIPE, check=False)
        assert ran.returncode == 3, ran.stderr
        answer = client.get(f"/v1/batches/{batch['id']}/results", params={"format": form})
        assert f"{batch['id']}.{form}" in answer.headers["Content-Disposition"]
        if form == "parquet":
            assert pq.read_table(pa.BufferReader(answer.content)).equals(pq.read_table(path))
        else:
            assert answer.content == path.read_bytes()


def test_what_a_zip_should_not_hold_fails_by_itself(client: TestClient) -> None:
    def info(name: str, mode: int = stat.S_IFREG) -> zipfile.ZipInfo:
        found = zipfile.ZipInfo(name)
        found.external_attr = mode << 16
        return found

    slow = info("slow.txt")
    slow.compress_type = zipfile.ZIP_LZMA
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("good.txt", "The bins of Ferrow are emptied late.")
        archive.writestr(info("../up.txt"), "Reviews slip.")
        archive.writestr(info("/etc/passwd"), "Reviews slip.")
        archive.writestr(info("link.txt", stat.S_IFLNK), "good.txt")
        archive.writestr(slow, "Reviews slip.")
        archive.writestr("large.txt", "a" * 200_001, zipfile.ZIP_DEFLATED)
        archive.writestr("locked.txt", "Reviews slip at Ash.")
        archive.writestr("damaged.txt", "Reviews slip at Birch.")
        archive.writestr("known.txt", "Reviews slip at Elm.")
        archive.writestr("known.txt.meta.json", '{"kind": "poem"}')
        archive.writestr(".hidden.txt", "Reviews slip.")
        archive.writestr("__MACOSX/._good.txt", "Reviews slip.")
        archive.mkdir("empty")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("good.txt", "Reviews slip twice.")
    content = bytearray(held.getvalue())
    entry = content.rindex(b"locked.txt") - 46
    assert content[entry : entry + 4] == b"PK\x01\x02"
    content[entry + 8] |= 1
    at = content.index(b"Reviews slip at Birch.")
    content[at] ^= 1
    batch = submitted(client, bytes(content), ZIP)
    assert ended(client, batch["id"])["done"] == 1
    good, *bad = results(client, batch["id"])
    assert good["path"] == "good.txt" and good["passages"][0]["text"] == "The bins of Ferrow are emptied late."
    assert [(one["path"], one["error"]["type"]) for one in bad] == [
        ("../up.txt", "unsupported-document"),
        ("/etc/passwd", "unsupported-document"),
        ("link.txt", "unsupported-document"),
        ("slow.txt", "unsupported-document"),
        ("large.txt", "too-large"),
        ("locked.txt", "encrypted-document"),
        ("damaged.txt", "damaged-document"),
        ("known.txt", "invalid-metadata"),
        ("good.txt", "unsupported-document"),
    ]


def test_a_file_may_come_in_a_form(client: TestClient) -> None:
    for content in (zipped([("a.txt", b"Reviews slip in Quenby.")]), lines(texts("Quenby", 2))):
        answer = client.post("/v1/batches", files={"file": ("releases", content)})
        assert answer.status_code == 202
        batch = ended(client, answer.json()["id"])
        assert batch["done"] == batch["documents"] > 0
    problem(client.post("/v1/batches", files={"other": ("a", b"x")}), 422, "invalid-request")


def test_bodies_that_are_no_batch_are_refused_whole(client: TestClient, serve: Callable[..., TestClient]) -> None:
    before = len(list(everything(client, "/v1/batches")))

    def refused(content: bytes, headers: dict[str, str], status: int, type_: str) -> str:
        return problem(client.post("/v1/batches", content=content, headers=headers), status, type_)

    refused(b"no zip", ZIP, 400, "malformed-request")
    refused(zipped([("a.txt", b"Plans drift." * 99)])[:-30], ZIP, 400, "malformed-request")
    refused(zipped([("folder/", b"")]), ZIP, 422, "empty-document")
    refused(b"\n\n", NDJSON, 422, "empty-document")
    refused(b"%PDF-1.7", {"Content-Type": "application/pdf"}, 415, "unsupported-body")
    refused(b"{}\n", {"Content-Type": "application/json"}, 415, "unsupported-body")
    refused(b"{}\n" * 100_000, NDJSON, 413, "too-large")
    bomb = zipped((f"{n}.txt", b"0" * 199_999) for n in range(11))
    assert len(bomb) < 10_000 and "2,000,000" in refused(bomb, ZIP, 413, "too-large")
    assert len(list(everything(client, "/v1/batches"))) == before
    small = serve(max_batch=2)
    detail = problem(small.post("/v1/batches", content=b"{}\n" * 3, headers=NDJSON), 413, "too-large")
    assert "CANDOUR_MAX_BATCH" in detail and small.get("/v1/batches").json()["items"] == []


def test_an_idempotency_key_stands_for_one_batch(client: TestClient) -> None:
    headers = NDJSON | {"Idempotency-Key": "night-1"}
    first = submitted(client, lines(texts("Vale", 3)), headers)
    ended(client, first["id"])
    assert submitted(client, lines(texts("Vale", 3)), headers)["id"] == first["id"]
    other = client.post("/v1/batches", content=lines(texts("Vale", 4)), headers=headers)
    assert "night-1" in problem(other, 422, "idempotency-key-reused")
    assert submitted(client, lines(texts("Vale", 3)))["id"] != first["id"]


def test_partial_results_grow_while_a_large_batch_runs_and_requests_are_answered(client: TestClient) -> None:
    batch = submitted(client, lines(texts("Largs", 500, passages=4)))
    running = until(client, batch["id"], lambda batch: batch["done"] >= 60)
    partial = results(client, batch["id"])
    assert client.post("/v1/classify", json={"input": "Reviews slip."}).status_code == 200
    assert client.get(f"/v1/batches/{batch['id']}").json()["state"] == "running"
    assert running["seconds_left"] is not None and running["finished"] is None
    assert 60 <= len(partial) < 500
    done = ended(client, batch["id"])
    assert (done["done"], done["left"], done["seconds_left"]) == (500, 0, None)
    whole = results(client, batch["id"])
    assert [document["path"] for document in whole] == [f"{n}" for n in range(500)]
    held = {document["path"]: document for document in whole}
    assert all(document == held[document["path"]] for document in partial)


def test_a_cancelled_batch_stays_as_it_is(client: TestClient) -> None:
    batch = submitted(client, lines(texts("Fell", 500, passages=4)))
    until(client, batch["id"], lambda batch: batch["done"] > 0)
    cancelled = client.post(f"/v1/batches/{batch['id']}/cancel").json()
    assert cancelled["state"] == "cancelled" and cancelled["left"] > 0 and cancelled["finished"]
    small = submitted(client, lines(texts("Fell, too", 20)))
    assert ended(client, small["id"])["done"] == 20  # by when what was at hand is done
    assert client.get(f"/v1/batches/{batch['id']}").json() == cancelled
    found = results(client, batch["id"])
    assert len(found) == cancelled["done"]
    assert client.get(f"/v1/documents/{found[0]['id']}").status_code == 200
    assert client.post(f"/v1/batches/{batch['id']}/cancel").json() == cancelled
    done = client.get(f"/v1/batches/{small['id']}").json()
    assert client.post(f"/v1/batches/{small['id']}/cancel").json() == done


def test_what_is_known_is_not_scored_again_and_what_is_deleted_is_left_out(client: TestClient) -> None:
    sent = texts("Harrow", 5)
    first = submitted(client, lines(sent))
    ended(client, first["id"])
    passages = counted(client, "passages_total")
    again = submitted(client, lines(document | {"council": "Harrow"} for document in sent))
    assert ended(client, again["id"])["done"] == 5
    assert counted(client, "passages_total") == passages
    found = results(client, again["id"])
    assert {document["council"] for document in found} == {"Harrow"}
    assert client.delete(f"/v1/documents/{found[2]['id']}").status_code == 204
    assert results(client, again["id"]) == [*found[:2], *found[3:]]
    rows = csv.DictReader(io.StringIO(client.get(f"/v1/batches/{again['id']}/results?format=csv").text))
    assert [row["path"] for row in rows] == ["0", "1", "3", "4"]


def test_the_same_content_fails_as_often_as_it_comes(client: TestClient) -> None:
    noise = bytes(range(256)) * 40
    batch = submitted(client, zipped([("a.pdf", noise), ("b.txt", b"Reviews slip in Yarrow."), ("c.pdf", noise)]), ZIP)
    assert batch["repeated"] == 1
    done = ended(client, batch["id"])
    assert (done["done"], done["failed"], done["repeated"], done["left"]) == (1, 2, 0, 0)
    assert [found["path"] for found in results(client, batch["id"]) if "error" in found] == ["a.pdf", "c.pdf"]


def test_batches_are_listed_page_by_page(client: TestClient) -> None:
    sent = [submitted(client, lines(texts(f"Moor {n}", 1)))["id"] for n in range(7)]
    found = [batch["id"] for batch in everything(client, "/v1/batches?limit=3")]
    assert found[:7] == sent[::-1] and len(found) == len(set(found))
    problem(client.get("/v1/batches?cursor=none"), 422, "invalid-input")
    problem(client.get("/v1/batches?limit=101"), 422, "invalid-input")


def test_there_is_no_batch_of_an_unknown_id(client: TestClient) -> None:
    for answer in (
        client.get("/v1/batches/0"),
        client.get("/v1/batches/0/results"),
        client.post("/v1/batches/0/cancel"),
    ):
        problem(answer, 404, "not-found")


def test_keys_see_their_own_batches_and_admin_all(serve: Callable[..., TestClient], database_url: str) -> None:
    client = serve()
    store = Store(database_url)
    tokens = {
        name: {"Authorization": f"Bearer {store.create_key(name, scopes)[1]}"}
        for name, scopes in {
            "desk": [Scope.READ, Scope.SCORE],
            "other": [Scope.READ, Scope.SCORE],
            "reader": [Scope.READ],
            "admin": [Scope.ADMIN],
        }.items()
    }
    store.close()
    batch = submitted(client, lines(texts("Beck", 3)), NDJSON | tokens["desk"])
    where = f"/v1/batches/{batch['id']}"
    assert ended(client, batch["id"], headers=tokens["desk"])["done"] == 3
    assert [found["id"] for found in client.get("/v1/batches", headers=tokens["admin"]).json()["items"]] == [
        batch["id"]
    ]
    assert client.get(f"{where}/results", headers=tokens["admin"]).content.count(b"\n") == 3
    assert client.get("/v1/batches", headers=tokens["other"]).json()["items"] == []
    for name in ("other", "reader"):
        problem(client.get(where, headers=tokens[name]), 404, "not-found")
        problem(client.get(f"{where}/results", headers=tokens[name]), 404, "not-found")
    problem(client.post(f"{where}/cancel", headers=tokens["other"]), 404, "not-found")
    problem(client.post(f"{where}/cancel", headers=tokens["reader"]), 403, "forbidden")
    problem(client.post("/v1/batches", headers=NDJSON | tokens["reader"], content=b"{}"), 403, "forbidden")
    problem(client.get(where), 401, "unauthorised")


def test_metrics_say_what_waits(serve: Callable[..., TestClient]) -> None:
    client = serve()
    batch = submitted(client, lines(texts("Tarn", 2_000, passages=4)))
    while not (counted(client, "batches_running") == 1 and counted(client, "documents_waiting")):
        assert client.get(f"/v1/batches/{batch['id']}").json()["left"]
        time.sleep(0.1)
    client.post(f"/v1/batches/{batch['id']}/cancel")
    while counted(client, "batches_running") or counted(client, "documents_waiting"):
        time.sleep(0.1)
