"""What the gate said of a candidate: the figures of two models side by side, and each rule's answer."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from pydantic import Field, ValidationError

from labels import dataset
from labels.files import replacing
from models.manifest import ArtefactError, Frozen

# The folder of a model store in which verdicts are kept, a file a version. They hold no passage's text.
KEPT = "verdicts"


class Rule(Frozen):
    """What the gate asks of a candidate, and the answer in words."""

    name: str
    passed: bool
    detail: str


class Difference(Frozen):
    """A figure of both models on the same passages. interval: of after - before, 95%."""

    figure: str
    before: float
    after: float
    interval: tuple[float, float]

    @property
    def change(self) -> float:
        return self.after - self.before


class Comparison(Frozen):
    """Both models on one set of passages, which data_sha256 names."""

    name: str
    data_sha256: str
    passages: int
    documents: int
    differences: tuple[Difference, ...]


class Flip(Frozen):
    """A passage that the two models label differently, by keys. mended, broken: labels right now alone, or before."""

    set: str
    passage: str
    text: str
    due: tuple[str, ...]
    before: tuple[str, ...]
    after: tuple[str, ...]
    mended: tuple[str, ...]
    broken: tuple[str, ...]


class Verdict(Frozen):
    """Whether a candidate may follow the champion, and why.

    new: F1 of the labels that the champion does not have. best: by the digest of passages, the highest of each figure
    that a champion before, the champion, or the candidate if it passed, has had on them.
    """

    candidate: str
    champion: str
    created: datetime
    passed: bool
    rules: tuple[Rule, ...]
    comparisons: tuple[Comparison, ...]
    new: dict[str, float]
    best: dict[str, dict[str, float]]
    flips: tuple[Flip, ...] = Field(default=(), description="Empty where the verdict is kept without texts.")

    @property
    def refusals(self) -> list[Rule]:
        return [rule for rule in self.rules if not rule.passed]


def read(path: Path) -> Verdict | None:
    """A verdict; None where there is no file. Raises ArtefactError."""
    try:
        return Verdict.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise ArtefactError(f"{path} holds no verdict: {dataset.validation_detail(error)}") from error


def kept(root: Path, version: str) -> Verdict | None:
    """The verdict on a version of a model store; None where there was none. Raises ArtefactError."""
    return read(root / KEPT / f"{version}.json")


def keep(root: Path, verdict: Verdict) -> None:
    """Keep a verdict in a model store, without its flips: the texts of passages may be others' property."""
    (root / KEPT).mkdir(exist_ok=True)
    with replacing(root / KEPT / f"{verdict.candidate}.json") as partial:
        partial.write_text(verdict.model_copy(update={"flips": ()}).model_dump_json(indent=1) + "\n", encoding="utf-8")
