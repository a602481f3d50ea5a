"""Batches: a night's documents handed over at once, scored when there is time, and their results fetched later."""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import IO, Annotated, Any, BinaryIO

import pyarrow.parquet as pq
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi import Path as InPath
from fastapi.exceptions import RequestValidationError
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import State, UploadFile

from models.manifest import Manifest
from service import batches, outputs
from service.api import bodies
from service.api.dependencies import CurrentModel, CurrentSettings, CurrentStore, Model
from service.api.documents import IdempotencyKey, InlineDocument
from service.api.metrics import Metrics
from service.api.middleware import NDJSON
from service.api.passages import bounded, next_page
from service.api.problems import responses
from service.api.security import Reader, Scorer
from service.batches import Batch, Item
from service.errors import InvalidInput, NotReady
from service.jobs import Classify, Jobs
from service.report import Page, Problem, ScoredDocument
from service.settings import Settings
from service.store import Once, Store

router = APIRouter(prefix="/v1", tags=["batches"])
ZIP = "application/zip"
# Bytes of a body that are held in memory; more are on the disk.
HELD = 1_000_000
# Bytes of a file that are read together.
PIECE = 65_536


class BatchDocument(InlineDocument):
    """A line of a batch: a document, and the name by which its result is known."""

    path: str | None = Field(default=None, max_length=1_000)


