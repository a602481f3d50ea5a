"""Corrections over HTTP, on every database: sent, kept, shown, and the queue of what to look at next."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from labels import taxonomy
from service.keys import Scope
from service.store import Store
from tests.service.api.answers import problem

TEXT = """\
We are sorry that plans for children in care drift, and that nobody told the families why it took so long.

Too many visits were late in the spring.

The team moves to the old library in May, above the café.
"""
NOTHING: dict[str, Any] = {"themes": [], "stances": []}
SAID = {"themes": ["care_planning"], "stances": ["critical", "apologetic"], "primary_stance": "critical"}


@pytest.fixture(scope="module")
def sent(client: TestClient) -> dict[str, Any]:
    body = {"text": TEXT, "title": "Our answer", "council": "Tarnholme"}
    found: dict[str, Any] = client.post("/v1/documents", json=body).json()
    return found


def test_a_passage_is_had_by_its_id(client: TestClient, sent: dict[str, Any]) -> None:
    found = client.get(f"/v1/passages/{sent['id']}-1").json()
    assert found.items() >= sent["passages"][1].items()
    assert (found["title"], found["council"], found["position"]) == ("Our answer", "Tarnholme", 1)
    assert client.get("/v1/passages", params={"text": "late in the spring"}).json()["items"] == [found]
    for path in ("x", f"{sent['id']}-3", f"{sent['id']}-3/labels"):
        assert "no passage" in problem(client.get(f"/v1/passages/{path}"), 404, "not-found")


def test_a_correction_says_who_when_why_and_by_which_guide(client: TestClient, sent: dict[str, Any]) -> None:
    path = f"/v1/passages/{sent['id']}-0/labels"
    answer = client.post(path, json=SAID | {"who": "Nerys Quill", "why": "Both are said."})
    first = answer.json()
    assert (
        answer.status_code == 201 and first.items() >= (SAID | {"who": "Nerys Quill", "why": "Both are said."}).items()
    )
    assert first["key"] is None  # there are no keys
    assert first["guide"] == taxonomy.load().version and first["text"] == sent["passages"][0]["text"]
    assert first["given"] == {name: sent["passages"][0][name] for name in first["given"]}
    other = client.post(path, json=NOTHING | {"who": "Bo Tarn", "guide": "1.1"}).json()
    assert other["guide"] == "1.1" and other["created"] > first["created"]
    assert client.get(path).json() == {"disagree": True, "present": [other, first], "versions": [other, first]}
    again = client.post(path, json=NOTHING | {"who": "Nerys Quill"}).json()
    assert client.get(path).json() == {
        "disagree": False, "present": [again, other], "versions": [again, other, first],
    }  # fmt: skip
    assert client.get(f"/v1/documents/{sent['id']}").json() == sent


def test_labels_that_are_none_are_refused_fault_by_fault(client: TestClient, sent: dict[str, Any]) -> None:
    path = f"/v1/passages/{sent['id']}-2/labels"
    wrong = {"themes": ["poems"], "stances": ["critical"], "primary_stance": "rude", "who": "Bo Tarn"}
    detail = problem(client.post(path, json=wrong), 422, "invalid-input")
    assert "unknown theme 'poems'" in detail and "primary_stance 'rude'" in detail
    assert "nobody is named" in problem(client.post(path, json=NOTHING), 422, "invalid-input")  # there are no keys
    for body in ({}, NOTHING | {"who": " "}, NOTHING | {"guide": "newest"}, NOTHING | {"colour": "red"}):
        problem(client.post(path, json=body), 422, "invalid-request")
    assert client.get(path).json() == {"disagree": False, "present": [], "versions": []}
    problem(client.post("/v1/passages/x/labels", json=NOTHING | {"who": "Bo Tarn"}), 404, "not-found")


def test_the_queue_shrinks_as_a_person_answers(client: TestClient, sent: dict[str, Any]) -> None:
    who = {"who": "Ash Vale"}
    items = client.get("/v1/review", params=who).json()["items"]
    assert {item["document"] for item in items} == {sent["id"]} and len(items) == 3
    for item in items:
        assert item.items() >= client.get(f"/v1/passages/{item['id']}").json().items()
        assert item["reason"] in ("uncertain", "random") and 0 <= item["uncertainty"] <= 1 and item["former"] is None
    assert client.get("/v1/review", params=who | {"limit": 2}).json()["items"] == items[:2]
    client.post(f"/v1/passages/{items[0]['id']}/labels", json=NOTHING | who)
    left = client.get("/v1/review", params=who).json()["items"]
    assert {item["id"] for item in left} == {item["id"] for item in items[1:]}
    assert "CANDOUR_MAX_LISTED" in problem(client.get("/v1/review?limit=101"), 422, "invalid-input")
    problem(client.get("/v1/review?limit=0"), 422, "invalid-request")


def test_a_document_that_is_forgotten_takes_its_corrections_along(client: TestClient) -> None:
    twice = [client.post("/v1/documents", json={"text": f"{start}\n\nThe lift is out of order."}) for start in "ab"]
    first, second = (answer.json()["id"] for answer in twice)
    at = len(twice[0].json()["passages"]) - 1
    client.post(f"/v1/passages/{first}-{at}/labels", json=NOTHING | {"who": "Bo Tarn"})
    there = f"/v1/passages/{second}-{at}/labels"
    assert [one["document"] for one in client.get(there).json()["present"]] == [first]
    assert client.delete(f"/v1/documents/{first}").status_code == 204
    assert client.get(there).json()["versions"] == []


def test_a_key_names_the_person_and_must_have_the_scope(serve: Callable[..., TestClient], store: Store) -> None:
    client = serve()
    every = {scope: {"Authorization": f"Bearer {store.create_key(f'desk {scope}', [scope])[1]}"} for scope in Scope}
    sent = client.post("/v1/documents", json={"text": TEXT}, headers=every[Scope.SCORE]).json()
    labels, passage = f"/v1/passages/{sent['id']}-0/labels", f"/v1/passages/{sent['id']}-0"
    for scope, header in every.items():
        allowed = {
            "post": client.post(labels, json=NOTHING, headers=header).status_code == 201,
            "queue": client.get("/v1/review", headers=header).status_code == 200,
            "labels": client.get(labels, headers=header).status_code == 200,
            "passage": client.get(passage, headers=header).status_code == 200,
        }
        labeller, reader = scope in (Scope.LABEL, Scope.ADMIN), scope in (Scope.READ, Scope.ADMIN)
        assert allowed == {"post": labeller, "queue": labeller, "labels": reader, "passage": reader}, scope
    said = client.get(labels, headers=every[Scope.READ]).json()["present"]
    made = store.keys()
    ids = {key.name: key.id for key in made}
    assert {one["who"]: one["key"] for one in said} == {name: ids[name] for name in ("desk label", "desk admin")}
    answer = client.post(labels, json=NOTHING | {"who": "Bo Tarn"}, headers=every[Scope.LABEL])
    assert (answer.json()["who"], answer.json()["key"]) == ("Bo Tarn", ids["desk label"])
    mine = client.get("/v1/review", headers=every[Scope.LABEL]).json()["items"]
    assert sent["passages"][0]["text"] not in {item["text"] for item in mine}
    theirs = client.get("/v1/review?who=Ash Vale", headers=every[Scope.LABEL]).json()["items"]
    assert sent["passages"][0]["text"] in {item["text"] for item in theirs}
