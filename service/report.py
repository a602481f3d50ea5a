"""The result types, defined once: the HTTP body, the CLI's JSON, and the rows of a table are all made of these."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from labels.dataset import Kind

if TYPE_CHECKING:  # the client, which uses these types, runs no model
    from models import explanation
    from models.classifier import Prediction

T = TypeVar("T")


class Result(BaseModel):
    model_config = ConfigDict(frozen=True)


class Scores(Result):
    """Calibrated probabilities by label name, 0 to 1, rounded to four places."""

    themes: dict[str, float]
    stances: dict[str, float]


class Classification(Result):
    """The labels of one text, and the version of the model that gave them."""

    themes: list[str] = Field(description="Themes whose probability reaches the model's threshold.")
    stances: list[str] = Field(description="Stances whose probability reaches the model's threshold.")
    primary_stance: str | None = Field(description="The strongest of the stances; null when there is none.")
    scores: Scores
    confident: bool = Field(description="The chance that one of the labels is wrong is within the model's bound.")
    model: str = Field(description="Version of the model.")


class Evidence(Result):
    """Part of a text, from start to end (characters), and what its removal takes from a label's probability."""

    text: str
    start: int
    end: int
    effect: float


class Explanation(Result):
    """What carries a label that is on: a sentence, and single words, the strongest first."""

    label: str = Field(description="Axis and name, such as stance/critical.")
    probability: float
    sentence: Evidence
    words: list[Evidence]


class Identified(Result):
    id: str | int


class Row(Classification, Identified):
    """A line of `candour classify`: the id that came in, and its labels."""


class ExplainedRow(Row):
    """A line of `candour classify --explain`: why each label is on, too; null for a text too long to explain."""

    explanations: list[Explanation] | None


class Placed(Result):
    """Where a passage stands: text is the document's extracted text from start to end (characters)."""

    text: str
    start: int
    end: int
    page: int | None


class ScoredPassage(Classification, Placed):
    """A passage of a document, and its labels."""


class Summary(Result):
    """Counts of a document's passages. A passage with two themes counts under both; `none` is no theme or no stance."""

    passages: int
    themes: dict[str, int]
    stances: dict[str, int]
    matrix: dict[str, dict[str, int]] = Field(description="Theme (or `none`) to primary stance (or `none`) to count.")
    sharpest: list[int] = Field(description="Positions in `passages` of the three with the clearest critical, "
                                            "defensive or apologetic stance, sharpest first.")  # fmt: skip


# The ending of a file that says what is known of the document beside it, as Metadata has it.
METADATA = ".meta.json"


class Metadata(Result):
    """What is known of a document beside its text."""

    title: str | None = Field(default=None, examples=["Our response to Ofsted"])
    council: str | None = Field(default=None, description="The council that it is about.", examples=["Tarnholme"])
    published: date | None = None
    kind: Kind | None = Field(default=None, description="What sort of document it is.")
    url: str | None = Field(default=None, description="Where it was published.")


class Head(Metadata):
    """A document without its passages. sha256 is of the bytes; id is its first sixteen digits."""

    id: str
    path: str | None
    media_type: str
    pages: int | None
    sha256: str
    model: str
    segmentation: str


class ScoredDocument(Head):
    """A document with its passages."""

    passages: list[ScoredPassage]
    summary: Summary


class DocumentSummary(Head):
    """A stored document without its passages, and when it came and was last changed."""

    summary: Summary
    created: datetime
    updated: datetime


class FoundPassage(ScoredPassage, Metadata):
    """A passage of a stored document, and what is known of the document."""

    id: str = Field(description="The document's id and the position, with a hyphen between.")
    document: str = Field(description="The document's id.")
    position: int = Field(description="In the document's `passages`, from 0.")
    created: datetime = Field(description="When the document came.")


class Page(Result, Generic[T]):
    """Part of a list, in its order."""

    items: list[T]
    next: str | None = Field(description="The cursor of the next page; null on the last.")


class Problem(Result):
    """What was wrong. type is stable; detail is for a person."""

    type: str
    detail: str


class Failure(Result):
    """An input that could not be used, in place of its result: a document by its path, a passage by its id."""

    path: str | None = None
    id: str | int | None = None
    line: int | None = Field(default=None, description="Line of the input, for passages.")
    error: Problem

    def body(self) -> dict[str, Any]:
        """As one line of JSON has it: {"path", "error"} or {"id", "line", "error"}."""
        return self.model_dump(mode="json", exclude={"id", "line"} if self.path is not None else {"path"})


def classification(prediction: Prediction, version: str) -> Classification:
    return Classification(**fields(prediction, version))


def fields(prediction: Prediction, version: str) -> dict[str, Any]:
    """The fields of a Classification, for the results that carry more."""
    scores: dict[str, dict[str, float]] = {"theme": {}, "stance": {}}
    for key, probability in prediction.scores.items():
        axis, _, name = key.partition("/")
        scores[axis][name] = round(probability, 4)
    return {
        "themes": list(prediction.themes),
        "stances": list(prediction.stances),
        "primary_stance": prediction.primary_stance,
        "scores": Scores(themes=scores["theme"], stances=scores["stance"]),
        "confident": prediction.confident,
        "model": version,
    }


def explanations(found: Iterable[explanation.Explanation]) -> list[Explanation]:
    """Explanations as results, effects and probabilities rounded to four places."""
    return [
        Explanation(
            label=item.key,
            probability=round(item.probability, 4),
            sentence=_evidence(item.sentence),
            words=[_evidence(word) for word in item.words],
        )
        for item in found
    ]


def _evidence(span: explanation.Span) -> Evidence:
    return Evidence(text=span.text, start=span.start, end=span.end, effect=round(span.effect, 4))


SHARP = ("critical", "defensive", "apologetic")


def summarise(passages: list[ScoredPassage]) -> Summary:
    """Count a document's passages by theme, stance, and theme × primary stance."""
    matrix: dict[str, Counter[str]] = {}
    for passage in passages:
        for theme in passage.themes or ["none"]:
            matrix.setdefault(theme, Counter())[passage.primary_stance or "none"] += 1
    sharp = [n for n, p in enumerate(passages) if set(p.stances) & set(SHARP)]
    return Summary(
        passages=len(passages),
        themes=_counts(p.themes for p in passages),
        stances=_counts(p.stances for p in passages),
        matrix={theme: dict(counts) for theme, counts in matrix.items()},
        sharpest=sorted(sharp, key=lambda n: -sharpness(passages[n]))[:3],
    )


def sharpness(passage: ScoredPassage) -> float:
    """The probability of the sharpest stance, and among equals that of a theme: a passage about something first."""
    stance = max(passage.scores.stances.get(name, 0.0) for name in SHARP)
    return stance + 0.1 * max(passage.scores.themes.values(), default=0.0)


def _counts(labels: Iterable[list[str]]) -> dict[str, int]:
    counted: Counter[str] = Counter()
    for names in labels:
        counted.update(names or ["none"])
    return dict(counted)
