"""Corrections: what people say of passages that a model has labelled, and what of it becomes labelled data.

A correction is of a text: it holds wherever that text stands, however documents are cut into passages and scored anew.
It is never changed; who thinks again says so in a new one. Imports nothing heavy.
"""

from __future__ import annotations

import math
import re
import tempfile
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from labels import check, dataset, references, splits
from labels.check import Finding, Row
from labels.dataset import DatasetError, Example, Labels, RowError
from labels.passages import Passage, fingerprint, normalise
from labels.references import Found, Reference
from labels.taxonomy import Taxonomy
from service.errors import InvalidInput
from service.report import Classification, FoundPassage, Metadata, Result, Scores

# Control and format characters, and ends of lines.
_UNSEEN = ("Cc", "Cf", "Zl", "Zp")
# The most characters of a name, and of a reason.
WHO, WHY = 200, 2_000
# The version of a labelling guide, as a person may give it.
Guide = Annotated[str, StringConstraints(pattern=r"^[0-9]+(\.[0-9]+)*$", max_length=20)]


class Said(Labels):
    """What a person says of a passage. guide: the version of the labelling guide that it follows."""

    who: str
    why: str | None
    guide: str

    def checked(self, taxonomy: Taxonomy) -> Said:
        """Itself. Raises InvalidInput that names each fault."""
        faults = self.faults(taxonomy)
        if not person(self.who):
            faults.append("nobody is named who says so")
        if len(self.who) > WHO or any(unicodedata.category(letter) in _UNSEEN for letter in self.who):
            faults.append(f"who says so is one line of at most {WHO} characters")
        if self.why is not None and len(self.why) > WHY:
            faults.append(f"why has at most {WHY} characters")
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
    who: str = Field(description="Who says so, as it was written. Case and white space tell no two people apart.")
    key: str | None = Field(
        description="The id of the API key that it came with; null from the command line and where there are no keys."
    )
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
    """Why a passage is in the queue: the model doubts, two models differ, people differ, or it was drawn at random."""

    UNCERTAIN = "uncertain"
    DISAGREEMENT = "disagreement"
    DISPUTED = "disputed"
    RANDOM = "random"


class ReviewItem(FoundPassage):
    """A passage that is worth a person's minute."""

    reason: Reason
    uncertainty: float | None = Field(
        description="The calibrated chance that one of the labels is wrong; null where another model than the one "
        "that is served gave them, whose scores say nothing calibrated under its thresholds."
    )
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


@dataclass(frozen=True, slots=True)
class Corrected:
    """A correction, and its document: what is known of it, and the fingerprints of all its passages."""

    correction: Correction
    metadata: Metadata
    passages: frozenset[str]


@dataclass(frozen=True)
class Pulled:
    """Corrections as labelled data.

    examples: sound, in order of id. superseded: the rows beside them whose text they have, and whose place they take.
    merged: the labelled passages beside them that are not superseded, and the examples. refused: those that change the
    test split, or that a check finds an error in. disputed: the present corrections of each text that people label
    differently, of which nobody's labels are taken.
    """

    examples: list[Example]
    superseded: list[Row]
    merged: list[Example]
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
    last = {person(correction.who): correction for correction in sorted(versions, key=lambda correction: correction.id)}
    return sorted(last.values(), key=lambda correction: -correction.id)


def person(who: str) -> str:
    """What makes two names the same person's: whatever the case and the white space."""
    return normalise(who).casefold()


def disagree(corrections: Iterable[Correction]) -> bool:
    return len({verdict(correction) for correction in corrections}) > 1


def verdict(labels: Correction | Labelled | Classification) -> tuple[frozenset[str], frozenset[str], str | None]:
    """What makes two labellings the same, whatever the order of their labels."""
    return frozenset(labels.themes), frozenset(labels.stances), labels.primary_stance


