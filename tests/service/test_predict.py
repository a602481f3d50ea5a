"""What clients of text-embeddings-inference ask, asked by a real one: huggingface_hub's."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError

from labels import taxonomy
from models.classifier import Classifier
from service.settings import Settings
from tests.service.api.answers import problem
from tests.service.serving import served

TEXTS = ["We are sorry that plans were late.", "Bins are emptied on Monday.", "Inspectors praised the managers. " * 80]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    database = tmp_path_factory.mktemp("predict") / "candour.db"
    limits = {"max_items": 50, "max_characters": 5_000, "max_call_characters": 40_000}
    with served(Settings(database=f"sqlite:///{database}", **limits)) as url, httpx.Client(base_url=url) as client:
        yield client


@pytest.fixture(scope="module")
def huggingface(client: httpx.Client) -> InferenceClient:
    return InferenceClient(model=f"{client.base_url}/predict")


@pytest.fixture(scope="module")
def expected(client: httpx.Client) -> list[dict[str, float]]:
    """The scores of TEXTS as /v1/classify gives them, by label."""
    results = client.post("/v1/classify", json={"input": TEXTS}).json()["results"]
    return [
        {f"theme/{name}": score for name, score in result["scores"]["themes"].items()}
        | {f"stance/{name}": score for name, score in result["scores"]["stances"].items()}
        for result in results
    ]


def test_a_batch_has_the_scores_of_classify_the_highest_first(
    client: httpx.Client, expected: list[dict[str, float]]
) -> None:
    found = client.post("/predict", json={"inputs": [[text] for text in TEXTS]}).json()
    assert [{row["label"]: row["score"] for row in rows} for rows in found] == expected
    for rows in found:
        assert [row["score"] for row in rows] == sorted((row["score"] for row in rows), reverse=True)
    assert {row["label"] for row in found[0][:2]} == {"theme/care_planning", "stance/apologetic"}


@pytest.mark.parametrize("inputs", [TEXTS[0], TEXTS[:1]])
def test_one_text_is_answered_by_one_list(
    client: httpx.Client, expected: list[dict[str, float]], inputs: str | list[str]
) -> None:
    found = client.post("/predict", json={"inputs": inputs}).json()
    assert {row["label"]: row["score"] for row in found} == expected[0]


@pytest.mark.parametrize(
    "more",
    [
        {"truncate": True, "truncation_direction": "Left"},
        {"truncate": False, "truncation_direction": "right"},
        {"truncate": None, "raw_scores": False, "parameters": {}},
    ],
)
def test_a_long_text_is_not_cut_whatever_truncate_says(
    client: httpx.Client, expected: list[dict[str, float]], more: dict[str, Any]
) -> None:
    found = client.post("/predict", json={"inputs": TEXTS[2], **more}).json()
    assert {row["label"]: row["score"] for row in found} == expected[2]


def test_huggingface_reads_a_batch(huggingface: InferenceClient, expected: list[dict[str, float]]) -> None:
    found = huggingface.text_classification([[TEXTS[0]]])  # type: ignore[arg-type]
    assert {row.label: row.score for row in found} == expected[0]


def test_of_one_text_huggingface_reads_the_highest_label_alone(
    huggingface: InferenceClient, expected: list[dict[str, float]]
) -> None:
    # TEI answers one text with one list, and this client takes the first of a list of lists.
    found: Any = huggingface.text_classification(TEXTS[0])
    assert (found.label, found.score) == max(expected[0].items(), key=lambda item: item[1])


def test_huggingface_says_what_was_refused(huggingface: InferenceClient) -> None:
    with pytest.raises(HfHubHTTPError) as caught:
        huggingface.text_classification("  ")
    assert caught.value.response.json()["detail"] == "input 0: text holds no word"
    with pytest.raises(HfHubHTTPError) as caught:
        huggingface.text_classification(TEXTS[0], top_k=2)
    assert caught.value.response.json()["errors"][0]["where"] == ["body", "parameters", "top_k"]


def test_huggingface_reads_the_model_and_its_limits(client: httpx.Client, champion: Classifier) -> None:
    found = InferenceClient(model=str(client.base_url), provider="hf-inference").get_endpoint_info()
    keys = taxonomy.load().keys
    assert found["model_id"] == f"candour/{champion.version}"
    assert found["model_sha"] == champion.manifest.sha256["model.onnx"]
    labels = found["model_type"]["classifier"]
    assert labels["id2label"] == {str(index): key for index, key in enumerate(keys)}
    assert labels["label2id"] == {key: index for index, key in enumerate(keys)}
    assert found["max_client_batch_size"] == 50 and found["max_input_length"] == champion.manifest.max_tokens
    over = client.post("/predict", json={"inputs": [["Plans drift."]] * (found["max_client_batch_size"] + 1)})
    assert "the limit is 50" in problem(over, 413, "too-large")


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        (["Plans drift.", "Reviews slip."], "input 0 holds 2 texts, and must hold one: candour scores no pairs"),
        ([["Plans drift."], ["Reviews slip.", "Plans drift."]], "input 1 holds 2 texts"),
        ([], "input 0 holds 0 texts"),
        ([["Plans drift."], []], "input 1 holds 0 texts"),
        ("", "input 0: text holds no word"),
    ],
)
def test_what_is_no_single_text_is_refused(client: httpx.Client, inputs: object, said: str) -> None:
    assert said in problem(client.post("/predict", json={"inputs": inputs}), 422, "invalid-input")


def test_half_of_a_surrogate_pair_is_no_json(client: httpx.Client) -> None:
    content = json.dumps({"inputs": "\ud800 drifts."})  # in ASCII, which httpx does not write
    problem(client.post("/predict", content=content), 400, "malformed-request")


def test_a_text_over_the_limit_is_too_large(client: httpx.Client) -> None:
    response = client.post("/predict", json={"inputs": [["Plans drift."], ["x " * 3_000]]})
    assert "input 1: text has 6,000 characters; the limit is 5,000" in problem(response, 413, "too-large")


def test_raw_scores_are_refused(client: httpx.Client) -> None:
    response = client.post("/predict", json={"inputs": "Plans drift.", "raw_scores": True})
    assert "calibrated probabilities alone" in problem(response, 422, "invalid-input")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"inputs": 7},
        {"inputs": [["Plans drift."], "Reviews slip."]},
        {"inputs": "Plans drift.", "truncation_direction": "up"},
        {"inputs": "Plans drift.", "raw_scores": 0},
        {"inputs": "Plans drift.", "top_k": 2},
    ],
)
def test_another_form_is_refused(client: httpx.Client, body: object) -> None:
    problem(client.post("/predict", json=body), 422, "invalid-request")


def test_a_hundred_thousand_wrong_texts_are_three_faults(client: httpx.Client) -> None:
    response = client.post("/predict", json={"inputs": [1] * 100_000})
    problem(response, 422, "invalid-request")
    assert len(response.json()["errors"]) == 3
