"""Labels on public reports whose words are not ours to keep: where a passage stands and what it hashes to.

A row of references.jsonl names a file, the hash of a passage in it, and the labels. Whoever has the reports gets the
passages back (`candour labels hydrate`); who has not learns nothing of their words.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import Field, StringConstraints, model_validator

from labels import dataset
from labels.dataset import DATA, DatasetError, Example, Filled, InvalidRow, Labels, RowError, Unlabelled
from labels.passages import Passage, fingerprint
from labels.taxonomy import Taxonomy

REFERENCES = DATA / "references.jsonl"
KIND: Final = "inspection_report"
_FILE = re.compile(r"(?P<stem>(?P<authority>[a-z][a-z-]*[a-z])-(?P<published>\d{4}-\d{2}-\d{2}))\.[a-z]+")

PassagesOf = Callable[[str], Sequence[Passage]]


class Reference(Labels):
    """The labels of one passage of a report. sha256: its fingerprint; start and end: where it stood when labelled."""

    file: str
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    start: Annotated[int, Field(ge=0)]
    end: Annotated[int, Field(gt=0)]
    annotator: Filled
    guide: Filled

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        found = _FILE.fullmatch(self.file)
        if not found:
            raise ValueError(f"file {self.file!r} is not called authority-YYYY-MM-DD.pdf")
        date.fromisoformat(found["published"])
        if self.end <= self.start:
            raise ValueError("end is not after start")
        return self

    @property
    def document(self) -> str:
        return self._name["stem"]

    @property
    def authority(self) -> str:
        """The authority as the file names it: 'barnsley', the same for both of its reports."""
        return self._name["authority"]

    @property
    def published(self) -> date:
        return date.fromisoformat(self._name["published"])

    @property
    def id(self) -> str:
        return f"{self.document}/{self.sha256[:12]}"

    @property
    def group(self) -> str:
        """What is never divided between splits; equals the group of the Example that it becomes."""
        return self.authority.casefold()

    @property
    def _name(self) -> re.Match[str]:
        found = _FILE.fullmatch(self.file)
        assert found  # _consistent saw to it
        return found


@dataclass(frozen=True, slots=True)
class Found:
    """A reference and the passage that it means. moved: it stands elsewhere than when it was labelled."""

    reference: Reference
    passage: Passage

    @property
    def moved(self) -> bool:
        return (self.passage.start, self.passage.end) != (self.reference.start, self.reference.end)


class HydrationError(DatasetError):
    """References whose passages are not in the reports at hand; errors holds every one of them."""

    def __str__(self) -> str:
        return f"{len(self.errors)} references not found\n" + "\n".join(map(str, self.errors))


def read(path: Path, taxonomy: Taxonomy) -> list[Reference]:
    """All references of a file; the n-th stands in line n. Raises DatasetError with every line that is wrong."""
    references, errors = [], []
    for number, (line, found) in enumerate(dataset.json_lines(path), 1):
        if line != number:
            raise DatasetError([RowError(str(path), number, "a blank line: line n must be the n-th reference")])
        if isinstance(found, RowError):
            errors.append(found)
            continue
        try:
            references.append(dataset.parse(found, Reference, taxonomy))
        except InvalidRow as error:
            errors.append(RowError(str(path), line, str(error)))
    if errors:
        raise DatasetError(errors)
    return references


def find(references: Iterable[Reference], passages_of: PassagesOf, path: Path = REFERENCES) -> list[Found]:
    """The passage of every reference, in their order.

    passages_of: the passages of a file by its name, asked once a file; it raises OSError where it cannot read one.
    path: named in errors. Raises HydrationError with every reference that is not found.
    """
    numbered = list(enumerate(references, 1))
    by_file: dict[str, list[tuple[int, Reference]]] = defaultdict(list)
    for line, reference in numbered:
        by_file[reference.file].append((line, reference))
    found: dict[int, Found] = {}
    errors: list[RowError] = []
    for file, wanted in by_file.items():
        try:
            passages = _by_hash(passages_of(file))
        except OSError as error:
            errors += [RowError(str(path), line, f"{file} cannot be read: {error}") for line, _ in wanted]
            continue
        for line, reference in wanted:
            if passage := _nearest(passages.get(reference.sha256, []), reference.start):
                found[line] = Found(reference, passage)
            else:
                errors.append(RowError(str(path), line, f"no passage of {file} hashes to {reference.sha256[:12]}…"))
    if errors:
        raise HydrationError(sorted(errors, key=lambda error: error.line))
    return [found[line] for line, _ in numbered]


def unlabelled(references: Iterable[Reference], passages_of: PassagesOf) -> list[Unlabelled]:
    """The passages of the references' files whose words no reference labels, in the order of file and place."""
    held = list(references)
    named = {reference.sha256 for reference in held}
    return [
        Unlabelled(authority=authority, text=passage.text)
        for file, authority in {reference.file: reference.authority for reference in held}.items()
        for passage in passages_of(file)
        if fingerprint(passage.text) not in named
    ]


def example(found: Found) -> Example:
    """The labelled passage, as training reads it."""
    reference = found.reference
    place = reference.authority.replace("-", " ").title()
    return Example(
        **reference.model_dump(include={"themes", "stances", "primary_stance", "annotator", "guide"}),
        id=reference.id,
        document=reference.document,
        kind=KIND,
        title=f"Inspection of children's services: {place}, {reference.published}",
        authority=reference.authority,
        published=reference.published,
        text=found.passage.text,
    )


def _by_hash(passages: Iterable[Passage]) -> dict[str, list[Passage]]:
    held: dict[str, list[Passage]] = defaultdict(list)
    for passage in passages:
        held[fingerprint(passage.text)].append(passage)
    return held


def _nearest(passages: list[Passage], start: int) -> Passage | None:
    return min(passages, key=lambda passage: abs(passage.start - start), default=None)
