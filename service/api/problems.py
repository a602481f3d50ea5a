"""Errors as application/problem+json (RFC 9457), mapped once."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from service import errors
from service.api.schemas import Fault, ProblemDetails

log = logging.getLogger("candour.api")
MEDIA_TYPE = "application/problem+json"
# What a client may do about a saturated server: ask again after so many seconds.
RETRY_AFTER = 1
# A request can be wrong in a million places; so many of them are named.
FAULTS = 20
STATUS: dict[type[errors.CandourError], int] = {
    errors.MalformedRequest: 400,
    errors.Unauthorised: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.TooLarge: 413,
    errors.UnsupportedDocument: 415,
    errors.UnsupportedBody: 415,
    errors.RateLimited: 429,
    errors.Unavailable: 503,
    errors.CandourError: 422,
}
# The `type` of what has not the form it must have, of which `errors` says the rest.
INVALID_REQUEST = "invalid-request"
MEANING = {
    400: "The request is not what it says it is, such as JSON that is none.",
    401: "No key, or one that is not known.",
    403: "The key has not the scope that this needs.",
    404: "There is none of that id.",
    409: "What is there already stands in the way; the answer says what.",
    413: "More than a limit of the settings allows; the answer names the limit.",
    415: "A type of body or document that candour does not read.",
    422: "The request has not the form it must have, or holds nothing that could be scored.",
    429: "More requests than the key may make; Retry-After says when the next may come.",
    503: "Not ready, or saturated; Retry-After says when to ask again.",
}


# Kinds without a type of their own, and those of the command line.
_NEVER_ANSWERED = {
    errors.CandourError, errors.DocumentError, errors.OutputError, errors.Unavailable, errors.NotAnOutput,
    errors.OutputInUse, errors.Unreadable, errors.InvalidMetadata, errors.CollectError, errors.ClusterError,
}  # fmt: skip


def types() -> dict[int, list[str]]:
    """The `type`s that an answer of each status may have."""
    found: dict[int, list[str]] = {status: [] for status in sorted(MEANING)}
    found[422].append(INVALID_REQUEST)
    for error in vars(errors).values():
        if isinstance(error, type) and issubclass(error, errors.CandourError) and error not in _NEVER_ANSWERED:
            status = next(status for kind, status in STATUS.items() if issubclass(error, kind))
            found[status].append(error.type)
    return found


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors that an operation may answer with, for its documentation; with those of every operation."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}}
    known = types()
    return {
        status: {
            "description": f"{MEANING[status]} `type`: {', '.join(f'`{name}`' for name in known[status])}.",
            "content": content,
        }
        for status in sorted({*statuses, 401, 403, 429, 503})
    }


def problem(
    status: int, type_: str, detail: str, *, faults: list[Fault] | None = None, headers: dict[str, str] | None = None
) -> JSONResponse:
    title = HTTPStatus(status).phrase
    body = ProblemDetails(type=type_, title=title, status=status, detail=detail, error=detail, errors=faults)
    return JSONResponse(body.model_dump(exclude_none=True), status, media_type=MEDIA_TYPE, headers=headers)


def of(error: errors.CandourError) -> JSONResponse:
    """A domain error as an answer."""
    status = next(status for kind, status in STATUS.items() if isinstance(error, kind))
    headers = {}
    if isinstance(error, errors.Unauthorised):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, errors.RateLimited | errors.Unavailable):
        headers["Retry-After"] = str(error.retry_after if isinstance(error, errors.RateLimited) else RETRY_AFTER)
    return problem(status, error.type, str(error), headers=headers)


def install(app: FastAPI) -> None:
    """Map every error that a request can end in. What nobody foresaw is for the middleware."""

    @app.exception_handler(errors.CandourError)
    async def _domain(_: Request, error: errors.CandourError) -> Response:
        if isinstance(error, errors.StoreError):
            # Why is for the log: it may name hosts and users, and is answered to those without a key, too.
            log.error("the store cannot be used", exc_info=error)
            return of(errors.StoreError("the store cannot be used just now; the server's log says why"))
        return of(error)

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> Response:
        found = error.errors()
        if any(one["type"] == "json_invalid" for one in found):
            return of(errors.MalformedRequest(f"the body is not JSON: {found[0]['ctx']['error']}"))
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if any(one["loc"] == ("body",) for one in found) and media_type not in ("", "application/json"):
            return of(errors.UnsupportedBody(f"a body of type {media_type}: send application/json"))
        faults = [Fault(where=list(one["loc"]), detail=one["msg"]) for one in found[:FAULTS]]
        detail = "the request does not have the form that it must have"
        return problem(422, INVALID_REQUEST, detail, faults=faults)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        status = HTTPStatus(error.status_code)
        types = {400: errors.MalformedRequest.type, 404: errors.NotFound.type, 413: errors.TooLarge.type}
        type_ = types.get(status, status.phrase.lower().replace(" ", "-"))
        headers = dict(error.headers or {})
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = _allowed(request)
        return problem(status, type_, str(error.detail), headers=headers)

    @app.exception_handler(ClientDisconnect)
    async def _gone(_: Request, __: ClientDisconnect) -> Response:
        return Response(status_code=499)  # nobody reads it; the log counts it


def _allowed(request: Request) -> str:
    """The methods of a path, for the header Allow, in which the framework names those of one route alone."""
    app: FastAPI = request.app
    scopes = [{**request.scope, "method": method} for method in ("DELETE", "GET", "HEAD", "POST")]
    return ", ".join(
        scope["method"] for scope in scopes if any(route.matches(scope)[0] is Match.FULL for route in app.routes)
    )
