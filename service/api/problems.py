"""Errors as application/problem+json (RFC 9457), mapped once."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from service import errors

log = logging.getLogger("candour.api")
MEDIA_TYPE = "application/problem+json"
STATUS: dict[type[errors.CandourError], int] = {
    errors.TooLarge: 413,
    errors.UnsupportedDocument: 415,
    errors.UnsupportedBody: 415,
    errors.NotReady: 503,
    errors.CandourError: 422,
}


class ProblemDetails(BaseModel):
    """RFC 9457. type is stable; `errors` names the places in the request that were wrong."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[dict[str, Any]] | None = None


RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": ProblemDetails, "description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: {}}}
    for status in (400, 413, 415, 422, 503)
}


def problem(status: int, type_: str, detail: str, **more: Any) -> JSONResponse:
    body = ProblemDetails(type=type_, title=HTTPStatus(status).phrase, status=status, detail=detail, **more)
    headers = {"Retry-After": "1"} if status in (429, 503) else None
    return JSONResponse(body.model_dump(exclude_none=True), status, media_type=MEDIA_TYPE, headers=headers)


def install(app: FastAPI) -> None:
    """Map every error that a request can end in. What nobody foresaw is logged whole and answered without a trace."""

    @app.exception_handler(errors.CandourError)
    async def _domain(_: Request, error: errors.CandourError) -> JSONResponse:
        status = next(status for kind, status in STATUS.items() if isinstance(error, kind))
        return problem(status, error.type, str(error))

    @app.exception_handler(RequestValidationError)
    async def _invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        found = [{"where": list(e["loc"]), "detail": e["msg"]} for e in error.errors()]
        return problem(422, "invalid-request", "the request does not have the form that it must have", errors=found)

    @app.exception_handler(HTTPException)
    async def _http(_: Request, error: HTTPException) -> JSONResponse:
        status = HTTPStatus(error.status_code)
        type_ = errors.TooLarge.type if status == 413 else status.phrase.lower().replace(" ", "-")
        answer = problem(status, type_, str(error.detail))
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(Exception)
    async def _unforeseen(request: Request, error: Exception) -> JSONResponse:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return problem(500, "internal", "candour failed on this request; the server's log says how")
