"""The HTTP API, with the shipped model."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from labels import taxonomy
from models.classifier import Classifier
from models.manifest import ArtefactError
from service import analysis, compare
from service.api.app import create_app
from service.settings import Settings

TEXTS = ["We are sorry that plans were late.", "Bins are emptied on Monday."]


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with TestClient(
        create_app(Settings(max_bytes=200_000, max_items=50, max_characters=5_000, max_call_characters=40_000))
    ) as client:
        yield client


def problem(response, status: int, type_: str) -> str:  # type: ignore[no-untyped-def]
    assert response.status_code == status and response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body["type"] == type_ and body["status"] == status and body["title"]
    return str(body["detail"])


def test_classify_one_and_many(client: TestClient, champion: Classifier) -> None:
    many = client.post("/v1/classify", json={"input": TEXTS}).json()
    one = client.post("/v1/classify", json={"input": TEXTS[0]}).json()
    assert many["model"] == champion.version and one["results"] == many["results"][:1]
    first = many["results"][0]
    assert set(first) == {"themes", "stances", "primary_stance", "scores", "confident", "model", "labels"}
    assert tuple(first["labels"]) == taxonomy.load().keys
    assert first["labels"]["stance/apologetic"] and first["primary_stance"] == "apologetic"
    assert [name for name, flag in first["labels"].items() if flag] == [
        *(f"theme/{name}" for name in first["themes"]),
        *(f"stance/{name}" for name in first["stances"]),
    ]


def test_the_answer_is_the_one_that_the_core_gives(client: TestClient, champion: Classifier) -> None:
    found = client.post("/v1/classify", json={"input": TEXTS}).json()["results"]
    for result, expected in zip(found, analysis.classify(TEXTS, champion), strict=True):
        assert {key: result[key] for key in expected.model_dump()} == expected.model_dump(mode="json")


@pytest.mark.parametrize(
    ("body", "type_", "said"),
    [
        ({"input": ""}, "invalid-input", "input 0: text holds no word"),
        ({"input": ["Fine.", "  "]}, "invalid-input", "input 1: text holds no word"),
        ({"input": "x " * 3_000}, "invalid-input", "the limit is 5,000"),
        ({"input": 7}, "invalid-request", "form"),
        ({}, "invalid-request", "form"),
        ({"input": "Fine.", "more": 1}, "invalid-request", "form"),
    ],
)
def test_classify_refuses(client: TestClient, body: object, type_: str, said: str) -> None:
    assert said in problem(client.post("/v1/classify", json=body), 422, type_)


def test_classify_refuses_too_many_inputs_and_what_is_not_json(client: TestClient) -> None:
    assert "the limit is 50" in problem(client.post("/v1/classify", json={"input": ["a"] * 51}), 413, "too-large")
    response = client.post("/v1/classify", content=b"{", headers={"content-type": "application/json"})
    problem(response, 422, "invalid-request")


def test_classify_refuses_inputs_that_are_too_much_together(client: TestClient) -> None:
    response = client.post("/v1/classify", json={"input": ["plans drift " * 300] * 12})
    assert "43,200 characters together; the limit is 40,000" in problem(response, 413, "too-large")


def test_a_file_and_inline_text_give_the_document_of_score(
    client: TestClient, champion: Classifier, release: str
) -> None:
    expected = analysis.analyse(release.encode(), champion).model_dump(mode="json")
    sent = client.post("/v1/documents", files={"file": ("release.txt", release.encode())})
    assert sent.status_code == 200 and sent.json() == expected | {"path": "release.txt"}
    inline = client.post("/v1/documents", json={"text": release, "title": "Ours"}).json()
    assert inline == expected | {"title": "Ours"}
    page = client.post("/v1/documents", json={"html": "<p>The director resigned over the failings.</p>"}).json()
    assert page["media_type"] == "text/html" and page["summary"]["passages"] == 1


@pytest.mark.parametrize(
    ("content", "status", "type_"),
    [
        (b"", 422, "empty-document"),
        (bytes(range(256)) * 40, 415, "unsupported-document"),
        (b"%PDF-1.7 and then nothing", 422, "damaged-document"),
        (b"a" * 200_001, 413, "too-large"),
    ],
)
def test_documents_refuses(client: TestClient, content: bytes, status: int, type_: str) -> None:
    problem(client.post("/v1/documents", files={"file": ("a.pdf", content)}), status, type_)


@pytest.mark.parametrize("body", [{}, {"text": "a", "html": "b"}, {"text": 1}, {"text": "a", "x": 1}, []])
def test_inline_documents_of_another_form_are_refused(client: TestClient, body: object) -> None:
    problem(client.post("/v1/documents", content=json.dumps(body)), 422, "invalid-input")


@pytest.mark.parametrize("path", ["/v1/documents", "/v1/classify"])
def test_a_body_without_a_declared_length_is_bounded_too(client: TestClient, path: str) -> None:
    def chunks() -> Iterator[bytes]:
        yield b'{"input": "'
        for _ in range(300):
            yield b"a " * 500

    response = client.post(path, content=chunks(), headers={"content-type": "application/json"})
    assert "200,000 bytes" in problem(response, 413, "too-large")


def test_the_form_type_is_read_without_regard_to_case(client: TestClient) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\nPlans drift.\r\n--x--\r\n'
    response = client.post("/v1/documents", content=body, headers={"content-type": "Multipart/Form-Data; boundary=x"})
    assert response.status_code == 200 and response.json()["passages"][0]["text"] == "Plans drift."


def test_a_body_of_another_type_is_refused_by_its_name(client: TestClient) -> None:
    response = client.post("/v1/documents", content=b"%PDF-", headers={"content-type": "application/pdf"})
    assert "application/pdf" in problem(response, 415, "unsupported-body")


def test_every_answer_names_the_model(client: TestClient, champion: Classifier) -> None:
    answers = [client.get("/livez"), client.head("/readyz"), client.get("/v1/nothing"), client.post("/v1/classify")]
    assert [answer.headers["candour-model"] for answer in answers] == [champion.version] * 4


def test_a_form_without_a_file_is_refused(client: TestClient) -> None:
    problem(client.post("/v1/documents", files={"other": ("a.txt", b"x")}), 422, "invalid-input")


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


def test_unknown_paths_and_methods_are_problems_too(client: TestClient) -> None:
    problem(client.get("/v1/nothing"), 404, "not-found")
    problem(client.get("/v1/classify"), 405, "method-not-allowed")


def test_a_model_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="no model"), TestClient(create_app(Settings(store=tmp_path))):
        pass


def test_explanations_come_when_asked_for(client: TestClient) -> None:
    plain = client.post("/v1/classify", json={"input": TEXTS}).json()["results"]
    explained = client.post("/v1/classify", json={"input": TEXTS, "explain": True}).json()["results"]
    for without, found in zip(plain, explained, strict=True):
        why = found.pop("explanations")
        assert found == without
        assert {item["label"] for item in why} == {key for key, on in found["labels"].items() if on}
    (long,) = client.post("/v1/classify", json={"input": "late " * 501, "explain": True}).json()["results"]
    assert long["explanations"] is None and long["scores"]
    many = client.post("/v1/classify", json={"input": ["late " * 300] * 7, "explain": True})
    assert "CANDOUR_MAX_EXPLAINED_WORDS" in problem(many, 413, "too-large")


def test_compare_answers_like_the_command(client: TestClient, champion: Classifier) -> None:
    report = (
        "Plans for children in care drift, and reviews are late.\n\nManagers do not know how many visits are missed.\n"
    )
    response = "We are sorry that plans for children in care drift. We accept every word of it.\n"
    body = {"report": {"text": report, "title": "Letter"}, "response": {"text": response}}
    found = client.post("/v1/compare", json=body).json()
    expected = compare.compare(
        analysis.analyse(report.encode(), champion), analysis.analyse(response.encode(), champion), taxonomy.load()
    )
    assert found == expected.model_dump(mode="json")
    assert {t["theme"]: t["verdict"] for t in found["themes"]}["care_planning"] == "apologised"
    problem(client.post("/v1/compare", json={"report": {"text": "A."}}), 422, "invalid-request")
    problem(client.post("/v1/compare", json=body | {"response": {"text": " "}}), 422, "empty-document")


def test_the_catalogue_names_labels_and_models(client: TestClient, champion: Classifier) -> None:
    labels = client.get("/v1/taxonomy").json()
    assert [label["key"] for label in labels["themes"] + labels["stances"]] == list(taxonomy.load().keys)
    current = client.get("/v1/models/current").json()
    assert current["version"] == champion.version and "champion" in current["aliases"]
    assert [output["key"] for output in current["outputs"]] == list(taxonomy.load().keys)
    models = client.get("/v1/models").json()
    assert champion.version in [model["version"] for model in models["models"]]
