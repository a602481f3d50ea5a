"""What holds for every request and answer, as ASGI middleware."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyLimit:
    """Reading a body of more than `limit` bytes ends in a 413, whether or not the client says how long it is."""

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

        await self._app(scope, counted if scope["type"] == "http" else receive, send)


class ModelHeader:
    """Every answer, an error too, names the version of the model in the header Candour-Model."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def named(message: Message) -> None:
            if message["type"] == "http.response.start" and (loaded := scope["app"].state.classifier) is not None:
                MutableHeaders(scope=message)["Candour-Model"] = loaded.version
            await send(message)

        await self._app(scope, receive, named if scope["type"] == "http" else send)
