"""What clients of huggingface's text-embeddings-inference (TEI) ask of a classifier: /predict and /info."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, StrictBool
from pydantic_core import to_json

from models.manifest import MODEL
from service.api import bodies
from service.api.dependencies import CurrentModel, CurrentSettings
from service.api.passages import EXAMPLE, Texts, checked
from service.api.problems import responses
from service.api.security import READS, SCORES
from service.errors import InvalidInput
from service.report import Classification

router = APIRouter(tags=["text-embeddings-inference"])


class PredictParameters(BaseModel):
    """None are known; huggingface's InferenceClient sends them empty."""

    model_config = ConfigDict(extra="forbid")


class PredictRequest(BaseModel):
    """One text, or a batch of texts, each in a list of its own."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"inputs": [[EXAMPLE]]}]})
    inputs: str | Texts | Annotated[list[Texts], Field(fail_fast=True)] = Field(
        description="A text, [text], or a batch [[text], [text]]. [text, text] is a pair to TEI, and refused."
    )
    raw_scores: StrictBool = Field(
        default=False, description="Refused if true: there are calibrated probabilities alone."
    )
    truncate: StrictBool | None = Field(
        default=None, description="Changes nothing: a long text is never cut, but read in windows, which are merged."
    )
    truncation_direction: Literal["left", "right", "Left", "Right"] = Field(
        default="right", description="Changes nothing, as truncate."
    )
    parameters: PredictParameters | None = None


class LabelScore(BaseModel):
    """A label, by axis and name, and its calibrated probability, rounded to four places."""

    label: str = Field(examples=["theme/thresholds"])
    score: float = Field(ge=0, le=1)


class LabelIndex(BaseModel):
    """The labels in the order of the model's outputs."""

    id2label: dict[str, str] = Field(examples=[{"0": "theme/thresholds"}])
    label2id: dict[str, int] = Field(examples=[{"theme/thresholds": 0}])


class ModelType(BaseModel):
    classifier: LabelIndex


class Info(BaseModel):
    """The model that answers, and the limits of a request: the fields of TEI that are true of candour."""

    model_id: str = Field(description="candour/ and the version of the model.")
    model_sha: str = Field(description="sha256 of the network.")
    model_type: ModelType
    max_concurrent_requests: int
    max_input_length: int = Field(
        description="Tokens of one window. A longer text is read in several, which are merged."
    )
    max_client_batch_size: int
    auto_truncate: Literal[False] = False
    version: str = Field(description="Version of candour.")


@router.post(
    "/predict",
    operation_id="predict",
    summary="Score texts, as text-embeddings-inference does",
    response_model=list[LabelScore] | list[list[LabelScore]],
    openapi_extra=bodies.documented({bodies.JSON: bodies.reference(PredictRequest)}),
    responses=responses(400, 413, 415, 422),
    dependencies=[SCORES],
)
async def predict(request: Request, model: CurrentModel, settings: CurrentSettings) -> Response:
    """Every label's probability, the highest first: a list for one text, a list of lists for a batch.

    A text may have several labels or none, so the probabilities are each label's own, and do not sum to one as those
    of TEI do. /v1/classify says which reach the model's thresholds.
    """
    asked = await bodies.call(request, PredictRequest, settings)
    if asked.raw_scores:
        raise InvalidInput("raw_scores: candour gives calibrated probabilities alone")
    texts = _texts(asked.inputs)
    checked(texts, settings)
    found = await model.classify(texts)
    if isinstance(asked.inputs, list) and isinstance(asked.inputs[0], list):
        return await bodies.written(lambda: to_json([_highest_first(one) for one in found]))
    return await bodies.written(lambda: to_json(_highest_first(found[0])))


def _texts(inputs: str | list[str] | list[list[str]]) -> list[str]:
    if isinstance(inputs, str):
        return [inputs]
    batch = [item for item in inputs if isinstance(item, list)]
    rows = batch or [[item for item in inputs if isinstance(item, str)]]
    for position, row in enumerate(rows):
        if len(row) != 1:
            held = f"input {position} holds {len(row):,} texts, and must hold one"
            raise InvalidInput(f"{held}: candour scores no pairs, and a batch is [[text], [text]]")
    return [row[0] for row in rows]


def scores(found: Classification) -> dict[str, float]:
    """Each label's probability, by its key (axis/name)."""
    by_theme = {f"theme/{name}": score for name, score in found.scores.themes.items()}
    return by_theme | {f"stance/{name}": score for name, score in found.scores.stances.items()}


def _highest_first(found: Classification) -> list[LabelScore]:
    ordered = sorted(scores(found).items(), key=lambda item: -item[1])
    return [LabelScore(label=key, score=score) for key, score in ordered]


@router.get(
    "/info",
    operation_id="info",
    summary="The model and its limits, as text-embeddings-inference says them",
    responses=responses(),
    dependencies=[READS],
)
async def info(model: CurrentModel, settings: CurrentSettings) -> Info:
    """The model and its limits."""
    held = model.manifest
    keys = [output.key for output in held.outputs]
    return Info(
        model_id=f"candour/{held.version}",
        model_sha=held.sha256[MODEL],
        model_type=ModelType(
            classifier=LabelIndex(
                id2label={str(index): key for index, key in enumerate(keys)},
                label2id={key: index for index, key in enumerate(keys)},
            )
        ),
        max_concurrent_requests=settings.max_requests,
        max_input_length=held.max_tokens,
        max_client_batch_size=settings.max_items,
        version=version("candour"),
    )
