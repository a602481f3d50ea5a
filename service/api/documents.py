"""Documents: a file in, its scored passages out."""

from __future__ import annotations

from fastapi import APIRouter, Request, UploadFile
from pydantic import BaseModel, ValidationError, model_validator
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile as Upload

from models.classifier import Classifier
from service import analysis
from service.api.dependencies import Model
from service.api.problems import RESPONSES
from service.errors import InvalidInput, UnsupportedBody
from service.report import ScoredDocument

router = APIRouter(prefix="/v1", tags=["documents"], responses=RESPONSES)


class InlineDocument(BaseModel):
    """A document in the request itself: its text or its HTML, and a title if it has one."""

    model_config = {"extra": "forbid"}
    text: str | None = None
    html: str | None = None
    title: str | None = None

    @model_validator(mode="after")
    def _one_content(self) -> InlineDocument:
        if (self.text is None) == (self.html is None):
            raise ValueError("exactly one of text and html must be given")
        return self

    def scored(self, model: Classifier) -> ScoredDocument:
        """The document, scored, under the title given. Raises DocumentError."""
        document = analysis.analyse((self.html or self.text or "").encode(), model)
        return document.model_copy(update={"title": self.title}) if self.title else document


_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            },
            "application/json": {"schema": InlineDocument.model_json_schema()},
        },
    }
}


@router.post("/documents", openapi_extra=_BODY)
async def score(request: Request, model: Model) -> ScoredDocument:
    """Score a document: a file (multipart field `file`; PDF, DOCX, HTML, EML, Markdown or text), or JSON."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == "multipart/form-data":
        async with request.form(max_files=1) as form:
            file = form.get("file")
            if not isinstance(file, Upload | UploadFile):
                raise InvalidInput("the form has no file in its field 'file'")
            return await run_in_threadpool(analysis.analyse, await file.read(), model, file.filename or None)
    if media_type in ("application/json", ""):
        return await run_in_threadpool(_inline(await request.body()).scored, model)
    raise UnsupportedBody(f"a body of type {media_type}: send multipart/form-data with a file, or application/json")


def _inline(body: bytes) -> InlineDocument:
    try:
        return InlineDocument.model_validate_json(body)
    except ValidationError as error:
        found = error.errors()[0]
        where = ".".join(map(str, found["loc"])) or "body"
        raise InvalidInput(f"{where}: {found['msg']}") from None
