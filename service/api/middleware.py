"""What holds for every request and answer, as ASGI middleware."""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models.classifier import Classifier
from service.api.bodies import media_type
from service.api.metrics import Metrics
from service.api.problems import of, problem
from service.errors import Saturated, TimedOut, UnsupportedBody

log = logging.getLogger("candour.api")
NDJSON = "application/x-ndjson"
_REQUEST_ID = re.compile(r"[\w.:-]{1,100}", re.ASCII)
# What asks whether the server lives must have an answer from one that has too much to do.
UNBOUNDED = frozenset({"/livez", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"})


def _streams(scope: Scope) -> bool:
    """Whether a request's body is lines, however many; other operations would hold all of it before they refuse it."""
    return scope["path"] == "/v1/classify" and media_type(Request(scope)) == NDJSON


def _model(scope: Scope) -> str | None:
    """The version that a request began with, or, of one that has no use for a model, the one that is served."""
    loaded: Classifier | None = scope["app"].state.classifier
    begun: str | None = scope.get("state", {}).get("model")
    return begun or (loaded.version if loaded else None)


class Observed:
    """Gives each request an id, counts it, logs it in one line, and answers what nobody foresaw without a trace."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        given = Headers(scope=scope).get("x-request-id", "")
        name = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        status = 0

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = name
                if version := _model(scope):
                    headers["Candour-Model"] = version
            await send(message)

        started = time.perf_counter()
        with structlog.contextvars.bound_contextvars(request_id=name):
            try:
                await self._app(scope, receive, noted)
            except Exception as error:
                log.error("failed", extra={"method": scope["method"]}, exc_info=error)
                if status:
                    raise
                answer = problem(500, "internal", "candour failed on this request; the server's log says how")
                await answer(scope, receive, noted)
            finally:
                self._done(scope, status, time.perf_counter() - started)
        return None

    def _done(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unknown")
        # Anything may be called a method, as it may a path, and each would be a counter of its own.
        method = scope["method"] if scope.get("route") and status != 405 else "unknown"
        self._metrics.answered(method, route, status, seconds)
        level = logging.DEBUG if route in UNBOUNDED else logging.INFO
        known = {"method": scope["method"], "route": route, "status": status, "milliseconds": round(1000 * seconds, 1)}
        log.log(level, "answered", extra=known | {"key": scope.get("state", {}).get("key")})


class InFlightLimit:
    """At most `limit` requests are at work; one more is answered 503 at once, before its body is read."""

    def __init__(self, app: ASGIApp, limit: int, metrics: Metrics) -> None:
        self._app = app
        self._limit = limit
        self._working = 0
        metrics.gauge("requests_in_flight", "Requests at work.", lambda: self._working)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in UNBOUNDED:
            return await self._app(scope, receive, send)
        if self._working >= self._limit:
            error = Saturated(f"{self._limit:,} requests are at work, the most there may be (CANDOUR_MAX_REQUESTS)")
            return await of(error)(scope, receive, send)
        self._working += 1
        try:
            return await self._app(scope, receive, send)
        finally:
            self._working -= 1


class TimeLimit:
    """A request has `limit` seconds until its answer begins; after that, and in a stream, so long for each pause."""

    def __init__(self, app: ASGIApp, limit: float) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        begun = False

        async def sent(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            async with asyncio.timeout(self._limit) as clock:

                @asynccontextmanager
                async def restarted() -> AsyncIterator[None]:
                    clock.reschedule(asyncio.get_running_loop().time() + self._limit)
                    yield
                    clock.reschedule(asyncio.get_running_loop().time() + self._limit)

                async def received() -> Message:
                    async with restarted():
                        return await receive()

                async def paused(message: Message) -> None:
                    async with restarted():
                        await sent(message)

                await self._app(scope, received if _streams(scope) else receive, paused)
        except TimeoutError:
            if begun or not clock.expired():
                raise
            error = TimedOut(f"the request took longer than {self._limit:g} seconds (CANDOUR_MAX_SECONDS)")
            await of(error)(scope, receive, send)
        return None


class BodyLimit:
    """Reading a body of more than `limit` bytes ends in a 413, whether or not the client says how long it is.

    A stream of lines may be of any length.
    """

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._limit:
                # An HTTPException, and not one of ours: FastAPI lets no other pass while it reads a body.
                raise HTTPException(413, f"the body has more than {self._limit:,} bytes (CANDOUR_MAX_BYTES)")
            return message

        whole = scope["type"] == "http" and not _streams(scope)
        await self._app(scope, counted if whole else receive, send)


class Uncompressed:
    """Refuses bodies that are compressed: what a limit lets in would grow to any size."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            coding = Headers(scope=scope).get("content-encoding", "").strip().lower()
            if coding not in ("", "identity"):
                answer = of(UnsupportedBody(f"a body in {coding}: send it as it is, without Content-Encoding"))
                answer.headers["Accept-Encoding"] = "identity"
                return await answer(scope, receive, send)
        return await self._app(scope, receive, send)
