"""The Open Inference Protocol (KServe's V2, over REST), with one model: candour."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt

from service.api import bodies, health
from service.api.dependencies import CurrentModel, CurrentSettings
from service.api.passages import EXAMPLE, Texts, checked
from service.api.predict import scores
from service.api.problems import responses
from service.api.security import READS, SCORES
from service.errors import InvalidInput, NotFound, UnsupportedBody
from service.report import Classification

NAME = "candour"
router = APIRouter(prefix="/v2", tags=["open-inference-protocol"])

OutputName = Literal["scores", "on", "primary_stance", "confident"]
Datatype = Literal["BOOL", "FP64", "BYTES"]
DATATYPES: dict[OutputName, Datatype] = {
    "scores": "FP64", "on": "BOOL", "primary_stance": "BYTES", "confident": "BOOL",
}  # fmt: skip
# Outputs with a column for each label.
BY_LABEL = ("scores", "on")


class ServerLive(BaseModel):
    live: Literal[True] = True


class ServerReady(BaseModel):
    ready: Literal[True] = True


class ServerMetadata(BaseModel):
    """extensions: none, so tensors are JSON alone."""

    name: str = NAME
    version: str
    extensions: list[str] = []


class TensorMetadata(BaseModel):
    """A tensor. shape: -1 for the number of texts."""

    name: str
    datatype: Datatype
    shape: list[int]
    labels: list[str] | None = Field(default=None, description="The label of each column, by axis and name.")


class ModelMetadata(BaseModel):
    """The model that answers, and its tensors."""

    name: str = NAME
    versions: list[str]
    platform: Literal["onnx_onnxv1"] = "onnx_onnxv1"
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ModelReady(BaseModel):
    name: str = NAME
    ready: Literal[True] = True


class InferParameters(BaseModel):
    """What clients add of themselves. None of it changes the answer, whose tensors are JSON."""

    model_config = ConfigDict(extra="forbid")
    binary_data: StrictBool | None = None
    binary_data_output: StrictBool | None = None
    content_type: Literal["str"] | None = Field(default=None, description="MLServer's name for texts.")


class InputTensor(BaseModel):
    """Texts. shape: [n] or [n, 1]."""

    model_config = ConfigDict(extra="forbid")
    name: Literal["text"]
    datatype: Literal["BYTES"]
    shape: list[StrictInt] = Field(min_length=1, max_length=2, fail_fast=True)
    parameters: InferParameters | None = None
    data: Texts | Annotated[list[Texts], Field(fail_fast=True)] = Field(
        description="The texts, row by row; for the shape [n, 1] each may be in a list of its own."
    )


class WantedOutput(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: OutputName
    parameters: InferParameters | None = None


class InferRequest(BaseModel):
    """One tensor of texts, and which outputs are wanted: all, unless some are named."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"id": "42", "inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": [EXAMPLE]}]}
            ]
        },
    )
    id: str | None = None
    parameters: InferParameters | None = None
    inputs: list[InputTensor] = Field(min_length=1, max_length=1, fail_fast=True)
    outputs: Annotated[list[WantedOutput], Field(fail_fast=True)] | None = None


class OutputTensor(BaseModel):
    """The data of all texts, row by row."""

    name: OutputName
    datatype: Datatype
    shape: list[int]
    data: list[float] | list[bool] | list[str]


class InferResponse(BaseModel):
    """The outputs, in the order asked for. id: that of the request, if it had one."""

    model_name: str = NAME
    model_version: str
    id: str | None = None
    outputs: list[OutputTensor]


async def _named(name: Annotated[str, Path(examples=[NAME])]) -> None:
    if name != NAME:
        raise NotFound(f"no model {name!r}; there is {NAME}")


async def _versioned(version: str, model: CurrentModel) -> None:
    if version != model.version:
        raise NotFound(f"no version {version!r} of {NAME}; there is {model.version}")


_BODY = bodies.documented({bodies.JSON: bodies.reference(InferRequest)})
NAMED = Depends(_named)
VERSIONED = Depends(_versioned)


@router.get("/health/live", operation_id="server_live", summary="Does the server answer?")
async def live() -> ServerLive:
    """The server answers."""
    return ServerLive()


@router.get(
    "/health/ready",
    operation_id="server_ready",
    summary="Can the server score?",
    responses={503: responses()[503]},
    dependencies=[Depends(health.ready)],
)
async def ready() -> ServerReady:
    """As /readyz."""
    return ServerReady()


@router.get(
    "", operation_id="server_metadata", summary="What server is this?", responses=responses(), dependencies=[READS]
)
async def server_metadata() -> ServerMetadata:
    """The server and its version."""
    return ServerMetadata(version=version("candour"))


