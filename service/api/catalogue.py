"""What the labels mean, and which models there are."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from labels import taxonomy
from models import manifest
from models.manifest import Lineage, Output
from models.registry import Registry
from service.api.dependencies import CurrentSettings, Model
from service.api.problems import RESPONSES

router = APIRouter(prefix="/v1", tags=["catalogue"], responses={503: RESPONSES[503]})


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


@router.get("/taxonomy")
def labels() -> TaxonomyResponse:
    """What each label means."""
    found = taxonomy.load()
    by_axis: dict[str, list[LabelDefinition]] = {"theme": [], "stance": []}
    for label in found.labels:
        by_axis[label.axis].append(
            LabelDefinition(
                key=label.key, name=label.name, title=label.title, definition=label.definition,
                not_when=label.not_when, examples=list(label.examples),
            )
        )  # fmt: skip
    return TaxonomyResponse(
        version=found.version, sha256=found.digest, themes=by_axis["theme"], stances=by_axis["stance"]
    )


@router.get("/models")
def models(settings: CurrentSettings) -> ModelsResponse:
    """The models of the store."""
    registry = Registry(settings.store)
    aliases = registry.aliases()
    found, unusable = [], []
    for version in registry.versions():
        try:
            held = manifest.read(registry.root / version)
        except manifest.ArtefactError:
            unusable.append(version)
            continue
        found.append(ModelSummary(**_summary(held, aliases)))
    return ModelsResponse(models=found, unusable=unusable)


@router.get("/models/current")
def current(model: Model, settings: CurrentSettings) -> ModelDetails:
    """The model that answers now."""
    held = model.manifest
    return ModelDetails(
        **_summary(held, Registry(settings.store).aliases()),
        outputs=list(held.outputs),
        confident_at_most=held.abstention.bound,
        segmentation=held.segmentation,
        lineage=held.lineage,
    )


def _summary(held: manifest.Manifest, aliases: dict[str, str]) -> dict[str, Any]:
    names = sorted(alias for alias, version in aliases.items() if version == held.version)
    return {"version": held.version, "created": held.created, "aliases": names, "metrics": held.metrics}
