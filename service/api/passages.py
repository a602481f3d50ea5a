"""Passages: texts in, labels out; and those of stored documents."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, field_validator
from starlette.concurrency import run_in_threadpool

from labels import taxonomy
from models import explanation
from service import batch
from service.api import bodies
from service.api.dependencies import CurrentModel, CurrentSettings, CurrentStore, Model
from service.api.lines import Lines, read
from service.api.middleware import NDJSON
from service.api.problems import responses
from service.api.schemas import ClassifyResponse, LabelledClassification
from service.api.security import READS, SCORES
from service.errors import InvalidInput, TooLarge
from service.outputs import line
from service.report import Classification, Failure, FoundPassage, Page
from service.settings import Settings
from service.store import PassageFilter

router = APIRouter(prefix="/v1", tags=["passages"])
EXAMPLE = "Visits to children were late in most of the cases we read."
# Lines of a stream that go to the model together, where so many wait.
CHUNK = 64
# One fault says enough of a list that may have a million.
Texts = Annotated[list[str], Field(fail_fast=True)]
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def _known(value: str, names: tuple[str, ...]) -> str:
    if value not in names:
        raise ValueError(f"there are {', '.join(names)}")
    return value


_LABELS = taxonomy.load()
# What passages can be narrowed by: the names of the taxonomy alone.
Theme = Annotated[
    str, AfterValidator(partial(_known, names=_LABELS.themes)), Field(json_schema_extra={"enum": [*_LABELS.themes]})
]
Stance = Annotated[
    str, AfterValidator(partial(_known, names=_LABELS.stances)), Field(json_schema_extra={"enum": [*_LABELS.stances]})
]


class ClassifyRequest(BaseModel):
    """One passage, or a list of them."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"input": [EXAMPLE], "explain": False}]})
    input: str | Texts
    explain: StrictBool = Field(
        default=False, description="Say what carries each label; a pass of the model for every word."
    )


def day(value: object) -> object:
    """Refuse what is no day as 2026-05-04 is one, for validators: Pydantic reads 0 and "0" as seconds since 1970."""
    if value is None or (isinstance(value, str) and _DAY.fullmatch(value)):
        return value
    raise ValueError("a day is written as 2026-05-04")


class PassageQuery(PassageFilter):
    """Which passages, and how many."""

    _day = field_validator("since", "until", mode="before")(day)
    theme: Theme | None = Field(default=None, description="The passage has this theme.")
    stance: Stance | None = Field(default=None, description="The passage has this stance.")
    cursor: str | None = Field(default=None, description="`next` of the page before.")
    limit: int | None = Field(default=None, ge=1, description="The most items of the page; 20 where none is given.")


_BODY = bodies.documented(
    {
        bodies.JSON: bodies.reference(ClassifyRequest),
        NDJSON: {
            "schema": {"type": "string", "description": 'A line each: {"id": text or number, "text": text}'},
            "example": f'{{"id": 1, "text": "{EXAMPLE}"}}\n',
        },
    }
)
_STREAM = {
    NDJSON: {
        "schema": {
            "type": "string",
            "description": 'A line for each line, in order: the labels with the id, or {"id", "line", "error"}.',
        }
    }
}


@router.post(
    "/classify",
    operation_id="classify",
    summary="Label passages",
    response_model=ClassifyResponse,
    openapi_extra=_BODY,
    responses=responses(400, 413, 415, 422) | {200: {"description": "Labels, in order.", "content": _STREAM}},
    dependencies=[SCORES],
)
async def classify(request: Request, model: CurrentModel, settings: CurrentSettings) -> Response:
    """Themes and stances of passages. A text longer than 90 words is read in windows, which are merged.

    Sent as lines of JSON (`application/x-ndjson`), passages are answered line by line while they come, however many
    there are; a bad line is answered by an error in its place. Read the answer while you send: a server whose answer
    is not read stops reading.
    """
    match bodies.media_type(request):
        case "application/json":
            return await _classified(await bodies.call(request, ClassifyRequest, settings), model, settings)
        case "application/x-ndjson":
            return Lines(_stream(request, model.streaming(), settings))
    raise bodies.refuse(request, bodies.JSON, NDJSON)


