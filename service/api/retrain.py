"""Retraining over HTTP: begun by who may do all, and watched."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi import Path as InPath
from starlette.concurrency import run_in_threadpool

from service import retrain
from service.api import bodies
from service.api.dependencies import CurrentSettings
from service.api.problems import responses
from service.api.security import Admin
from service.retrain import Plan, Retraining

router = APIRouter(prefix="/v1", tags=["retrain"])
_LOCATION = {"Location": {"description": "Where the run is.", "schema": {"type": "string"}}}
_LINKS = {"get_retraining": {"operationId": "get_retraining", "parameters": {"id": "$response.body#/id"}}}


async def _sent(request: Request, _: Admin) -> Plan:
    return await bodies.json(request, Plan) if await request.body() else Plan()


@router.post(
    "/retrain",
    operation_id="retrain",
    summary="Train a model with the corrections",
    status_code=202,
    openapi_extra=bodies.documented({bodies.JSON: bodies.reference(Plan)}, required=False),
    responses=responses(400, 409, 415, 422) | {202: {"headers": _LOCATION, "links": _LINKS}},
)
async def begin(
    response: Response, _: Admin, settings: CurrentSettings, plan: Annotated[Plan, Depends(_sent)]
) -> Retraining:
    """As `candour retrain`, in a process of its own, which goes on when the server stops.

    A run of the same plan that was interrupted goes on; while one is at work, there is no other (409).
    """
    run = await run_in_threadpool(retrain.start, settings, plan)
    response.headers["Location"] = f"/v1/retrain/{run.id}"
    return await run_in_threadpool(retrain.show, settings, run.id)


@router.get(
    "/retrain/{id}", operation_id="get_retraining", summary="How far a retraining is", responses=responses(404, 422)
)
def watch(
    id: Annotated[str, InPath(description="The id of a run.", examples=["20261122-041200-093251"])],  # noqa: A002
    _: Admin,
    settings: CurrentSettings,
) -> Retraining:
    """Its steps, the end of its log and, once the gate has spoken, the rules that the model breaks."""
    return retrain.show(settings, id)
