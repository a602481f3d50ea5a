"""Documents: a file in, its scored passages out; kept, found again and forgotten."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import suppress
from dataclasses import replace
from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from labels.dataset import Kind
from labels.passages import SEGMENTATION
from service import analysis
from service.api import bodies
from service.api.dependencies import CurrentModel, CurrentParsers, CurrentSettings, CurrentStore, Model
from service.api.passages import Stance, Theme, bounded, day, next_page
from service.api.problems import responses
from service.api.security import READS, Admin, Scorer
from service.errors import NotFound, TooLarge
from service.parsing import Parsers
from service.report import DocumentSummary, Metadata, Page, ScoredDocument
from service.settings import Settings
from service.store import DocumentFilter, Once

router = APIRouter(prefix="/v1", tags=["documents"])
EXAMPLE: dict[str, Any] = {
    "text": "We are sorry that too many children waited for help. Two more teams begin in May.",
    "title": "Our response to the inspection",
    "council": "Tarnholme",
    "published": "2026-05-04",
    "kind": "council_release",
}


class GivenMetadata(BaseModel):
    """What the sender knows of a document; it takes the place of what the document says of itself."""

    model_config = ConfigDict(extra="forbid")
    title: str | None = Field(default=None, max_length=1_000)
    council: str | None = Field(default=None, max_length=200, description="The council that it is about.")
    published: date | None = None
    kind: Kind | None = Field(default=None, description="What sort of document it is.")
    url: str | None = Field(default=None, max_length=2_000, pattern="^https?://", description="Where it was published.")
    _day = field_validator("published", mode="before")(day)

    @property
    def metadata(self) -> Metadata:
        return Metadata.model_validate(self, from_attributes=True)


# The validator of InlineDocument, as a schema says it.
_ONE_CONTENT: list[Any] = [
    {"properties": {given: {"type": "string"}, other: {"type": "null"}}, "required": [given]}
    for given, other in (("text", "html"), ("html", "text"))
]


class InlineDocument(GivenMetadata):
    """A document in the request itself: its text or its HTML, and what is known of it."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [EXAMPLE], "oneOf": _ONE_CONTENT})
    text: str | None = None
    html: str | None = None

    @model_validator(mode="after")
    def _one_content(self) -> InlineDocument:
        if (self.text is None) == (self.html is None):
            raise ValueError("exactly one of text and html must be given")
        return self

    @property
    def content(self) -> bytes:
        return (self.html or self.text or "").encode(errors="surrogatepass")


class DocumentQuery(DocumentFilter):
    """Which documents, and how many."""

    _day = field_validator("since", "until", mode="before")(day)
    theme: Theme | None = Field(default=None, description="A passage has this theme.")
    stance: Stance | None = Field(default=None, description="A passage has this stance, and the theme if one is given.")
    cursor: str | None = Field(default=None, description="`next` of the page before.")
    limit: int | None = Field(default=None, ge=1, description="The most items of the page; 20 where none is given.")


_FORM = GivenMetadata.model_json_schema()
_FORM["required"] = ["file"]
# A form has no null: what is not known is left out, or empty.
_FORM["properties"] = {"file": {"type": "string", "format": "binary"}} | {
    name: {**schema, "anyOf": [{"const": ""}, schema["anyOf"][0]], "default": ""}
    for name, schema in _FORM["properties"].items()
}
_BODY = bodies.documented(
    {
        "multipart/form-data": {"schema": _FORM},
        bodies.JSON: bodies.reference(InlineDocument),
    }
)
_LINKS = {
    name: {"operationId": f"{name}_document", "parameters": {"id": "$response.body#/id"}} for name in ("get", "delete")
}
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=200,
        pattern="^[!-~]+$",
        description="A name of yours for this request: sent again within a day it does nothing more, and answers with "
        "what it has made, as that is by then (404 if it was deleted); with another body it is a 422.",
    ),
]
DocumentId = Annotated[str, Path(description="The id of a stored document.", examples=["9f86d081884c7d65"])]