async def _classified(asked: ClassifyRequest, model: Model, settings: Settings) -> Response:
    texts = [asked.input] if isinstance(asked.input, str) else asked.input
    checked(texts, settings)
    if asked.explain and (words := sum(map(explanation.words, texts))) > settings.max_explained_words:
        limit = f"the limit is {settings.max_explained_words:,} with explain (CANDOUR_MAX_EXPLAINED_WORDS)"
        raise TooLarge(f"the inputs have {words:,} words together; {limit}")
    found = await model.classify(texts)
    why: list[dict[str, Any]] = [{} for _ in texts]
    if asked.explain:
        why = [{"explanations": item} for item in await model.explain(texts)]

    def answer() -> str:
        results = [_labelled(*both) for both in zip(found, why, strict=True)]
        return ClassifyResponse(model=model.version, results=results).model_dump_json(exclude_unset=True)

    return await bodies.written(answer)


def checked(texts: list[str], settings: Settings) -> None:
    """Raise TooLarge or InvalidInput where texts are not what one call may hold."""
    if len(texts) > settings.max_items:
        raise TooLarge(f"{len(texts):,} inputs; the limit is {settings.max_items:,} (CANDOUR_MAX_ITEMS)")
    if (total := sum(map(len, texts))) > settings.max_call_characters:
        limit = f"the limit is {settings.max_call_characters:,} (CANDOUR_MAX_CALL_CHARACTERS)"
        raise TooLarge(f"the inputs have {total:,} characters together; {limit}")
    for position, text in enumerate(texts):
        if len(text) > settings.max_characters:
            limit = f"the limit is {settings.max_characters:,} (CANDOUR_MAX_CHARACTERS)"
            raise TooLarge(f"input {position}: text has {len(text):,} characters; {limit}")
        try:
            batch.checked(text, settings.max_characters)
        except InvalidInput as error:
            raise InvalidInput(f"input {position}: {error}") from None


def _labelled(found: Classification, why: dict[str, Any]) -> LabelledClassification:
    on = {f"theme/{name}": name in found.themes for name in found.scores.themes}
    on |= {f"stance/{name}": name in found.stances for name in found.scores.stances}
    return LabelledClassification(labels=on, **why, **dict(found))


async def _stream(request: Request, model: Model, settings: Settings) -> AsyncIterator[bytes]:
    async for chunk in read(request, CHUNK, longest=batch.longest_line(settings.max_characters)):
        rows = [batch.row(number, content, settings.max_characters) for number, content in chunk]
        found = await model.classify([row[1] for row in rows if not isinstance(row, Failure)])
        yield "".join(map(line, batch.labelled(rows, found))).encode()


def next_page(operation: str) -> dict[str, Any]:
    """The link from a page to the next one, for the documentation of a listing."""
    return {"next": {"operationId": operation, "parameters": {"cursor": "$response.body#/next"}}}


@router.get(
    "/passages",
    operation_id="find_passages",
    summary="Search the passages of stored documents",
    responses=responses(422) | {200: {"links": next_page("find_passages")}},
    dependencies=[READS],
)
async def passages(
    where: Annotated[PassageQuery, Query()], store: CurrentStore, settings: CurrentSettings
) -> Page[FoundPassage]:
    """Passages that match all that is given: those of the newest document first, in its order."""
    return await run_in_threadpool(store.passages, where, where.cursor, bounded(where.limit, settings))


def bounded(limit: int | None, settings: Settings) -> int:
    """The limit of a page, as asked for. Raises InvalidInput."""
    if limit is None:
        return min(20, settings.max_listed)
    if limit > settings.max_listed:
        raise InvalidInput(f"limit is {limit:,}; the most is {settings.max_listed:,} (CANDOUR_MAX_LISTED)")
    return limit
