"""The bound on a request's body, whether or not the client says how long it is."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyLimit:
    """ASGI middleware: reading a body of more than `limit` bytes ends in a 413."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._limit:
                # An HTTPException, and not one of ours: FastAPI lets no other pass while it reads a body.
                raise HTTPException(413, f"the body has more than {self._limit:,} bytes (CANDOUR_MAX_BYTES)")
            return message

        await self._app(scope, counted, send)
