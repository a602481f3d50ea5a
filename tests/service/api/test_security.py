"""Keys, scopes and rates over HTTP."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.keys import Scope
from service.store import Store
from tests.service.api.answers import problem

Serve = Callable[..., TestClient]
PASSAGE = {"input": "Plans drift."}


@pytest.fixture
def keyed(store: Store) -> Callable[..., dict[str, str]]:
    """The header of a new key with scopes."""

    def header(*scopes: Scope) -> dict[str, str]:
        return {"Authorization": f"Bearer {store.create_key('newsroom', scopes)[1]}"}

    return header


def test_without_any_key_this_machine_needs_none(serve: Serve) -> None:
    client = serve()
    assert client.post("/v1/classify", json=PASSAGE).status_code == 200
    wrong = client.post("/v1/classify", json=PASSAGE, headers={"Authorization": "Bearer candour_x"})
    problem(wrong, 401, "unauthorised")


@pytest.mark.parametrize("address", ["203.0.113.9", "2001:db8::1", "127.0.0.1", "::1"])
def test_without_any_key_other_machines_are_refused(serve: Serve, address: str) -> None:
    app = serve().app
    elsewhere = TestClient(app, client=(address, 50_000))  # the lifespan is that of serve's client
    answer = elsewhere.post("/v1/classify", json=PASSAGE)
    if address in ("127.0.0.1", "::1"):
        assert answer.status_code == 200
    else:
        assert "candour keys create" in problem(answer, 401, "unauthorised")
        assert elsewhere.get("/livez").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "192.0.2.7:8000"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Host": "evil.example", "Origin": "http://evil.example"},
    ],
)
def test_without_any_key_pages_of_other_sites_are_refused(serve: Serve, headers: dict[str, str]) -> None:
    client = serve()
    for own in ("localhost:8000", "127.0.0.1", "[::1]:8000", "candour", "a.localhost"):
        assert client.get("/v1/documents", headers={"Host": own, "Origin": f"http://{own}"}).status_code == 200
    problem(client.get("/v1/documents", headers=headers), 403, "forbidden")
    problem(client.post("/v1/documents", files={"file": ("a.txt", b"A.")}, headers=headers), 403, "forbidden")


def test_the_first_key_closes_the_server(serve: Serve, store: Store) -> None:
    client = serve()
    key, token = store.create_key("newsroom", [Scope.SCORE])
    answer = client.post("/v1/classify", json=PASSAGE)
    problem(answer, 401, "unauthorised")
    assert answer.headers["www-authenticate"] == "Bearer"
    header = {"Authorization": f"Bearer {token}"}
    assert client.post("/v1/classify", json=PASSAGE, headers=header).status_code == 200
    store.revoke_key(key.id)
    problem(client.post("/v1/classify", json=PASSAGE, headers=header), 401, "unauthorised")
    problem(client.post("/v1/classify", json=PASSAGE), 401, "unauthorised")  # a revoked key does not open it again


@pytest.mark.parametrize("value", ["", "Bearer", "Bearer ", "Basic dTpw", "candour_x", "Bearer x y"])
def test_other_authorisation_is_refused(serve: Serve, store: Store, value: str) -> None:
    store.create_key("newsroom", list(Scope))
    problem(serve().post("/v1/classify", json=PASSAGE, headers={"Authorization": value}), 401, "unauthorised")


TENSOR = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["Plans drift."]}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/classify": PASSAGE,
    "/v1/documents": {"text": "Plans drift."},
    "/predict": {"inputs": "Plans drift."},
    "/v2/models/candour/infer": {"inputs": [TENSOR]},
    "/v1/compare": {"report": {"text": "Plans drift."}, "response": {"text": "We are sorry."}},
}
NEEDS = {
    ("POST", "/v1/classify"): {Scope.SCORE},
    ("POST", "/v1/documents"): {Scope.SCORE},
    ("POST", "/predict"): {Scope.SCORE},
    ("POST", "/v2/models/candour/infer"): {Scope.SCORE},
    ("POST", "/v1/compare"): {Scope.READ, Scope.SCORE},
    ("GET", "/v1/documents"): {Scope.READ},
    ("GET", "/v1/documents/x"): {Scope.READ},
    ("GET", "/v1/passages"): {Scope.READ},
    ("GET", "/v1/taxonomy"): {Scope.READ},
    ("GET", "/v1/models"): {Scope.READ},
    ("GET", "/v1/models/current"): {Scope.READ},
    ("GET", "/metrics"): {Scope.READ},
    ("DELETE", "/v1/documents/x"): {Scope.ADMIN},
}


def test_each_operation_asks_for_its_scopes(serve: Serve, keyed: Callable[..., dict[str, str]]) -> None:
    client = serve()
    every = {scope: keyed(scope) for scope in Scope}
    for (method, path), needed in NEEDS.items():
        for scope, header in every.items():
            answer = client.request(method, path, headers=header, json=BODIES.get(path) if method == "POST" else None)
            allowed = needed <= {scope} or scope is Scope.ADMIN
            expected = (200, 404) if allowed else (403,)  # there is no document x
            assert answer.status_code in expected, (method, path, scope)
    exact = client.post("/v1/compare", headers=keyed(Scope.READ, Scope.SCORE), json=BODIES["/v1/compare"])
    assert exact.status_code == 200


def test_every_operation_of_the_documentation_is_guarded_or_a_matter_of_health(serve: Serve) -> None:
    paths = serve().get("/openapi.json").json()["paths"]
    unguarded = {path for path, found in paths.items() for operation in found.values() if "security" not in operation}
    assert unguarded == {"/livez", "/readyz", "/v2/health/live", "/v2/health/ready"}


def test_a_key_has_its_rate_and_others_have_theirs(serve: Serve, keyed: Callable[..., dict[str, str]]) -> None:
    client = serve(rate="3/hour")
    busy, quiet = keyed(Scope.READ), keyed(Scope.READ)
    assert [client.get("/v1/taxonomy", headers=busy).status_code for _ in range(3)] == [200] * 3
    refused = client.get("/v1/taxonomy", headers=busy)
    assert "3 per 1 hour" in problem(refused, 429, "rate-limited")
    assert 0 < int(refused.headers["retry-after"]) <= 3600
    assert client.get("/v1/taxonomy", headers=quiet).status_code == 200
