"""The Open Inference Protocol, spoken by a real client: Triton's."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from fastapi.testclient import TestClient
from tritonclient.utils import InferenceServerException

from labels import taxonomy
from models.classifier import Classifier
from service.api.app import create_app
from service.keys import Scope
from service.settings import Settings
from service.store import Store
from tests.service.api.answers import problem
from tests.service.serving import served

TEXTS = ["We are sorry that plans were late.", "Bins are emptied on Monday.", "“Ñandú” – we praise the night team."]
INFER = "/v2/models/candour/infer"
OUTPUTS = ["scores", "on", "primary_stance", "confident"]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    database = tmp_path_factory.mktemp("inference") / "candour.db"
    with (
        served(Settings(database=f"sqlite:///{database}", max_items=50)) as url,
        httpx.Client(base_url=url) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def server(client: httpx.Client) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(f"{client.base_url.host}:{client.base_url.port}") as server:
        yield server


def tensor(texts: list[str], *, column: bool = False, binary: bool = False) -> triton.InferInput:
    array = np.array(texts, dtype=np.object_).reshape((-1, 1) if column else (-1,))
    found = triton.InferInput("text", list(array.shape), "BYTES")
    return found.set_data_from_numpy(array, binary_data=binary)


def request(**changes: Any) -> dict[str, Any]:
    """A request for one text, its tensor changed."""
    return {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["Plans drift."]} | changes]}


def test_triton_is_told_that_the_server_and_the_model_are_ready(
    server: triton.InferenceServerClient, champion: Classifier
) -> None:
    assert server.is_server_live() and server.is_server_ready()
    assert server.is_model_ready("candour") and server.is_model_ready("candour", champion.version)
    assert not server.is_model_ready("other") and not server.is_model_ready("candour", "1")


def test_a_server_without_its_model_is_live_and_not_ready(tmp_path: Path) -> None:
    starting = TestClient(create_app(Settings(database=f"sqlite:///{tmp_path}/candour.db")))
    assert starting.get("/v2/health/live").json() == {"live": True}
    problem(starting.get("/v2/health/ready"), 503, "not-ready")


def test_the_metadata_names_the_tensors_and_the_label_of_each_column(
    server: triton.InferenceServerClient, champion: Classifier
) -> None:
    assert server.get_server_metadata()["name"] == "candour"
    found = server.get_model_metadata("candour")
    assert found == server.get_model_metadata("candour", champion.version)
    assert (found["name"], found["versions"]) == ("candour", [champion.version])
    assert found["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
    keys = list(taxonomy.load().keys)
    assert found["outputs"] == [
        {"name": "scores", "datatype": "FP64", "shape": [-1, len(keys)], "labels": keys},
        {"name": "on", "datatype": "BOOL", "shape": [-1, len(keys)], "labels": keys},
        {"name": "primary_stance", "datatype": "BYTES", "shape": [-1]},
        {"name": "confident", "datatype": "BOOL", "shape": [-1]},
    ]


@pytest.mark.parametrize("column", [False, True])
def test_triton_reads_the_labels_of_classify(
    client: httpx.Client, server: triton.InferenceServerClient, column: bool
) -> None:
    expected = client.post("/v1/classify", json={"input": TEXTS}).json()["results"]
    found = server.infer("candour", [tensor(TEXTS, column=column)])
    on = found.as_numpy("on")
    assert on.dtype == np.bool_ and on.tolist() == [list(result["labels"].values()) for result in expected]
    assert found.as_numpy("scores").tolist() == [
        [*result["scores"]["themes"].values(), *result["scores"]["stances"].values()] for result in expected
    ]
    assert found.as_numpy("primary_stance").tolist() == [result["primary_stance"] or "" for result in expected]
    assert found.as_numpy("confident").tolist() == [result["confident"] for result in expected]
    assert {result["primary_stance"] for result in expected} == {"apologetic", None, "supportive"}


def test_triton_has_the_outputs_that_it_asks_for_and_its_id(
    server: triton.InferenceServerClient, champion: Classifier
) -> None:
    wanted = [triton.InferRequestedOutput("confident"), triton.InferRequestedOutput("scores", binary_data=False)]
    found = server.infer("candour", [tensor(TEXTS)], champion.version, wanted, request_id="42").get_response()
    assert [output["name"] for output in found["outputs"]] == ["confident", "scores"]
    assert (found["model_name"], found["model_version"], found["id"]) == ("candour", champion.version, "42")


def test_binary_tensors_are_refused(server: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="binary tensors") as caught:
        server.infer("candour", [tensor(TEXTS, binary=True)])
    assert caught.value.status() == "415"


def test_a_plain_request_is_answered_without_what_it_did_not_send(client: httpx.Client) -> None:
    found = client.post(INFER, json=request()).json()
    assert set(found) == {"model_name", "model_version", "outputs"}
    assert [output["name"] for output in found["outputs"]] == OUTPUTS
    nested = client.post(INFER, json=request(shape=[1, 1], data=[["Plans drift."]], parameters={"content_type": "str"}))
    assert nested.json() == found


def test_no_texts_have_no_rows(client: httpx.Client) -> None:
    found = client.post(INFER, json=request(shape=[0], data=[])).json()
    columns = len(taxonomy.load().keys)
    assert [output["shape"] for output in found["outputs"]] == [[0, columns], [0, columns], [0], [0]]
    assert all(output["data"] == [] for output in found["outputs"])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"shape": [2]}, "shape [2] is not that of its data"),
        ({"shape": [1, 2], "data": ["Plans drift.", "Reviews slip."]}, "shape [1, 2] is not that of its data"),
        ({"shape": [-1]}, "shape [-1] is not that of its data"),
        ({"data": [["Plans drift."]]}, "shape [1] is not that of its data"),
        ({"shape": [1, 2], "data": [["Plans drift.", "Reviews slip."]]}, "shape [1, 2] is not that of its data"),
        ({"shape": [2, 1], "data": [["Plans drift."], []]}, "shape [2, 1] is not that of its data"),
        ({"data": [""]}, "input 0: text holds no word"),
    ],
)
def test_a_tensor_that_is_not_of_its_shape_is_refused(client: httpx.Client, changes: dict[str, Any], said: str) -> None:
    assert said in problem(client.post(INFER, json=request(**changes)), 422, "invalid-input")


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (request(name="image"), ["body", "inputs", 0, "name"]),
        (request(datatype="FP32"), ["body", "inputs", 0, "datatype"]),
        (request(shape=[1, 1, 1]), ["body", "inputs", 0, "shape"]),
        (request(parameters={"binary_data_size": 9}), ["body", "inputs", 0, "parameters", "binary_data_size"]),
        ({"inputs": []}, ["body", "inputs"]),
        ({"inputs": request()["inputs"] * 2}, ["body", "inputs"]),
        (request() | {"outputs": [{"name": "labels"}]}, ["body", "outputs", 0, "name"]),
        (request(shape=["1"] * 1_000), ["body", "inputs", 0, "shape", 0]),
        ({"inputs": [1] * 1_000}, ["body", "inputs", 0]),
        (request() | {"more": 1}, ["body", "more"]),
    ],
)
def test_what_the_model_does_not_have_is_refused_by_its_place(
    client: httpx.Client, body: dict[str, Any], where: list[str | int]
) -> None:
    response = client.post(INFER, content=json.dumps(body))
    problem(response, 422, "invalid-request")
    assert [fault["where"] for fault in response.json()["errors"]] == [where]


def test_another_model_or_version_is_not_found(client: httpx.Client, champion: Classifier) -> None:
    for path in ("/v2/models/other", "/v2/models/candour/versions/1"):
        for response in (client.get(path), client.get(f"{path}/ready"), client.post(f"{path}/infer", json=request())):
            assert "there is" in problem(response, 404, "not-found")
    found = client.post(f"/v2/models/candour/versions/{champion.version}/infer", json=request())
    assert found.status_code == 200 and found.json()["model_version"] == champion.version


def test_the_limits_are_those_of_classify(client: httpx.Client) -> None:
    response = client.post(INFER, json=request(shape=[51], data=["Plans drift."] * 51))
    assert "the limit is 50" in problem(response, 413, "too-large")
    problem(client.post(INFER, content=b"{"), 400, "malformed-request")
    problem(client.post(INFER, data={"text": "Plans drift."}), 415, "unsupported-body")


def test_health_needs_no_key_and_the_rest_a_scope(tmp_path: Path) -> None:
    settings = Settings(database=f"sqlite:///{tmp_path}/candour.db")
    with served(settings) as url, httpx.Client(base_url=url) as client:
        with closing(Store(settings.database)) as store:
            reads, scores = (
                {"Authorization": f"Bearer {store.create_key('newsroom', [scope])[1]}"}
                for scope in (Scope.READ, Scope.SCORE)
            )
        for path in ("/v2/health/live", "/v2/health/ready"):
            assert client.get(path).status_code == 200
        for path in ("/v2", "/v2/models/candour", "/v2/models/candour/ready", "/info"):
            problem(client.get(path), 401, "unauthorised")
            problem(client.get(path, headers=scores), 403, "forbidden")
            assert client.get(path, headers=reads).status_code == 200
        for path, body in ((INFER, request()), ("/predict", {"inputs": "Plans drift."})):
            problem(client.post(path, json=body), 401, "unauthorised")
            problem(client.post(path, json=body, headers=reads), 403, "forbidden")
            assert client.post(path, json=body, headers=scores).status_code == 200
