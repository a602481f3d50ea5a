"""Load and validate the taxonomy: the axes, their labels, the order in which a model names them, and a digest."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

PACKAGED = Path(__file__).with_name("taxonomy.yaml")
AXES = ("theme", "stance")


class TaxonomyError(ValueError):
    """The taxonomy file is not one that candour can use; the message names the place."""


@dataclass(frozen=True, slots=True)
class Label:
    """One label of one axis. `key` (axis/name) is the name of the model's output."""

    axis: str
    name: str
    title: str
    definition: str
    not_when: str
    examples: tuple[str, ...]

    @property
    def key(self) -> str:
        return f"{self.axis}/{self.name}"


@dataclass(frozen=True)
class Taxonomy:
    """All labels in the model's output order: themes first, then stances, each as listed in the file."""

    version: str
    labels: tuple[Label, ...]

    @cached_property
    def keys(self) -> tuple[str, ...]:
        return tuple(label.key for label in self.labels)

    @cached_property
    def themes(self) -> tuple[str, ...]:
        return tuple(label.name for label in self.labels if label.axis == "theme")

    @cached_property
    def stances(self) -> tuple[str, ...]:
        return tuple(label.name for label in self.labels if label.axis == "stance")

    @cached_property
    def digest(self) -> str:
        """sha256 of what the labels mean, so that a model trained under another definition is told apart."""
        content = [
            [label.key, label.title, label.definition, label.not_when, list(label.examples)] for label in self.labels
        ]
        return hashlib.sha256(json.dumps([self.version, content], ensure_ascii=False).encode()).hexdigest()


def load(path: Path = PACKAGED) -> Taxonomy:
    """Read a taxonomy file. Raises TaxonomyError naming the entry that is wrong."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise TaxonomyError(f"{path}: cannot be read: {error}") from error
    if not isinstance(raw, dict) or not isinstance(raw.get("version"), str) or not isinstance(raw.get("axes"), dict):
        raise TaxonomyError(f"{path}: needs a 'version' (a string) and 'axes'")
    if tuple(raw["axes"]) != AXES:
        raise TaxonomyError(f"{path}: axes must be {', '.join(AXES)}, in this order")
    labels = tuple(
        _label(path, axis, number, entry)
        for axis in AXES
        for number, entry in enumerate(_entries(path, axis, raw["axes"][axis]), 1)
    )
    keys = [label.key for label in labels]
    if repeated := sorted({key for key in keys if keys.count(key) > 1}):
        raise TaxonomyError(f"{path}: label named twice: {', '.join(repeated)}")
    return Taxonomy(version=raw["version"], labels=labels)


def _entries(path: Path, axis: str, raw: Any) -> list[Any]:
    entries = raw.get("labels") if isinstance(raw, dict) else None
    if not isinstance(entries, list) or not entries:
        raise TaxonomyError(f"{path}: axis {axis} has no list of labels")
    return entries


def _label(path: Path, axis: str, number: int, raw: Any) -> Label:
    where = f"{path}: {axis} label {number}"
    if not isinstance(raw, dict):
        raise TaxonomyError(f"{where}: is not a mapping")
    for field in ("name", "title", "definition", "not_when"):
        if not isinstance(raw.get(field), str) or not raw[field].strip():
            raise TaxonomyError(f"{where}: {field} is missing or not text")
    if not raw["name"].isidentifier() or raw["name"] != raw["name"].lower():
        raise TaxonomyError(f"{where}: name {raw['name']!r} must be lower case letters, digits and underscores")
    examples = raw.get("examples")
    if not isinstance(examples, list) or not examples or not all(isinstance(e, str) for e in examples):
        raise TaxonomyError(f"{where}: examples must be a list of at least one text")
    return Label(axis, raw["name"], raw["title"], raw["definition"], raw["not_when"], tuple(examples))
