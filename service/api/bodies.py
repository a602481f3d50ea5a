"""Bodies of operations that take more than one type of body, which the framework leaves to us."""

from __future__ import annotations

from typing import Any, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from service.errors import UnsupportedBody

T = TypeVar("T", bound=BaseModel)


def media_type(request: Request) -> str:
    """The type of the body, in small letters and without its parameters; JSON where none is named."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() or "application/json"


async def json(request: Request, model: type[T]) -> T:
    """The body as JSON of a form. Raises RequestValidationError."""
    try:
        return model.model_validate_json(await request.body())
    except ValidationError as error:
        found = [{**one, "loc": ("body", *one["loc"])} for one in error.errors(include_url=False)]
        raise RequestValidationError(found) from None


def refuse(request: Request, *known: str) -> UnsupportedBody:
    """The error for a body of another type than those known."""
    return UnsupportedBody(f"a body of type {media_type(request)}: send {' or '.join(known)}")


def documented(contents: dict[str, Any]) -> dict[str, Any]:
    """A required body of several types, for an operation's documentation."""
    return {"requestBody": {"required": True, "content": contents}}
