"""Comparisons: a report and a response in, what the response leaves out."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from labels import taxonomy
from service import analysis
from service.api import bodies
from service.api.dependencies import CurrentModel, CurrentParsers, CurrentSettings, CurrentStore, Model
from service.api.documents import InlineDocument, analyse
from service.api.problems import responses
from service.api.security import READS_AND_SCORES
from service.compare import Comparison, compare
from service.errors import DocumentError, NotFound
from service.parsing import Parsers
from service.report import ScoredDocument
from service.settings import Settings
from service.store import Store

router = APIRouter(prefix="/v1", tags=["comparisons"])


class StoredDocument(BaseModel):
    """A document that was sent before, by its id."""

    model_config = ConfigDict(extra="forbid")
    id: str = Field(description="The id of a stored document.")


class CompareRequest(BaseModel):
    """The inspectors' report, and the answer to it: by its id, or in the request itself, and then not kept."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "report": {
                        "text": "Plans for children in care drift. Leaders do not know how many visits are missed."
                    },
                    "response": {"text": "We are sorry that plans drift, and have begun to put this right."},
                }
            ]
        },
    )
    report: StoredDocument | InlineDocument
    response: StoredDocument | InlineDocument


@router.post(
    "/compare",
    operation_id="compare",
    summary="What does the response leave out?",
    response_model=Comparison,
    openapi_extra=bodies.documented({bodies.JSON: bodies.reference(CompareRequest)}),
    responses=responses(400, 404, 413, 415, 422),
    dependencies=[READS_AND_SCORES],
)
async def compared(
    request: Request,
    model: CurrentModel,
    store: CurrentStore,
    parsers: CurrentParsers,
    settings: CurrentSettings,
) -> Response:
    """Which of the report's criticisms does the response apologise for, defend, acknowledge, or leave unanswered?"""
    asked = await bodies.json(request, CompareRequest)
    report = await _scored("report", asked.report, model, store, parsers, settings)
    response = await _scored("response", asked.response, model, store, parsers, settings)
    return await bodies.written(lambda: compare(report, response, taxonomy.load()).model_dump_json())


async def _scored(
    side: str,
    asked: StoredDocument | InlineDocument,
    model: Model,
    store: Store,
    parsers: Parsers,
    settings: Settings,
) -> ScoredDocument:
    try:
        if isinstance(asked, InlineDocument):
            return await analyse(asked.content, None, asked.metadata, model, parsers, settings.max_passages)
        held = await run_in_threadpool(store.get, asked.id)
    except (DocumentError, NotFound) as error:
        raise type(error)(f"{side}: {error}") from None
    if held.model == model.version:
        return held
    found = await model.classify([passage.text for passage in held.passages])
    return await run_in_threadpool(analysis.relabelled, held, found, model.version)
