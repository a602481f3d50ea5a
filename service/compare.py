"""Which of a report's criticisms a response answers, and which it leaves out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from labels.taxonomy import Taxonomy
from service.errors import InvalidInput
from service.pages import ENVIRONMENT
from service.report import Placed, Result, ScoredDocument, ScoredPassage

Verdict = Literal["unanswered", "apologised", "defended", "acknowledged", "not_criticised"]


class ComparedPassage(Placed):
    """A passage that a verdict rests on. position: its place among its document's passages, from 0."""

    position: int
    stances: list[str]
    primary_stance: str | None
    confident: bool


class ReportSide(Result):
    """What the report says of a theme: how many passages criticise and praise, and those that criticise."""

    critical: int
    supportive: int
    passages: list[ComparedPassage]


class ResponseSide(Result):
    """What the response says of a theme: stances of its passages on it (`none` for those without), and the passages."""

    stances: dict[str, int]
    passages: list[ComparedPassage]


class ThemeComparison(Result):
    """A theme, both sides of it, and the verdict."""

    theme: str
    report: ReportSide
    response: ResponseSide
    verdict: Verdict = Field(
        description="not_criticised: the report does not criticise it. Of a criticised theme: apologised, defended, "
        "acknowledged (the response speaks of it otherwise than by praise alone), or unanswered."
    )


class Comparison(Result):
    """A report's criticisms against a response. Themes are in the taxonomy's order."""

    sentence: str
    themes: list[ThemeComparison]
    model: str


def compare(report: ScoredDocument, response: ScoredDocument, taxonomy: Taxonomy) -> Comparison:
    """Hold a scored response against a scored report.

    A theme is answered by passages of the response that are on it: an apology that names no theme answers none, and
    praise of a theme that was criticised does not answer the criticism. Where the response does several things, the
    verdict is the one that owns most: an apology before a defence, a defence before a mention. Raises InvalidInput
    where the two were scored by different models.
    """
    if report.model != response.model:
        raise InvalidInput(f"the report was scored by model {report.model}, the response by {response.model}")
    themes = [_theme(theme, report.passages, response.passages) for theme in taxonomy.themes]
    return Comparison(sentence=_sentence(themes), themes=themes, model=report.model)


def _theme(theme: str, report: Sequence[ScoredPassage], response: Sequence[ScoredPassage]) -> ThemeComparison:
    said = [(n, passage) for n, passage in enumerate(report) if theme in passage.themes]
    critical = [(n, passage) for n, passage in said if "critical" in passage.stances]
    answers = [(n, passage) for n, passage in enumerate(response) if theme in passage.themes]
    return ThemeComparison(
        theme=theme,
        report=ReportSide(
            critical=len(critical),
            supportive=sum("supportive" in passage.stances for _, passage in said),
            passages=[_passage(n, passage) for n, passage in critical],
        ),
        response=ResponseSide(
            stances=dict(Counter(stance for _, passage in answers for stance in passage.stances or ["none"])),
            passages=[_passage(n, passage) for n, passage in answers],
        ),
        verdict=_verdict(bool(critical), [set(passage.stances) for _, passage in answers]),
    )


def _verdict(criticised: bool, answers: Sequence[set[str]]) -> Verdict:
    if not criticised:
        return "not_criticised"
    if any("apologetic" in stances for stances in answers):
        return "apologised"
    if any("defensive" in stances for stances in answers):
        return "defended"
    if any(stances != {"supportive"} for stances in answers):
        return "acknowledged"
    return "unanswered"


def _passage(position: int, passage: ScoredPassage) -> ComparedPassage:
    return ComparedPassage(
        position=position,
        **passage.model_dump(include={"text", "start", "end", "page", "stances", "primary_stance", "confident"}),
    )


_DOES: dict[Verdict, str] = {
    "apologised": "apologises for {}",
    "defended": "defends {}",
    "acknowledged": "acknowledges {}",
    "unanswered": "leaves {} unanswered",
}


def _sentence(themes: Sequence[ThemeComparison]) -> str:
    criticised = [_name(found) for found in themes if found.verdict != "not_criticised"]
    if not criticised:
        return "The report criticises none of the themes."
    parts = []
    for verdict, does in _DOES.items():
        names = [_name(found) for found in themes if found.verdict == verdict]
        if names:
            parts.append(does.format(_listed(names)))
    return f"The report criticises {_listed(criticised)}; the response {_listed(parts)}."


def _name(found: ThemeComparison) -> str:
    return found.theme.replace("_", " ")


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def page(found: Comparison, report: ScoredDocument, response: ScoredDocument) -> str:
    """A comparison as one self-contained HTML page, the passages of both sides next to each other."""
    return ENVIRONMENT.get_template("comparison.html.jinja").render(found=found, report=report, response=response)
