"""Lines in, lines out: a body that is answered while it comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from fastapi import Request
from fastapi.responses import Response
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from service.api.middleware import NDJSON

Line = tuple[int, bytes]


class Lines(Response):
    """An answer that is sent piece by piece.

    Not Starlette's StreamingResponse, which waits for the client to leave by reading, and throwing away, what the
    client still sends.
    """

    media_type = NDJSON

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        with suppress(ClientDisconnect):
            async for piece in self._pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def read(request: Request, size: int, longest: int) -> AsyncIterator[list[Line]]:
    """The lines of a body that are not blank, with their numbers from 1: as many as wait, at most `size` at a time.

    Twice `size` lines are held, and no more is read from the client before they are taken. Of a line of more than
    `longest` bytes the first are given, so that it is answered as one that is too long, and the rest is thrown away.
    """
    waiting: asyncio.Queue[Line | Exception | None] = asyncio.Queue(2 * size)

    async def fill() -> None:
        try:
            async for line in _lines(request.stream(), longest):
                await waiting.put(line)
        except Exception as error:
            await waiting.put(error)
        else:
            await waiting.put(None)

    filling = asyncio.create_task(fill())
    try:
        last: Line | Exception | None = (0, b"")
        while isinstance(last, tuple):
            taken: list[Line] = []
            last = await waiting.get()
            while isinstance(last, tuple):
                taken.append(last)
                if len(taken) == size or waiting.empty():
                    break
                last = waiting.get_nowait()
            if taken:
                yield taken
        if last is not None:
            raise last
    finally:
        filling.cancel()


async def _lines(chunks: AsyncIterator[bytes], longest: int) -> AsyncIterator[Line]:
    number, rest = 1, b""
    async for chunk in chunks:
        first, *others = chunk.split(b"\n")
        rest = (rest + first)[: longest + 1]
        for other in others:
            if rest.strip():
                yield number, rest
            number, rest = number + 1, other[: longest + 1]
    if rest.strip():
        yield number, rest