@router.post(
    "/documents",
    operation_id="score_document",
    summary="Score and keep a document",
    openapi_extra=_BODY,
    responses=responses(400, 404, 409, 413, 415, 422) | {200: {"links": _LINKS}},
)
async def score(
    request: Request,
    owner: Scorer,
    model: CurrentModel,
    store: CurrentStore,
    parsers: CurrentParsers,
    settings: CurrentSettings,
    idempotency_key: IdempotencyKey = None,
) -> ScoredDocument:
    """Score a document: a file (multipart field `file`; PDF, DOCX, HTML, EML, Markdown or text), or JSON.

    The same content is one document however often it is sent; what is given of it the last time (title, council,
    published, kind, url) holds.
    """
    content, path, given = await _sent(request, settings)
    sha256 = hashlib.sha256(content).hexdigest()
    once = None
    if idempotency_key is not None:
        asked = f"{sha256} {path} {given.model_dump_json(include=set(GivenMetadata.model_fields))}"
        once = Once(owner=owner, key=idempotency_key, digest=hashlib.sha256(asked.encode()).hexdigest())
        if made := await run_in_threadpool(store.recall, once):
            return await run_in_threadpool(store.get, made)
    if await run_in_threadpool(store.version, sha256) == (model.version, SEGMENTATION):
        with suppress(NotFound):  # deleted since, as it may have been rescored by another process's model
            held = await run_in_threadpool(store.update, sha256[:16], given.metadata, path, once)
            if held.model == model.version:
                return held
    document = await analyse(content, path, given.metadata, model, parsers, settings.max_passages)
    return await run_in_threadpool(store.put, document, once)


async def analyse(
    content: bytes, path: str | None, metadata: Metadata, model: Model, parsers: Parsers, max_passages: int
) -> ScoredDocument:
    """Read, cut and label a document. Raises DocumentError."""
    parsed = replace(await asyncio.wrap_future(parsers.submit(content, path)), metadata=metadata)
    if len(parsed.passages) > max_passages:
        limit = f"the limit is {max_passages:,} (CANDOUR_MAX_PASSAGES): send it in a batch"
        raise TooLarge(f"the document has {len(parsed.passages):,} passages; {limit}")
    return await run_in_threadpool(analysis.scored, parsed, await model.classify(parsed.texts), model.version)


async def _sent(request: Request, settings: Settings) -> tuple[bytes, str | None, GivenMetadata]:
    """The content of a document, its file's name, and what is known of it."""
    match bodies.media_type(request):
        case "multipart/form-data":
            async with bodies.form(request, max_fields=len(GivenMetadata.model_fields)) as form:
                fields: dict[str, Any] = {name: value for name, value in form.multi_items() if value != ""}
                file = fields.pop("file", None)
                if not isinstance(file, UploadFile):
                    raise _missing("file", "the form has no file in its field 'file'")
                try:
                    given = GivenMetadata.model_validate(fields)
                except ValidationError as error:
                    raise bodies.invalid(error) from None
                return await file.read(), bodies.filename(file.filename), given
        case "application/json":
            inline = await bodies.json(request, InlineDocument)
            if len(inline.content) > settings.max_bytes:
                raise TooLarge(f"the document has more than {settings.max_bytes:,} bytes (CANDOUR_MAX_BYTES)")
            return inline.content, None, inline
    raise bodies.refuse(request, "multipart/form-data with a file", "application/json")


def _missing(field: str, detail: str) -> RequestValidationError:
    return RequestValidationError([{"type": "missing", "loc": ("body", field), "msg": detail, "input": None}])


@router.get(
    "/documents",
    operation_id="list_documents",
    summary="Find stored documents",
    responses=responses(422) | {200: {"links": next_page("list_documents")}},
    dependencies=[READS],
)
async def documents(
    where: Annotated[DocumentQuery, Query()], store: CurrentStore, settings: CurrentSettings
) -> Page[DocumentSummary]:
    """Stored documents that match all that is given, the newest first, without their passages."""
    return await run_in_threadpool(store.documents, where, where.cursor, bounded(where.limit, settings))


@router.get(
    "/documents/{id}",
    operation_id="get_document",
    summary="A stored document",
    response_model=ScoredDocument,
    responses=responses(404, 422),
    dependencies=[READS],
)
async def document(id: DocumentId, store: CurrentStore) -> Response:  # noqa: A002
    """A stored document, with its passages, as the model of that time labelled them."""
    return await bodies.written(lambda: store.get(id).model_dump_json())


@router.delete(
    "/documents/{id}",
    operation_id="delete_document",
    summary="Forget a document",
    status_code=204,
    responses=responses(404, 422),
)
async def delete(id: DocumentId, store: CurrentStore, _: Admin) -> Response:  # noqa: A002
    """Remove a document from the store: its passages, their labels, and what people said of them."""
    await run_in_threadpool(store.delete, id)
    return Response(status_code=204)
