"""Corrections: what people say of passages, and what they should look at next."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from labels import taxonomy
from service import corrections
from service.api import bodies
from service.api.dependencies import CurrentModel, CurrentSettings, CurrentStore
from service.api.passages import bounded
from service.api.problems import responses
from service.api.security import NOBODY, READS, Labeller
from service.corrections import WHO, WHY, Correction, Corrections, Guide, Queue, Said
from service.report import FoundPassage
from service.review import review
from service.store import Store

router = APIRouter(prefix="/v1", tags=["corrections"])
_NAMES = Annotated[list[Annotated[str, Field(max_length=100)]], Field(max_length=50)]
_WHO = "The person who says so. Default: the key's name."


class CorrectionRequest(BaseModel):
    """The labels that a person gives a passage: all of them, those that the model got right among them."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "themes": ["care_planning"],
                    "stances": ["critical"],
                    "primary_stance": "critical",
                    "who": "Nerys Quill",
                    "why": "The plans are the council's; the passage finds fault with them.",
                }
            ]
        },
    )
    themes: _NAMES
    stances: _NAMES
    primary_stance: str | None = Field(
        default=None, max_length=100, description="The strongest of the stances; none where there is no stance."
    )
    who: str | None = Field(default=None, pattern=r"\S", max_length=WHO, description=_WHO)
    why: str | None = Field(default=None, max_length=WHY)
    guide: Guide | None = Field(
        default=None, description="The version of the labelling guide that was followed. Default: the present one."
    )


class QueueQuery(BaseModel):
    """Whose queue, and how much of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    who: str | None = Field(default=None, max_length=WHO, description="The person who asks. Default: the key's name.")
    limit: int | None = Field(default=None, ge=1, description="The most items; 20 where none is given.")


PassageId = Annotated[
    str, Path(description="The id of a passage of a stored document.", examples=["9f86d081884c7d65-0"])
]
_LINKS = {
    name: {"operationId": operation, "parameters": {"id": "$response.body#/items/0/id"}}
    for name, operation in (("get", "get_passage"), ("correct", "correct_passage"))
}


@router.get(
    "/passages/{id}",
    operation_id="get_passage",
    summary="A passage of a stored document",
    responses=responses(404, 422),
    dependencies=[READS],
)
def passage(id: PassageId, store: CurrentStore) -> FoundPassage:  # noqa: A002
    """A passage as the model labelled it, and what is known of its document."""
    return store.passage(id)


async def _sent(request: Request, _: Labeller) -> CorrectionRequest:
    return await bodies.json(request, CorrectionRequest)


@router.post(
    "/passages/{id}/labels",
    operation_id="correct_passage",
    summary="Correct a passage's labels",
    status_code=201,
    openapi_extra=bodies.documented({bodies.JSON: bodies.reference(CorrectionRequest)}),
    responses=responses(400, 404, 413, 415, 422),
)
def correct(
    id: PassageId,  # noqa: A002
    request: Annotated[CorrectionRequest, Depends(_sent)],
    store: CurrentStore,
    owner: Labeller,
) -> Correction:
    """Say what a passage's labels are. It is kept beside all that was said before, and the model's labels stand.

    It is of the passage's text, and holds wherever that text stands. It is forgotten with its document. Any name may be
    given as `who`; the key that the request came with is kept beside it.
    """
    labelling = taxonomy.load()
    said = Said(
        themes=tuple(request.themes),
        stances=tuple(request.stances),
        primary_stance=request.primary_stance,
        who=_who(request.who, owner, store),
        why=request.why,
        guide=request.guide or labelling.version,
    )
    return store.correct(id, said.checked(labelling), None if owner == NOBODY else owner)


@router.get(
    "/passages/{id}/labels",
    operation_id="list_corrections",
    summary="What people said of a passage",
    responses=responses(404, 422),
    dependencies=[READS],
)
def said_of(id: PassageId, store: CurrentStore) -> Corrections:  # noqa: A002
    """All that people said of a passage's text, each one's present labels, and whether these differ."""
    return corrections.overview(store.corrections(id))


@router.get(
    "/review",
    operation_id="review",
    summary="What to look at next",
    responses=responses(422) | {200: {"links": _LINKS}},
)
def queue(
    asked: Annotated[QueueQuery, Query()],
    model: CurrentModel,
    store: CurrentStore,
    settings: CurrentSettings,
    owner: Labeller,
) -> Queue:
    """The passages that are most worth a person's minute.

    By turns: those that the model doubts, those that the model before labelled differently, and those on which people
    disagree, for who has not labelled them yet, the likeliest errors first and no council's twice while another's
    waits; and each fifth drawn at random.
    """
    limit = bounded(asked.limit, settings)
    who = _who(asked.who, owner, store)
    return Queue(items=review(store, who.strip(), limit, model.manifest))


def _who(given: str | None, owner: str, store: Store) -> str:
    """The person, if named, else the name of the key; empty where there are no keys."""
    if given is not None or owner == NOBODY:
        return given or ""
    return store.key(owner).name
