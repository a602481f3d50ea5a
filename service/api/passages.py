"""Passages: texts in, labels out."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from models import explanation
from service import analysis, batch
from service.api.dependencies import CurrentSettings, Model
from service.api.problems import RESPONSES
from service.errors import InvalidInput, TooLarge
from service.report import Classification, Explanation

router = APIRouter(prefix="/v1", tags=["passages"], responses=RESPONSES)


class ClassifyRequest(BaseModel):
    """One passage, or a list of them."""

    model_config = {"extra": "forbid"}
    input: Annotated[str | list[str], Field(examples=["Visits to children were late in most of the cases we read."])]
    explain: bool = Field(default=False, description="Say what carries each label; a pass of the model for every word.")


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


@router.post("/classify", response_model_exclude_unset=True)
def classify(request: ClassifyRequest, model: Model, settings: CurrentSettings) -> ClassifyResponse:
    """Themes and stances of passages. A text longer than 90 words is read in windows, which are merged."""
    texts = [request.input] if isinstance(request.input, str) else request.input
    if len(texts) > settings.max_items:
        raise TooLarge(f"{len(texts):,} inputs; the limit is {settings.max_items:,} (CANDOUR_MAX_ITEMS)")
    if (total := sum(map(len, texts))) > settings.max_call_characters:
        limit = f"the limit is {settings.max_call_characters:,} (CANDOUR_MAX_CALL_CHARACTERS)"
        raise TooLarge(f"the inputs have {total:,} characters together; {limit}")
    for position, text in enumerate(texts):
        try:
            batch.checked(text, settings.max_characters)
        except InvalidInput as error:
            raise InvalidInput(f"input {position}: {error}") from None
    if request.explain and (words := sum(map(explanation.words, texts))) > settings.max_explained_words:
        limit = f"the limit is {settings.max_explained_words:,} with explain (CANDOUR_MAX_EXPLAINED_WORDS)"
        raise TooLarge(f"the inputs have {words:,} words together; {limit}")
    found = analysis.classify(texts, model)
    why: list[dict[str, Any]] = [{} for _ in texts]
    if request.explain:
        why = [{"explanations": item} for item in analysis.explain(texts, model)]
    return ClassifyResponse(model=model.version, results=[_labelled(*both) for both in zip(found, why, strict=True)])


def _labelled(found: Classification, why: dict[str, Any]) -> LabelledClassification:
    on = {f"theme/{name}": name in found.themes for name in found.scores.themes}
    on |= {f"stance/{name}": name in found.stances for name in found.scores.stances}
    return LabelledClassification(labels=on, **why, **dict(found))