def pull(corrected: Iterable[Corrected], taxonomy: Taxonomy, beside: Sequence[Path]) -> Pulled:
    """One example for each text whose people agree, through the checks of all labelled data.

    corrected: all versions. beside: files of the labelled passages that they join. An example takes the place of the
    rows of these files that have its text, in their document and so in their split. One whose text is a test passage,
    of these files or of the packaged ones, is refused. Any other joins what its document is about: the council, by the
    name that splits.json or these files have for it; what the document's passages are known from, where there is no
    council, or one that they have by another name or not at all, or where that is held out and the council is not; else
    the council by its own name, so that its split follows from that alone. Raises DatasetError for rows of these files
    that are none.
    """
    known = rows([*beside, *(path for path in check.packaged() if path not in beside)], taxonomy)
    files = {str(path) for path in beside}
    joined = [row for row in known if row.path in files]
    names, held, passages = _names(joined), _by_text(joined), _by_text(known)
    by_text: dict[str, list[Corrected]] = defaultdict(list)
    for one in sorted(corrected, key=lambda one: one.correction.id):
        by_text[fingerprint(one.correction.text)].append(one)
    examples: list[Example] = []
    refused: list[tuple[Example, Finding]] = []
    disputed: list[list[Correction]] = []
    for sha256, versions in by_text.items():
        now = present(one.correction for one in versions)
        if disagree(now):
            disputed.append(now)
            continue
        first, same = versions[0], held.get(sha256, [])
        frozen = next((row for row in passages.get(sha256, []) if splits.split_of(row.group) == "test"), None)
        if frozen:
            detail = f"the same passage as {frozen.place} ({frozen.id}), which is of the test split and never changed"
            fault = Finding("error", "frozen", frozen.path, frozen.line, detail)
            refused.append((_labelled(_new(sha256, first, names, passages), now), fault))
        else:
            examples.append(_labelled(_full(same, first) if same else _new(sha256, first, names, passages), now))
    examples.sort(key=lambda example: example.id)
    wrong = _errors(joined, examples, taxonomy)
    sound = [example for example in examples if example.id not in wrong]
    refused += [(example, wrong[example.id]) for example in examples if example.id in wrong]
    taken = {fingerprint(example.text) for example in sound}
    left = [row.labels for row in joined if row.sha256 not in taken]
    return Pulled(
        examples=sound,
        superseded=[row for row in joined if row.sha256 in taken],
        merged=[*(example for example in left if isinstance(example, Example)), *sound],
        refused=sorted(refused, key=lambda pair: pair[0].id),
        disputed=disputed,
    )


def rows(paths: Iterable[Path], taxonomy: Taxonomy) -> list[Row]:
    """All rows of files of examples or references. Raises DatasetError with every line that is none."""
    found = [item for path in paths for item in check.read(path, taxonomy)]
    if faults := [item for item in found if isinstance(item, Finding)]:
        raise DatasetError([RowError(fault.path, fault.line, fault.detail) for fault in faults])
    return [item for item in found if isinstance(item, Row)]


def _names(joined: Iterable[Row]) -> dict[str, str]:
    """The name by which labelled data has each council, by its place_name."""
    fixed = sorted(group for group in splits.fixed() if not group.startswith("document:"))
    names: dict[str, str] = {}
    for name in (*fixed, *sorted({row.authority for row in joined if row.authority})):
        names.setdefault(check.place_name(name), name)
    return names


def _named(place: str, names: Mapping[str, str]) -> str:
    """The name by which labelled data has a council, else "".

    'southend' is southend-on-sea, the only one so called; and what has the name of one that is held out among other
    words is that one.
    """
    if place in names:
        return names[place]
    longer = [name for other, name in names.items() if place and other.startswith(f"{place} ")]
    within = [name for other, name in names.items() if f" {other} " in f" {place} " and _held_out(name.casefold())]
    found = longer or within
    return found[0] if len(found) == 1 else ""


