"""Passages over HTTP, with the shipped model."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from labels import taxonomy
from models.classifier import Classifier
from service import analysis
from tests.service.api.answers import problem

TEXTS = ["We are sorry that plans were late.", "Bins are emptied on Monday."]


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


@pytest.mark.parametrize("path", ["/v1/documents", "/v1/classify"])
def test_a_body_without_a_declared_length_is_bounded_too(client: TestClient, path: str) -> None:
    def chunks() -> Iterator[bytes]:
        yield b'{"input": "'
        for _ in range(300):
            yield b"a " * 500

    response = client.post(path, content=chunks(), headers={"content-type": "application/json"})
    assert "200,000 bytes" in problem(response, 413, "too-large")


@pytest.mark.parametrize(
    ("body", "faults"),
    [
        ({"input": "Plans drift.", "explain": 1}, 1),
        ({"input": "Plans drift."} | {f"more {n}": n for n in range(1_000)}, 20),
        ({"input": [1] * 10_000}, 2),
    ],
)
def test_another_form_is_refused_and_the_first_faults_named(
    client: TestClient, body: dict[str, Any], faults: int
) -> None:
    refused = client.post("/v1/classify", json=body)
    problem(refused, 422, "invalid-request")
    assert len(refused.json()["errors"]) == faults


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


def test_the_catalogue_names_labels_and_models(client: TestClient, champion: Classifier) -> None:
    labels = client.get("/v1/taxonomy").json()
    assert [label["key"] for label in labels["themes"] + labels["stances"]] == list(taxonomy.load().keys)
    current = client.get("/v1/models/current").json()
    assert current["version"] == champion.version and "champion" in current["aliases"]
    assert [output["key"] for output in current["outputs"]] == list(taxonomy.load().keys)
    models = client.get("/v1/models").json()
    assert champion.version in [model["version"] for model in models["models"]]