class BatchQuery(BaseModel):
    """Which page of the batches."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    cursor: str | None = Field(default=None, description="`next` of the page before.")
    limit: int | None = Field(default=None, ge=1, description="The most items of the page; 20 where none is given.")


class Format(StrEnum):
    """Of results: a document a line, or a passage a row."""

    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


@asynccontextmanager
async def working(state: State, settings: Settings, metrics: Metrics) -> AsyncIterator[None]:
    """From here to the end of the block batches are scored, with what is served and what time requests leave."""
    loop = asyncio.get_running_loop()

    async def stopping() -> bool:
        return jobs.stopping.is_set()

    def current() -> tuple[str, Classify]:
        model = Model(state.classifier, state.scheduler, metrics, stopping)
        return model.version, lambda texts: asyncio.run_coroutine_threadsafe(model.classify(texts), loop).result()

    workers = settings.threads or os.cpu_count() or 1
    jobs = await run_in_threadpool(Jobs, state.store, settings.database, state.parsers, current, workers)
    metrics.gauge("batches_queued", "Batches of which nothing is scored yet.", lambda: jobs.backlog.queued)
    metrics.gauge("batches_running", "Batches that are being scored.", lambda: jobs.backlog.running)
    metrics.gauge("documents_waiting", "Documents of batches that wait.", lambda: jobs.backlog.waiting)
    await run_in_threadpool(jobs.start)
    state.jobs = jobs
    try:
        yield
    finally:
        state.jobs = None
        await run_in_threadpool(jobs.close)


def _jobs(request: Request) -> Jobs:
    jobs: Jobs | None = request.app.state.jobs
    if jobs is None:
        raise NotReady("the queue of batches is not open yet")
    return jobs


CurrentJobs = Annotated[Jobs, Depends(_jobs)]
BatchId = Annotated[str, InPath(description="The id of a batch.", examples=["5d41402abc4b2a76"])]
_BODY = bodies.documented(
    {
        NDJSON: {
            "schema": {
                "type": "string",
                "description": "A line each: a document as the JSON of /v1/documents, and `path`, a name of yours.",
            }
        },
        ZIP: {"schema": {"type": "string", "format": "binary"}},
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {"file": {"type": "string", "format": "binary"}},
                "additionalProperties": False,
            }
        },
    }
)
_LINKS = {
    name: {"operationId": name, "parameters": {"id": "$response.body#/id"}}
    for name in ("get_batch", "cancel_batch", "batch_results")
}
_LOCATION = {"Location": {"description": "Where the batch is.", "schema": {"type": "string"}}}
_CONTENTS: dict[str, Any] = {
    NDJSON: {
        "schema": {
            "type": "string",
            "description": 'A line for each document: as `candour score` has it, or {"path" or "line", "error"}.',
        }
    },
    "text/csv": {"schema": {"type": "string", "description": "A row for each passage."}},
    "application/vnd.apache.parquet": {"schema": {"type": "string", "format": "binary"}},
}
_TYPES = dict(zip(Format, _CONTENTS, strict=True))


@router.post(
    "/batches",
    operation_id="submit_batch",
    summary="Hand over many documents at once",
    status_code=202,
    openapi_extra=_BODY,
    responses=responses(400, 409, 413, 415, 422) | {202: {"headers": _LOCATION, "links": _LINKS}},
)
async def submit(
    request: Request,
    response: Response,
    owner: Scorer,
    jobs: CurrentJobs,
    settings: CurrentSettings,
    idempotency_key: IdempotencyKey = None,
) -> Batch:
    """Lines of JSON, or a zip of files, in the body or in the field `file` of a form; they are scored one by one.

    In a zip, NAME.meta.json says what is known of NAME. A line or a file that cannot be read fails by itself. Each
    document is then stored, as one that was sent alone; the same content is one document, and is scored once.
    """
    async with _sent(request) as (file, is_zip):
        once = None
        if idempotency_key is not None:
            once = Once(owner=owner, key=idempotency_key, digest=await run_in_threadpool(_digest, file))
        items = batches.unpacked(file, settings.max_bytes) if is_zip else _lines(file)
        batch = await run_in_threadpool(jobs.submit, owner, batches.bounded(items, settings.max_batch), once)
    response.headers["Location"] = f"/v1/batches/{batch.id}"
    return batch


@asynccontextmanager
async def _sent(request: Request) -> AsyncIterator[tuple[IO[bytes], bool]]:
    """The body, or the file of a form, and whether it is a zip."""
    match bodies.media_type(request):
        case "application/x-ndjson" | "application/zip" as found:
            with tempfile.SpooledTemporaryFile(HELD) as file:
                async for chunk in request.stream():
                    file.write(chunk)
                file.seek(0)
                yield file, found == ZIP
        case "multipart/form-data":
            async with bodies.form(request, max_fields=0) as form:
                sent = form.get("file")
                if not isinstance(sent, UploadFile):
                    detail = "the form has no file in its field 'file'"
                    raise RequestValidationError([{"type": "missing", "loc": ("body", "file"), "msg": detail}])
                begins = await sent.read(2)
                await sent.seek(0)
                yield sent.file, begins == b"PK"
        case _:
            raise bodies.refuse(request, NDJSON, ZIP, "multipart/form-data with a file")


def _digest(file: IO[bytes]) -> str:
    """Of a batch with this body. The file is then at its beginning."""
    found = hashlib.sha256(b"batch")
    for piece in _pieces(file):
        found.update(piece)
    file.seek(0)
    return found.hexdigest()


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    return iter(partial(file.read, PIECE), b"")


def _lines(file: IO[bytes]) -> Iterator[Item]:
    """The documents of lines that are not blank; of those that hold none, why."""
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            given = BatchDocument.model_validate_json(line)
        except ValidationError as error:
            found = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, found["loc"]))
            problem = Problem(type=InvalidInput.type, detail=f"{where}: {found['msg']}" if where else found["msg"])
            yield Item(None, line=number, problem=problem)
        else:
            yield Item(given.content, given.path, number, given.metadata)


@router.get(
    "/batches",
    operation_id="list_batches",
    summary="Your batches",
    responses=responses(422) | {200: {"links": next_page("list_batches")}},
)
async def listed(
    where: Annotated[BatchQuery, Query()], reader: Reader, store: CurrentStore, settings: CurrentSettings
) -> Page[Batch]:
    """The batches of this key, the newest first; with the scope admin, those of all keys."""
    return await run_in_threadpool(store.batches, reader, where.cursor, bounded(where.limit, settings))


@router.get(
    "/batches/{id}",
    operation_id="get_batch",
    summary="How far is a batch?",
    responses=responses(404, 422),
)
async def batch(id: BatchId, reader: Reader, store: CurrentStore) -> Batch:  # noqa: A002
    """A batch of this key, and how many of its documents are scored, failed and left."""
    return await run_in_threadpool(store.batch, id, reader)


@router.post(
    "/batches/{id}/cancel",
    operation_id="cancel_batch",
    summary="Score nothing more of a batch",
    responses=responses(404, 422),
)
async def cancel(id: BatchId, owner: Scorer, store: CurrentStore) -> Batch:  # noqa: A002
    """The batch, as it is then. What is scored stays, and so does a batch that is done."""
    return await run_in_threadpool(store.cancel_batch, id, owner)


@router.get(
    "/batches/{id}/results",
    operation_id="batch_results",
    summary="What a batch has given so far",
    response_class=Response,
    responses=responses(404, 422) | {200: {"description": "In the order sent.", "content": _CONTENTS}},
)
async def results(
    id: BatchId,  # noqa: A002
    reader: Reader,
    store: CurrentStore,
    model: CurrentModel,
    format: Annotated[Format, Query(description="Failures are in jsonl alone.")] = Format.JSONL,  # noqa: A002
) -> Response:
    """The documents that are scored, as they are stored now, in the forms of `candour score --output`.

    A document that was deleted since is left out.
    """
    await run_in_threadpool(store.batch, id, reader)
    pieces: Iterator[bytes]
    if format is Format.JSONL:
        # Half of a surrogate pair, which the name of a file may hold, is escaped.
        pieces = (outputs.line(result).encode(errors="backslashreplace") for result in store.results(id))
    else:
        pieces = _whole(await run_in_threadpool(_table, format, store, id, model.manifest))
    named = {"Content-Disposition": f'attachment; filename="{id}.{format}"'}
    return StreamingResponse(pieces, headers=named, media_type=_TYPES[format])


def _whole(file: BinaryIO) -> Iterator[bytes]:
    with file:
        yield from _pieces(file)


def _table(format: Format, store: Store, id: str, manifest: Manifest) -> BinaryIO:  # noqa: A002
    """A file without a name that holds the results' passages, a row each. Raises InvalidInput."""
    themes = [output.name for output in manifest.outputs if output.axis == "theme"]
    stances = [output.name for output in manifest.outputs if output.axis == "stance"]
    with tempfile.TemporaryDirectory(prefix="candour-") as folder:
        path = Path(folder, f"table.{format}")
        with outputs.opened(path, themes, stances) as table:
            for result in store.results(id):
                if isinstance(result, ScoredDocument):
                    _check(result, themes, stances)
                    table.write(result)
        if format is Format.PARQUET:
            shards, path = path, Path(folder, "whole.parquet")
            with pq.ParquetWriter(path, outputs.schema(themes, stances), compression="zstd") as whole:
                for shard in sorted(shards.glob("*.parquet")):
                    whole.write_table(pq.read_table(shard))
        return path.open("rb")


def _check(document: ScoredDocument, themes: list[str], stances: list[str]) -> None:
    for passage in document.passages[:1]:
        if {*passage.scores.themes, *passage.scores.stances} != {*themes, *stances}:
            raise InvalidInput(
                f"{document.id} was scored by a model with other labels: ask for jsonl, or send it again"
            )
