"""What the labels mean, and which models there are."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from labels import taxonomy
from models import manifest
from models.registry import Registry
from service.api.dependencies import CurrentModel, CurrentSettings
from service.api.problems import responses
from service.api.schemas import LabelDefinition, ModelDetails, ModelsResponse, ModelSummary, TaxonomyResponse
from service.api.security import READS

router = APIRouter(prefix="/v1", tags=["catalogue"], responses=responses(), dependencies=[READS])


@router.get("/taxonomy", operation_id="taxonomy", summary="What the labels mean")
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


@router.get("/models", operation_id="list_models", summary="The models of the store")
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


@router.get("/models/current", operation_id="current_model", summary="The model that answers")
def current(model: CurrentModel, settings: CurrentSettings) -> ModelDetails:
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
