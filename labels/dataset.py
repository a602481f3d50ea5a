"""Labelled passages: one JSON object a line, validated with errors that name file and line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from labels.files import replacing
from labels.taxonomy import Taxonomy

DATA = Path(__file__).with_name("data")
WRITTEN = DATA / "written.jsonl"
# What `candour labels hydrate` makes from references.jsonl and the reports; never committed: the words are not ours.
HYDRATED = DATA / "hydrated.jsonl"
UNLABELLED = DATA / "unlabelled.jsonl"

Kind = Literal[
    "council_release", "local_news", "trade_press", "blog", "union_statement", "minutes", "inspection_letter",
    "inspection_report", "committee_paper", "letter", "comment_thread", "statement", "newsletter", "other",
]  # fmt: skip
Filled = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class Labels(BaseModel):
    """What an annotator said of one passage."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    themes: tuple[str, ...]
    stances: tuple[str, ...]
    primary_stance: str | None

    def faults(self, taxonomy: Taxonomy) -> list[str]:
        """What is wrong with the labels under a taxonomy, in words; empty when nothing is."""
        found = [f"unknown theme {name!r}" for name in self.themes if name not in taxonomy.themes]
        found += [f"unknown stance {name!r}" for name in self.stances if name not in taxonomy.stances]
        for axis, names in (("theme", self.themes), ("stance", self.stances)):
            if len(set(names)) < len(names):
                found.append(f"a {axis} is named twice")
        if self.stances and self.primary_stance is None:
            found.append("stances without a primary_stance, which says the strongest of them")
        elif self.stances and self.primary_stance not in self.stances:
            found.append(f"primary_stance {self.primary_stance!r} is not one of the stances")
        if not self.stances and self.primary_stance is not None:
            found.append("primary_stance without a stance")
        return found

    def vector(self, taxonomy: Taxonomy) -> list[int]:
        """0 or 1 for each label, in the taxonomy's order."""
        named = {f"theme/{name}" for name in self.themes} | {f"stance/{name}" for name in self.stances}
        return [int(key in named) for key in taxonomy.keys]


class Example(Labels):
    """A labelled passage with its text. `authority` is empty where a document is about no council in particular."""

    id: Filled
    document: Filled
    kind: Kind
    title: str
    authority: str
    published: date | None
    text: Filled
    annotator: Filled
    guide: Filled

    @property
    def group(self) -> str:
        """What is never divided between splits: all documents about one authority, or a document of none."""
        return self.authority.casefold().strip() or f"document:{self.document}"


class Unlabelled(BaseModel):
    """A passage that nobody has labelled, and the authority that it is about."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    authority: Filled
    text: Filled

    @property
    def group(self) -> str:
        return self.authority.casefold()


Row = TypeVar("Row", bound=Labels)
Kept = TypeVar("Kept", bound=BaseModel)


class InvalidRow(ValueError):
    """A row that is not what it should be; the message names fields and what is wrong with them."""


@dataclass(frozen=True, slots=True)
class RowError:
    """A row that cannot be used, and where it stands. line counts from 1."""

    path: str
    line: int
    detail: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.detail}"


class DatasetError(ValueError):
    """Rows that cannot be used; the message names file and line of each (the first twenty)."""

    def __init__(self, errors: list[RowError]) -> None:
        self.errors = errors
        more = f"\n… and {len(errors) - 20} more" if len(errors) > 20 else ""
        super().__init__("\n".join(map(str, errors[:20])) + more)


def load(paths: Iterable[Path], taxonomy: Taxonomy) -> list[Example]:
    """All examples of some JSONL files. Raises DatasetError with every row that is wrong."""
    found = [row for path in paths for row in rows(path, taxonomy)]
    if errors := [row for row in found if isinstance(row, RowError)]:
        raise DatasetError(errors)
    return [row for row in found if isinstance(row, Example)]


def rows(path: Path, taxonomy: Taxonomy) -> Iterator[Example | RowError]:
    """Each line as an Example, or as the reason why it is none."""
    for line, found in json_lines(path):
        if isinstance(found, RowError):
            yield found
            continue
        try:
            yield parse(found, Example, taxonomy)
        except InvalidRow as error:
            yield RowError(str(path), line, str(error))


def parse(raw: object, model: type[Row], taxonomy: Taxonomy) -> Row:
    """A row read from JSON or elsewhere, validated against its model and the taxonomy. Raises InvalidRow."""
    try:
        row = model.model_validate(raw)
    except ValidationError as error:
        raise InvalidRow(validation_detail(error)) from None
    if faults := row.faults(taxonomy):
        raise InvalidRow("; ".join(faults))
    return row


def json_lines(path: Path) -> Iterator[tuple[int, Any | RowError]]:
    """Line number and parsed JSON of every line that is not blank; RowError where a line is not JSON."""
    with path.open("rb") as file:
        for line, raw in enumerate(file, 1):
            if not raw.strip():
                continue
            try:
                yield line, json.loads(raw)
            except (ValueError, RecursionError) as error:
                yield line, RowError(str(path), line, f"not JSON: {error}")


def models(path: Path, model: type[Kept]) -> list[Kept]:
    """Each line of a JSONL file as a model. Raises DatasetError with every line that is none."""
    found: list[Kept] = []
    errors: list[RowError] = []
    for line, raw in json_lines(path):
        if isinstance(raw, RowError):
            errors.append(raw)
            continue
        try:
            found.append(model.model_validate(raw))
        except ValidationError as error:
            errors.append(RowError(str(path), line, validation_detail(error)))
    if errors:
        raise DatasetError(errors)
    return found


def validation_detail(error: ValidationError) -> str:
    """pydantic's findings in one line: field, then what is wrong with it."""
    return "; ".join(f"{'.'.join(map(str, e['loc'])) or 'row'}: {e['msg']}" for e in error.errors())


def write(path: Path, items: Iterable[BaseModel]) -> None:
    """Write one JSON object a line, whole or not at all."""
    with replacing(path) as partial, partial.open("w", encoding="utf-8") as file:
        for item in items:
            file.write(json.dumps(item.model_dump(mode="json"), ensure_ascii=False) + "\n")


def digest(examples: Iterable[Example]) -> str:
    """sha256 over ids, texts and labels in order of id: names the data that a model was trained on."""
    content = sorted(
        json.dumps([e.id, e.text, sorted(e.themes), sorted(e.stances), e.primary_stance], ensure_ascii=False)
        for e in examples
    )
    return hashlib.sha256("\n".join(content).encode()).hexdigest()
