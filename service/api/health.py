"""Alive, ready and counted: three questions."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from service.api.dependencies import CurrentMetrics, CurrentModel, CurrentProblem, CurrentStore
from service.api.metrics import CONTENT_TYPE_LATEST
from service.api.problems import responses
from service.api.schemas import Ready
from service.api.security import READS

router = APIRouter(tags=["operations"])


class Alive(BaseModel):
    status: Literal["alive"] = "alive"


@router.head("/livez", include_in_schema=False)
@router.get("/livez", operation_id="alive", summary="Does the process answer?")
async def alive() -> Alive:
    """The process answers."""
    return Alive()


@router.head("/readyz", include_in_schema=False)
@router.get(
    "/readyz",
    operation_id="ready",
    summary="Can it score?",
    response_model_exclude_none=True,
    responses={503: responses()[503]},
)
async def ready(model: CurrentModel, store: CurrentStore, problem: CurrentProblem) -> Ready:
    """The model is loaded and warmed, and the store can be reached.

    With `problem`, it scores, but not with the model that it should: that cannot be served, and the one before it is.
    """
    await run_in_threadpool(store.check)
    return Ready(model=model.version, problem=problem)


@router.get(
    "/metrics",
    operation_id="metrics",
    summary="Counts for Prometheus",
    response_class=Response,
    responses=responses() | {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    dependencies=[READS],
)
async def metrics(found: CurrentMetrics) -> Response:
    """Requests, latency, passages, tokens, what waits, the model's version, and how often each label was given."""
    return Response(found.text(), media_type=CONTENT_TYPE_LATEST)
