"""Bodies of requests and of answers.

Operations read theirs themselves, and declare none to the framework, which would read it before it asks for a key.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import islice
from typing import Any, TypeVar

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from python_multipart.multipart import parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData

from service.errors import InvalidInput, MalformedRequest, TooLarge, UnsupportedBody
from service.settings import Settings

T = TypeVar("T", bound=BaseModel)
JSON = "application/json"
# The models of bodies, by name, which the framework does not see; docs.py puts them among the schemas.
MODELS: dict[str, type[BaseModel]] = {}
# Bytes of a body that is read on the event loop; a larger one would hold up other requests.
SMALL = 100_000
# Each name that a form does not have is a fault, and a body of a million of them would take a minute to refuse.
NAMES = 10_000
# A string of JSON, and the colon after it if it is a name. No byte is read twice, whatever the bytes are.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"(\s*+:)?+)?+', re.DOTALL)
_UNWRITABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_LONGEST_NAME = 255


def media_type(request: Request) -> str:
    """The type of the body, in small letters and without its parameters; JSON where none is named."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() or JSON


async def json(request: Request, model: type[T]) -> T:
    """The body as JSON of a form. Raises RequestValidationError, InvalidInput or UnsupportedBody."""
    if media_type(request) != JSON:
        raise refuse(request, JSON)
    return await _read(await request.body(), model)


async def call(request: Request, model: type[T], settings: Settings) -> T:
    """As json, of a call that holds texts. Raises TooLarge, too, of more bytes than its texts may take."""
    if media_type(request) != JSON:
        raise refuse(request, JSON)
    # Twelve bytes for each character, which may be escaped as two halves; a hundred for what stands around each text.
    longest = 12 * settings.max_call_characters + 100 * settings.max_items + 1_000
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > longest:
            limit = f"{settings.max_call_characters:,} characters (CANDOUR_MAX_CALL_CHARACTERS)"
            raise TooLarge(f"the body has more than {longest:,} bytes, the most that {limit} may take")
    return await _read(bytes(body), model)


async def _read(body: bytes, model: type[T]) -> T:
    if len(body) <= SMALL:
        return _validated(body, model)
    return await run_in_threadpool(_validated, body, model)


def _validated(body: bytes, model: type[T]) -> T:
    names = (string for string in _STRING.finditer(body) if string[1])
    if next(islice(names, NAMES, None), None):
        raise InvalidInput(f"the body has more than {NAMES:,} names")
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise invalid(error) from None


def invalid(error: ValidationError) -> RequestValidationError:
    """The error for a body, or a form's fields, of another form."""
    found = error.errors(include_url=False, include_input=False)
    return RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in found])


@asynccontextmanager
async def form(request: Request, max_fields: int) -> AsyncIterator[FormData]:
    """The form in the body, of one file and so many fields at most. Raises MalformedRequest or HTTPException."""
    _, parameters = parse_options_header(request.headers["content-type"])
    charset = parameters.get(b"charset", b"utf-8")
    if charset.lower() not in (b"utf-8", b"utf8"):
        raise MalformedRequest(f"a form in {charset.decode('latin-1')}: send it in utf-8")
    async with request.form(max_files=1, max_fields=max_fields) as found:
        yield found


def filename(given: str | None) -> str | None:
    """The name of a file that was sent, as it can be kept: without folders, its last 255 characters; None for none."""
    name = re.split(r"[/\\]", given or "")[-1]
    return _UNWRITABLE.sub("\ufffd", name)[-_LONGEST_NAME:] or None


def refuse(request: Request, *known: str) -> UnsupportedBody:
    """The error for a body of another type than those known."""
    return UnsupportedBody(f"a body of type {media_type(request)}: send {' or '.join(known)}")


def reference(model: type[BaseModel]) -> dict[str, Any]:
    """A body as JSON of a form, for an operation's documentation."""
    MODELS[model.__name__] = model
    return {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}


def documented(contents: dict[str, Any], *, required: bool = True) -> dict[str, Any]:
    """A body of one type or several, for an operation's documentation."""
    return {"requestBody": {"required": required, "content": contents}}


async def written(make: Callable[[], str | bytes]) -> Response:
    """JSON that `make` gives, made in a thread: a large answer would hold up other requests."""
    return Response(await run_in_threadpool(make), media_type=JSON)