@router.get(
    "/models/{name}/versions/{version}",
    operation_id="model_version_metadata",
    summary="The tensors of a version of the model",
    responses=responses(404, 422),
    response_model_exclude_none=True,
    dependencies=[READS, NAMED, VERSIONED],
)
@router.get(
    "/models/{name}",
    operation_id="model_metadata",
    summary="The tensors of the model",
    responses=responses(404, 422),
    response_model_exclude_none=True,
    dependencies=[READS, NAMED],
)
async def model_metadata(model: CurrentModel) -> ModelMetadata:
    """The model's version, and the names, types and shapes of its tensors; what label each column is for."""
    labels = [output.key for output in model.manifest.outputs]
    return ModelMetadata(
        versions=[model.version],
        inputs=[TensorMetadata(name="text", datatype="BYTES", shape=[-1])],
        outputs=[
            TensorMetadata(name=name, datatype=datatype, shape=[-1, len(labels)], labels=labels)
            if name in BY_LABEL
            else TensorMetadata(name=name, datatype=datatype, shape=[-1])
            for name, datatype in DATATYPES.items()
        ],
    )


@router.get(
    "/models/{name}/versions/{version}/ready",
    operation_id="model_version_ready",
    summary="Can a version of the model score?",
    responses=responses(404, 422),
    dependencies=[READS, NAMED, VERSIONED],
)
@router.get(
    "/models/{name}/ready",
    operation_id="model_ready",
    summary="Can the model score?",
    responses=responses(404, 422),
    dependencies=[READS, NAMED],
)
async def model_ready(model: CurrentModel) -> ModelReady:  # noqa: ARG001
    """The model is loaded."""
    return ModelReady()


@router.post(
    "/models/{name}/versions/{version}/infer",
    operation_id="model_version_infer",
    summary="Score texts with a version of the model",
    response_model=InferResponse,
    openapi_extra=_BODY,
    responses=responses(400, 404, 413, 415, 422),
    dependencies=[SCORES, NAMED, VERSIONED],
)
@router.post(
    "/models/{name}/infer",
    operation_id="model_infer",
    summary="Score texts",
    response_model=InferResponse,
    openapi_extra=_BODY,
    responses=responses(400, 404, 413, 415, 422),
    dependencies=[SCORES, NAMED],
)
async def infer(request: Request, model: CurrentModel, settings: CurrentSettings) -> Response:
    """Calibrated probabilities, labels on and off, the primary stance ("" for none), and whether it is confident.

    The columns of `scores` and `on` are the labels that the model's metadata names, in that order.
    """
    if "inference-header-content-length" in request.headers:  # a body that begins as JSON, and would be bad JSON
        raise UnsupportedBody("binary tensors (Inference-Header-Content-Length): send the data as JSON")
    asked = await bodies.call(request, InferRequest, settings)
    texts = _texts(asked.inputs[0])
    checked(texts, settings)
    found = await model.classify(texts)

    def answer() -> str:
        by_name = _outputs(found, [output.key for output in model.manifest.outputs])
        wanted = [output.name for output in asked.outputs or []] or list(by_name)
        outputs = [by_name[name] for name in dict.fromkeys(wanted)]
        return InferResponse(model_version=model.version, id=asked.id, outputs=outputs).model_dump_json(
            exclude_none=True
        )

    return await bodies.written(answer)


def _texts(tensor: InputTensor) -> list[str]:
    """The texts of a tensor. Raises InvalidInput where its shape is not that of its data."""
    rows = [[item] if isinstance(item, str) else item for item in tensor.data]
    nested = any(isinstance(item, list) for item in tensor.data)
    whole = all(len(row) == 1 for row in rows)
    fits = [[len(rows), 1]] if nested else [[len(rows)], [len(rows), 1]]
    if not whole or tensor.shape not in fits:
        raise InvalidInput(f"text: shape {tensor.shape} is not that of its data; send [n] or [n, 1], and n texts")
    return [row[0] for row in rows]


def _outputs(found: list[Classification], labels: list[str]) -> dict[OutputName, OutputTensor]:
    on = [{f"theme/{name}" for name in one.themes} | {f"stance/{name}" for name in one.stances} for one in found]
    data: dict[OutputName, Any] = {
        "scores": [by_label[key] for by_label in map(scores, found) for key in labels],
        "on": [key in keys for keys in on for key in labels],
        "primary_stance": [one.primary_stance or "" for one in found],
        "confident": [one.confident for one in found],
    }
    return {
        name: OutputTensor(
            name=name,
            datatype=datatype,
            shape=[len(found), len(labels)] if name in BY_LABEL else [len(found)],
            data=data[name],
        )
        for name, datatype in DATATYPES.items()
    }
