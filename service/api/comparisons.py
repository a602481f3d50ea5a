"""Comparisons: a report and a response in, what the response leaves out."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel

from labels import taxonomy
from service.api.dependencies import Model
from service.api.documents import InlineDocument
from service.api.problems import RESPONSES
from service.compare import Comparison, compare

router = APIRouter(prefix="/v1", tags=["comparisons"], responses=RESPONSES)


class CompareRequest(BaseModel):
    """The inspectors' report, and the answer to it."""

    model_config = {"extra": "forbid"}
    report: InlineDocument
    response: InlineDocument


@router.post("/compare", operation_id="compare")
def compared(request: CompareRequest, model: Model) -> Comparison:
    """Which of the report's criticisms does the response apologise for, defend, acknowledge, or leave unanswered?"""
    return compare(request.report.scored(model), request.response.scored(model), taxonomy.load())
