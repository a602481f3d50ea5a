"""The documentation: a page that loads nothing from elsewhere, and an OpenAPI that says what is sent."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
from fastapi.testclient import TestClient

from service import errors
from service.api import documents, problems
from service.api.examples import EXAMPLES
from service.api.problems import MEANING, STATUS

README = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
SENDERS = ("src", "href", "action", "data", "srcset", "poster")


class References(HTMLParser):
    """What a page loads, by its address as it is written there."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        self.found += [value for name, value in attrs if name in SENDERS and value]


@pytest.fixture
def schema(client: TestClient) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/openapi.json").json()
    return found


def operations(schema: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, found in schema["paths"].items():
        for method, operation in found.items():
            yield path, method, operation


def test_the_page_loads_nothing_from_elsewhere(client: TestClient) -> None:
    page = client.get("/docs").text
    parser = References()
    parser.feed(page)
    assert len(parser.found) == 3 and "//" not in re.sub(r"<!--.*?-->", "", page)
    for reference in [*parser.found, *re.findall("url: '(.*)'", page)]:
        found = client.get(urljoin("/docs", reference))
        assert found.status_code == 200 and len(found.content) > 500
    style = client.get("/docs/files/swagger-ui.css").text
    assert not re.search(r"@import|url\(\s*[\"']?(?!data:|[\"'])", style)
    assert client.get("/redoc").status_code == 404


def test_the_document_is_made_before_it_is_asked_for(client: TestClient) -> None:
    app: Any = client.app
    assert app.openapi() is app.openapi_schema and client.get("/openapi.json").json() == app.openapi_schema


def test_each_reference_of_the_document_leads_to_something(schema: dict[str, Any]) -> None:
    references = set(re.findall(r"'\$ref': '(.*?)'", str(schema)))
    assert len(references) > 20
    for reference in references:
        found = schema
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]


def test_errors_are_documented_as_they_are_sent(schema: dict[str, Any]) -> None:
    for path, method, operation in operations(schema):
        for status, response in operation["responses"].items():
            assert {"X-Request-ID", "Candour-Model"} <= response["headers"].keys(), (path, method, status)
            assert ("Retry-After" in response["headers"]) == (status in ("429", "503")), (path, method, status)
            if status >= "400":
                assert list(response["content"]) == ["application/problem+json"], (path, method, status)


def test_bodies_are_documented_by_their_forms(schema: dict[str, Any]) -> None:
    for path in ("/v1/classify", "/v1/documents", "/v1/compare", "/predict", "/v2/models/{name}/infer"):
        body = schema["paths"][path]["post"]["requestBody"]
        form = schema["components"]["schemas"][body["content"]["application/json"]["schema"]["$ref"].split("/")[-1]]
        assert body["required"] and form["properties"] and form["examples"]


def names(value: Any) -> Any:
    """The names that an answer has, and those of the first object of each of its lists."""
    if isinstance(value, list):
        return [names(item) for item in value[:1] if isinstance(item, dict | list)]
    return {name: names(item) if isinstance(item, list) else None for name, item in value.items()}


def test_the_examples_are_what_is_answered(client: TestClient, schema: dict[str, Any]) -> None:
    assert client.post("/v1/documents", json=documents.EXAMPLE).json()["id"] == EXAMPLES["score_document"]["id"]
    shown = {}
    for path, method, operation in operations(schema):
        name = operation["operationId"]
        if "example" not in operation["responses"].get("200", {}).get("content", {}).get("application/json", {}):
            continue
        shown[name] = operation["responses"]["200"]["content"]["application/json"]["example"]
        body = None
        if method == "post":
            form = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].split("/")[-1]
            body = schema["components"]["schemas"][form]["examples"][0]
        address = path.format(name="candour", id=EXAMPLES["score_document"]["id"])
        assert names(client.request(method, address, json=body).json()) == names(shown[name]), name
    assert shown == EXAMPLES


def raised() -> dict[str, int]:
    """The status of each type of the domain's errors."""
    found = {
        error.type: error
        for error in vars(errors).values()
        if isinstance(error, type) and issubclass(error, errors.CandourError)
    }
    return {
        type_: next(status for kind, status in STATUS.items() if issubclass(error, kind))
        for type_, error in found.items()
    }


def test_each_type_of_error_is_in_the_documentation_and_the_readme(schema: dict[str, Any]) -> None:
    described = {
        int(status): response["description"]
        for _, _, operation in operations(schema)
        for status, response in operation["responses"].items()
        if status >= "400"
    }
    assert described.keys() == MEANING.keys() == problems.types().keys()
    statuses = raised()
    for status, names in problems.types().items():
        listed = ", ".join(f"`{name}`" for name in names)
        assert names and listed in described[status]
        assert f"| {status} | {listed} | {MEANING[status]} |" in README
        assert all(statuses.get(name, 422) == status for name in names)
