"""Bodies: who may send one before it is read, how large it may be, and where it is read and written."""

import asyncio
import json
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.testclient import TestClient
from pydantic import BaseModel, field_validator
from starlette.types import Message

from service.api import bodies
from service.api.app import create_app
from service.errors import InvalidInput
from service.keys import Scope
from service.settings import Settings
from service.store import Store
from tests.service.api.answers import problem
from tests.service.serving import served

Serve = Callable[..., TestClient]
CALLS = ["/v1/classify", "/predict", "/v2/models/candour/infer"]
FILE = b'--x\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\n\r\nPlans drift.\r\n--x--\r\n'


def posts() -> list[tuple[str, str]]:
    """Each POST operation of the documentation, by its path, and each type of body that it takes."""
    paths = create_app(Settings()).openapi()["paths"]
    return [
        (path, media_type)
        for path, operations in paths.items()
        if "post" in operations
        for media_type in operations["post"].get("requestBody", {"content": {"application/json": {}}})["content"]
    ]


def test_no_body_is_read_of_whom_has_no_key(tmp_path: Path) -> None:
    # Where it is waited for, the answer is that of the time limit.
    settings = Settings(database=f"sqlite:///{tmp_path}/candour.db", max_seconds=3)
    with served(settings) as url:
        store = Store(settings.database)
        store.create_key("newsroom", list(Scope))
        store.close()
        for path, media_type in posts():
            address = (httpx.URL(url).host, httpx.URL(url).port or 0)
            with socket.create_connection(address, timeout=30) as connection:
                head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {media_type}; boundary=x\r\n"
                connection.sendall(f"{head}Content-Length: 40000000\r\n\r\n{{".encode())
                assert connection.recv(100).split()[1] == b"401", (path, media_type)


@pytest.mark.parametrize("path", CALLS)
def test_a_body_that_no_call_can_need_is_not_read(serve: Serve, path: str) -> None:
    client = serve(max_call_characters=1_000, max_items=5)
    problem(client.post(path, content=b" " * 13_000), 400, "malformed-request")
    detail = problem(client.post(path, content=b" " * 13_000_000), 413, "too-large")
    assert "13,500 bytes" in detail and "1,000 characters (CANDOUR_MAX_CALL_CHARACTERS)" in detail


def test_as_many_characters_as_a_call_may_have_are_taken_however_they_are_written(serve: Serve) -> None:
    client = serve(max_call_characters=1_000, max_items=5)
    content = json.dumps({"input": ["\U00020000" * 200] * 5}, indent=8)  # twelve bytes for each
    assert len(content) > 12_000 and client.post("/v1/classify", content=content).status_code == 200
    detail = problem(client.post("/v1/classify", json={"input": ["a" * 501] * 2}), 413, "too-large")
    assert "1,002 characters" in detail


@pytest.mark.parametrize("path", [*CALLS, "/v1/documents", "/v1/compare"])
def test_names_without_end_are_refused_before_each_is_a_fault(client: TestClient, path: str) -> None:
    content = json.dumps({f"more {n}": n for n in range(bodies.NAMES + 1)})
    assert "10,000 names" in problem(client.post(path, content=content), 422, "invalid-input")


class Noted(BaseModel):
    """A form that notes on which thread it was read."""

    text: str
    reader: int = 0

    @field_validator("text")
    @classmethod
    def _note(cls, value: str) -> str:
        readers.append(threading.get_ident())
        return value


readers: list[int] = []


def read(content: bytes) -> Noted:
    async def receive() -> Message:
        return {"type": "http.request", "body": content, "more_body": False}

    return asyncio.run(bodies.json(Request({"type": "http", "headers": []}, receive), Noted))


def test_a_large_body_is_read_beside_the_event_loop() -> None:
    small, large = ({"text": "a" * size} for size in (10, bodies.SMALL))
    for body, beside in ((small, False), (large, True)):
        assert read(json.dumps(body).encode()).text == body["text"]
        assert (readers.pop() != threading.get_ident()) == beside


@pytest.mark.parametrize(
    ("content", "refused"),
    [
        ('{"text": "' + '\\"a\\": ' * (bodies.NAMES + 1) + '"}', False),  # names within a text are none
        ('{"text": "a\\\\", "x": [' + '{"n" : 1},' * bodies.NAMES + "1]}", True),
        ('{"text": "a", "x": [' + '"n",' * 2 * bodies.NAMES + "1]}", False),
    ],
)
def test_names_are_told_from_texts(content: str, refused: bool) -> None:
    if refused:
        with pytest.raises(InvalidInput):
            read(content.encode())
    else:
        assert read(content.encode()).text == json.loads(content)["text"]


def test_a_string_that_never_ends_is_read_once() -> None:
    with pytest.raises(RequestValidationError):
        read(b'{"text": ' + b'"\\' * 5_000_000)


def test_an_answer_is_written_beside_the_event_loop() -> None:
    writers = []

    def make() -> bytes:
        writers.append(threading.get_ident())
        return b"{}"

    answer = asyncio.run(bodies.written(make))
    assert (answer.body, answer.media_type) == (b"{}", "application/json")
    assert writers != [threading.get_ident()]


@pytest.mark.parametrize("charset", ["undefined", "punycode", "unicode_escape", "utf-16", "latin-1", "nonsense"])
@pytest.mark.parametrize("path", ["/v1/documents", "/v1/batches"])
def test_a_form_that_is_not_in_utf_8_is_refused(client: TestClient, path: str, charset: str) -> None:
    headers = {"Content-Type": f"multipart/form-data; boundary=x; charset={charset}", "Idempotency-Key": "k"}
    detail = problem(client.post(path, content=FILE % b"\\ud800.txt", headers=headers), 400, "malformed-request")
    assert charset in detail and "utf-8" in detail


@pytest.mark.parametrize("charset", ["", "; charset=utf-8", "; charset=UTF8"])
def test_a_form_in_utf_8_is_read(client: TestClient, charset: str) -> None:
    headers = {"Content-Type": f"multipart/form-data; boundary=x{charset}"}
    found = client.post("/v1/documents", content=FILE % "Ñandú.txt".encode(), headers=headers)
    assert found.status_code == 200 and found.json()["path"] == "Ñandú.txt"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("a.txt", "a.txt"),
        ("2024/May/a.txt", "a.txt"),
        ("..\\..\\a.txt", "a.txt"),
        ("a\0\ud800.txt", "a\ufffd\ufffd.txt"),
        ("long " * 100 + "a.txt", ("long " * 100 + "a.txt")[-255:]),
        ("2024/", None),
        ("", None),
        (None, None),
    ],
)
def test_the_name_of_a_file_is_kept_as_it_can_be(given: str | None, kept: str | None) -> None:
    assert bodies.filename(given) == kept


def test_a_document_has_its_files_name_without_folders(client: TestClient) -> None:
    found = client.post("/v1/documents", files={"file": ("reports/2024/" + "a" * 300 + ".txt", b"Reviews drift.")})
    assert found.json()["path"] == "a" * 251 + ".txt"
