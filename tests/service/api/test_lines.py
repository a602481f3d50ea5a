"""Lines of JSON in, lines of JSON out, while they come."""

import asyncio
import json
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from models.classifier import Classifier
from service import outputs
from service.api import lines
from service.batch import Tally, classify
from tests.service.api.answers import problem

NDJSON = {"content-type": "application/x-ndjson"}


def body(count: int) -> list[bytes]:
    rows = [json.dumps({"id": n, "text": f"Plans for {n} children drift."}).encode() for n in range(count)]
    rows[3], rows[7] = b"no json", b""
    return rows


def test_the_answer_is_that_of_the_command(client: TestClient, champion: Classifier) -> None:
    rows = body(300)
    sent = client.post("/v1/classify", content=b"\n".join(rows), headers=NDJSON)
    assert sent.headers["content-type"] == "application/x-ndjson"
    expected = [outputs.line(row) for row in classify([row + b"\n" for row in rows], champion, Tally(), 5_000)]
    assert sent.text == "".join(expected)


def test_lines_cut_anywhere_are_the_same_lines(client: TestClient) -> None:
    whole = b"\r\n".join(body(40))

    def pieces() -> Iterator[bytes]:
        for first in range(0, len(whole), 7):
            yield whole[first : first + 7]

    assert (
        client.post("/v1/classify", content=pieces(), headers=NDJSON).text
        == client.post("/v1/classify", content=whole, headers=NDJSON).text
    )


def test_a_stream_may_be_longer_than_a_body_and_a_line_may_not(client: TestClient) -> None:
    def pieces() -> Iterator[bytes]:
        yield b'{"id": "long", "text": "'
        for _ in range(500):
            yield b"plans drift " * 50
        yield b'"}\n{"id": "next", "text": "Plans drift."}'

    first, second = client.post("/v1/classify", content=pieces(), headers=NDJSON).text.splitlines()
    assert "CANDOUR_MAX_CHARACTERS" in json.loads(first)["error"]["detail"] and json.loads(first)["line"] == 1
    assert json.loads(second)["id"] == "next"


@pytest.mark.parametrize("path", ["/predict", "/v1/compare"])
def test_lines_are_refused_where_none_are_read(client: TestClient, path: str) -> None:
    sent = client.post(path, content=(b"plans drift\n" for _ in range(20_000)), headers=NDJSON)
    assert "application/x-ndjson" in problem(sent, 415, "unsupported-body")


def test_half_of_a_surrogate_pair_costs_no_other_line(client: TestClient) -> None:
    rows = [
        b'{"id": "\\ud800", "text": "Plans drift."}',
        b'{"id": 1, "text": "\\udfff drift."}',
        b'{"id": 2, "text": "Plans drift."}',
    ]
    sent = client.post("/v1/classify", content=b"\n".join(rows), headers=NDJSON)
    found = [json.loads(line) for line in sent.text.splitlines()]
    assert [row["id"] for row in found] == ["\ud800", 1, 2]
    assert ["error" in row for row in found] == [False, True, False]


def test_an_empty_stream_has_an_empty_answer(client: TestClient) -> None:
    for content in (b"", b"\n\n \n"):
        sent = client.post("/v1/classify", content=content, headers=NDJSON)
        assert (sent.status_code, sent.text) == (200, "")


def test_a_reader_that_takes_nothing_stops_the_reading() -> None:
    """Of an endless body, no more is read than twice the size of a chunk, and what one message holds."""
    received = 0

    async def receive() -> Message:
        nonlocal received
        received += 1
        await asyncio.sleep(0)
        return {"type": "http.request", "body": b"x\n", "more_body": True}

    async def slowly() -> int:
        found = lines.read(Request({"type": "http"}, receive), 10, 100)
        first = await anext(found)
        for _ in range(1_000):
            await asyncio.sleep(0)
        held = received - len(first)
        await found.aclose()
        return held

    assert 0 < asyncio.run(slowly()) <= 22


def test_a_client_that_leaves_ends_the_stream() -> None:
    messages: list[Message] = [{"type": "http.request", "body": b"x\n", "more_body": True}, {"type": "http.disconnect"}]

    async def receive() -> Message:
        return messages.pop(0)

    async def read() -> list[list[lines.Line]]:
        return [chunk async for chunk in lines.read(Request({"type": "http"}, receive), 10, 100)]

    with pytest.raises(ClientDisconnect):
        asyncio.run(read())
