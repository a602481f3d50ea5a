"""Alive and ready are two questions."""

from __future__ import annotations

from fastapi import APIRouter

from service.api.dependencies import Model
from service.api.problems import RESPONSES

router = APIRouter(tags=["health"])


@router.head("/livez", include_in_schema=False)
@router.get("/livez")
async def alive() -> dict[str, str]:
    """The process answers."""
    return {"status": "alive"}


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", responses={503: RESPONSES[503]})
async def ready(model: Model) -> dict[str, str]:
    """The model is loaded and warmed; its version."""
    return {"status": "ready", "model": model.version}
