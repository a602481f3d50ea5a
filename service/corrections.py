"""Corrections: what people say of passages that a model has labelled, and what of it becomes labelled data.

A correction is of a text: it holds wherever that text stands, however documents are cut into passages and scored anew.
It is never changed; who thinks again says so in a new one. Imports nothing heavy.
"""

from __future__ import annotations

import math
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import Field

from labels import check, dataset, splits
from labels.check import Finding
from labels.dataset import Example, Labels
from labels.passages import fingerprint
from labels.taxonomy import Taxonomy
from service.errors import InvalidInput
from service.report import Classification, FoundPassage, Metadata, Result, Scores


class Said(Labels):
    """What a person says of a passage. guide: the version of the labelling guide that it follows."""

    who: str
    why: str | None
    guide: str

    def checked(self, taxonomy: Taxonomy) -> Said:
        """Itself. Raises InvalidInput that names each fault."""
        faults = self.faults(taxonomy)
        if not self.who.strip():
            faults.append("nobody is named who says so")
        if faults:
            raise InvalidInput("; ".join(faults))
        return self


class Labelled(Result):
    """What a model said of a passage."""

    themes: list[str]
    stances: list[str]
    primary_stance: str | None
    model: str = Field(description="Version of the model.")


class Correction(Result):
    """What a person said of a passage, as it stood then."""

    id: int = Field(description="Counts up: of two versions the later one has the higher id.")
    document: str = Field(description="The id of the document.")
    position: int = Field(description="Where the passage stood in the document's `passages`, from 0.")
    text: str
    themes: list[str]
    stances: list[str]
    primary_stance: str | None
    who: str
    why: str | None
    guide: str = Field(description="The version of the labelling guide that was followed.", examples=["1.0"])
    created: datetime
    given: Labelled = Field(description="What the model had said.")


class Corrections(Result):
    """What people said of a passage."""

    disagree: bool = Field(description="Whether the present labels of two people differ.")
    present: list[Correction] = Field(description="The last version of each person, the newest first.")
    versions: list[Correction] = Field(description="All versions, the newest first.")


class Reason(StrEnum):
    """Why a passage is in the queue: the model doubts, two models differ, or it was drawn at random."""

    UNCERTAIN = "uncertain"
    DISAGREEMENT = "disagreement"
    RANDOM = "random"


class ReviewItem(FoundPassage):
    """A passage that is worth a person's minute."""

    reason: Reason
    uncertainty: float = Field(description="The calibrated chance that one of the labels is wrong.")
    former: Labelled | None = Field(description="What another model said before, where it said something else.")


class Queue(Result):
    """What to look at next, in this order."""

    items: list[ReviewItem]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A passage that may be worth a look, without its text.

    council: folded as it is searched. former: what another model said before, as a Labelled has it.
    """

    document: str
    position: int
    fingerprint: str
    council: str | None
    doubt: float
    confident: bool
    former: dict[str, Any] | None


@dataclass(frozen=True)
class Pulled:
    """Corrections as labelled data.

    examples: sound, in order of id. refused: those that a check finds an error in. disputed: the present corrections of
    each text that people label differently, of which nobody's labels are taken.
    """

    examples: list[Example]
    refused: list[tuple[Example, Finding]]
    disputed: list[list[Correction]]


def doubt(themes: Iterable[str], stances: Iterable[str], scores: Scores) -> float:
    """The chance that at least one label is wrong by its score, were the labels independent (calibration.raw_risk)."""
    on = (set(themes), set(stances))
    pairs = zip(on, (scores.themes, scores.stances), strict=True)
    return 1.0 - math.prod(p if name in named else 1.0 - p for named, axis in pairs for name, p in axis.items())


def overview(versions: Iterable[Correction]) -> Corrections:
    """All that people said of one text."""
    held = sorted(versions, key=lambda correction: -correction.id)
    now = present(held)
    return Corrections(disagree=disagree(now), present=now, versions=held)


def present(versions: Iterable[Correction]) -> list[Correction]:
    """The last version of each person, the newest first."""
    last = {correction.who: correction for correction in sorted(versions, key=lambda correction: correction.id)}
    return sorted(last.values(), key=lambda correction: -correction.id)


def disagree(corrections: Iterable[Correction]) -> bool:
    return len({verdict(correction) for correction in corrections}) > 1


def verdict(labels: Correction | Labelled | Classification) -> tuple[frozenset[str], frozenset[str], str | None]:
    """What makes two labellings the same, whatever the order of their labels."""
    return frozenset(labels.themes), frozenset(labels.stances), labels.primary_stance


def pull(corrected: Iterable[tuple[Correction, Metadata]], taxonomy: Taxonomy) -> Pulled:
    """One example for each text whose people agree, through the checks of all labelled data beside the packaged set.

    corrected: all versions, each with what is known of its document. A council goes by the name that the splits file
    has for it, whatever it is called there, so that its passages join its split; a council that is new to it goes where
    the hash of its name says.
    """
    by_text: dict[str, list[tuple[Correction, Metadata]]] = defaultdict(list)
    for correction, metadata in sorted(corrected, key=lambda one: one[0].id):
        by_text[fingerprint(correction.text)].append((correction, metadata))
    names = _authorities(metadata.council for versions in by_text.values() for _, metadata in versions)
    examples, disputed = [], []
    for sha256, versions in by_text.items():
        now = present(correction for correction, _ in versions)
        if disagree(now):
            disputed.append(now)
        else:
            first, metadata = versions[0]
            examples.append(_example(f"{first.document}/{sha256[:12]}", first, now, metadata, names))
    examples.sort(key=lambda example: example.id)
    wrong = _errors(examples, taxonomy)
    return Pulled(
        examples=[example for example in examples if example.id not in wrong],
        refused=[(example, wrong[example.id]) for example in examples if example.id in wrong],
        disputed=disputed,
    )


def _authorities(councils: Iterable[str | None]) -> dict[str, str]:
    """The one name of each council, by its name without what kind of authority it is."""
    fixed = sorted(group for group in splits.fixed() if not group.startswith("document:"))
    names: dict[str, str] = {}
    for name in (*fixed, *sorted({council for council in councils if council})):
        names.setdefault(check.place_name(name), name)
    return names


def _example(
    id: str,  # noqa: A002
    first: Correction,
    now: Sequence[Correction],
    metadata: Metadata,
    names: dict[str, str],
) -> Example:
    newest = now[0]
    return Example(
        id=id,
        document=first.document,
        kind=metadata.kind or "other",
        title=metadata.title or "",
        authority=names[check.place_name(metadata.council)] if metadata.council else "",
        published=metadata.published,
        text=first.text,
        themes=tuple(newest.themes),
        stances=tuple(newest.stances),
        primary_stance=newest.primary_stance,
        annotator=", ".join(sorted(correction.who for correction in now)),
        guide=newest.guide,
    )


def _errors(examples: list[Example], taxonomy: Taxonomy) -> dict[str, Finding]:
    """The first error of each example that has one, by its id."""
    with tempfile.TemporaryDirectory(prefix="candour-") as folder:
        path = Path(folder) / "corrections.jsonl"
        dataset.write(path, examples)
        found = check.check([*check.packaged(), path], taxonomy).errors
    errors: dict[str, Finding] = {}
    for finding in found:
        if finding.path == str(path):
            errors.setdefault(examples[finding.line - 1].id, finding)
    return errors
