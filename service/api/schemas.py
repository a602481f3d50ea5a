"""What the API answers with, beside the results of service.report. Imports nothing heavy: the client uses it, too."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from models.manifest import Lineage, Output
from service.report import Classification, Explanation


class Fault(BaseModel):
    """One place of a request that was wrong."""

    where: list[str | int] = Field(examples=[["body", "input"]])
    detail: str


class ProblemDetails(BaseModel):
    """RFC 9457. type is stable; `errors` names places in the request that were wrong, the first twenty of them."""

    type: str = Field(examples=["invalid-request"])
    title: str = Field(examples=["Unprocessable Content"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["the request does not have the form that it must have"])
    error: str = Field(description="detail again, where clients of the Open Inference Protocol and of TEI look for it.")
    errors: list[Fault] | None = None


class LabelledClassification(Classification):
    """A classification, with every label of the model as on or off."""

    labels: dict[str, bool] = Field(description="Every label, by axis and name (theme/thresholds), on or off.")
    explanations: list[Explanation] | None = Field(
        default=None, description="With explain: one for each label that is on; null for a text of more than 500 words."
    )


class ClassifyResponse(BaseModel):
    """Results in the order of the input."""

    model: str
    results: list[LabelledClassification]


class LabelDefinition(BaseModel):
    """What one label means. key: axis and name, as in theme/thresholds."""

    key: str
    name: str
    title: str
    definition: str
    not_when: str
    examples: list[str]


class TaxonomyResponse(BaseModel):
    """The labels of each axis, in the order of every list of labels."""

    version: str
    sha256: str
    themes: list[LabelDefinition]
    stances: list[LabelDefinition]


class ModelSummary(BaseModel):
    """A published model. aliases: the names under which it is served, such as champion."""

    version: str
    created: datetime
    aliases: list[str]
    metrics: dict[str, float]


class ModelDetails(ModelSummary):
    """The model that answers: its thresholds, and where it comes from."""

    outputs: list[Output]
    confident_at_most: float
    segmentation: str
    lineage: Lineage


class ModelsResponse(BaseModel):
    """Every model of the store, by version. unusable: versions that another candour made, or that are damaged."""

    models: list[ModelSummary]
    unusable: list[str]


class Ready(BaseModel):
    """model: the version that answers. problem: why it is not the one that was promoted since."""

    status: Literal["ready"] = "ready"
    model: str
    problem: str | None = None