def _by_text(known: Iterable[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in known:
        found[row.sha256].append(row)
    return found


def _full(same: Sequence[Row], one: Corrected) -> Example:
    """The passage that these rows are: a reference, whose words are not in it, with those that were corrected."""
    labels = [row.labels for row in same]
    for found in labels:
        if isinstance(found, Example):
            return found
    assert isinstance(labels[0], Reference)
    return references.example(Found(labels[0], Passage(one.correction.text, labels[0].start, labels[0].end)))


def _new(sha256: str, one: Corrected, names: Mapping[str, str], passages: Mapping[str, Sequence[Row]]) -> Example:
    correction, metadata = one.correction, one.metadata
    council = check.place_name(metadata.council or "")
    document, authority = correction.document, _named(council, names)
    home, known = _home(one.passages, passages)
    # One passage alone may be quoted from elsewhere: it moves a document with a council out of training, and not into.
    enough = not council or (not authority and known > 1)
    if home and (enough or _held_out(home.group) > (_held_out(authority.casefold()) if authority else 0)):
        document, authority = (document, home.authority) if home.authority else (home.document, "")
    else:
        authority = authority or council
    return Example(
        id=f"{correction.document}/{sha256[:12]}",
        document=document,
        kind=metadata.kind or "other",
        title=metadata.title or "",
        authority=authority,
        published=metadata.published,
        text=correction.text,
        themes=(),
        stances=(),
        primary_stance=None,
        annotator=correction.who,
        guide=correction.guide,
    )


def _home(document: Collection[str], passages: Mapping[str, Sequence[Row]]) -> tuple[Row | None, int]:
    """A row of the group that a document's passages are known from, and how many are: of a group of test before others.

    Of several such groups it is that of most passages.
    """
    found = [{row.group: row for row in passages.get(name, ())} for name in sorted(document)]
    votes = Counter(group for groups in found for group in groups)
    homes = {group: row for groups in found for group, row in groups.items()}
    best = min(votes, key=lambda group: (-_held_out(group), -votes[group], group), default="")
    return homes.get(best), votes[best]


def _held_out(group: str) -> int:
    """0 for a group that is learned from, 1 for one of dev, 2 for one of test."""
    return ("train", "dev", "test").index(splits.split_of(group))


def _labelled(example: Example, now: Sequence[Correction]) -> Example:
    """The passage as people agree on it."""
    newest = now[0]
    return example.model_copy(
        update={
            "themes": tuple(newest.themes),
            "stances": tuple(newest.stances),
            "primary_stance": newest.primary_stance,
            "annotator": ", ".join(sorted(correction.who for correction in now)),
            "guide": newest.guide,
        }
    )


def _errors(joined: Iterable[Row], examples: Sequence[Example], taxonomy: Taxonomy) -> dict[str, Finding]:
    """The first error of each example that has one, by its id, where it stands in place of the rows with its text.

    There, and not after them: of two passages that do not go together the later one is in error.
    """
    valid = {fingerprint(example.text): example for example in examples if not example.faults(taxonomy)}
    lines: dict[str, tuple[str, Labels]] = {}
    for row in joined:
        if row.sha256 in valid:
            lines.setdefault(row.sha256, (row.place, valid[row.sha256]))
        else:
            lines[row.place] = (row.place, row.labels)
    for example in examples:
        lines.setdefault(fingerprint(example.text), ("the corrections", example))
    places, labels = [place for place, _ in lines.values()], [found for _, found in lines.values()]
    with tempfile.TemporaryDirectory(prefix="candour-") as folder:
        path = Path(folder) / "merged.jsonl"
        dataset.write(path, labels)
        found = check.check([path], taxonomy).errors
    ours = {id(example) for example in examples}
    errors: dict[str, Finding] = {}
    for finding in found:
        at_fault = labels[finding.line - 1]
        if isinstance(at_fault, Example) and id(at_fault) in ours:
            named = re.sub(rf"{re.escape(str(path))}:(\d+)", lambda at: places[int(at[1]) - 1], finding.detail)
            errors.setdefault(at_fault.id, replace(finding, detail=named))
    return errors
