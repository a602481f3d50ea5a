"""What a published model is: one frozen object that owns its file names, digests, thresholds and history."""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from labels import dataset

MODEL = "model.onnx"
TOKENIZER = "tokenizer.json"
MANIFEST = "manifest.json"
CARD = "README.md"
# The card's figures.
RELIABILITY = "reliability.svg"
RISK_COVERAGE = "risk-coverage.svg"
# What the manifest vouches for.
FILES = (MODEL, TOKENIZER, CARD, RELIABILITY, RISK_COVERAGE)
SCHEMA = 3
# What a version may be called: it is a folder's name.
VERSION = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"


class ArtefactError(Exception):
    """A model that must not be served: missing, changed since it was published, or made for another candour."""


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Output(Frozen):
    """One output of the network: its probability is sigmoid(logit / temperature + bias); it is on at the threshold."""

    key: str
    temperature: float = Field(gt=0)
    bias: float
    threshold: float = Field(ge=0, le=1)

    @property
    def axis(self) -> str:
        return self.key.partition("/")[0]

    @property
    def name(self) -> str:
        return self.key.partition("/")[2]


class Abstention(Frozen):
    """When the model does not vouch for a passage: the chance that one of its labels is wrong is over the bound.

    That chance is sigmoid(slope * logit(raw) + intercept), where raw is what the labels' probabilities say when taken
    as independent (calibration.raw_risk).
    """

    slope: float
    intercept: float
    bound: float = Field(ge=0, le=1)


class Lineage(Frozen):
    """Where a model comes from. Digests are sha256 in hexadecimal."""

    base: str
    base_sha256: str
    data_sha256: str
    data_counts: dict[str, int]
    teacher: str | None
    teacher_sha256: str | None
    taxonomy_version: str
    taxonomy_sha256: str
    guide: str
    seed: int
    parent: str | None = None
    commit: str | None = None
    packages: dict[str, str] = {}


class Manifest(Frozen):
    """The contents of manifest.json."""

    schema_version: int = SCHEMA
    version: str = Field(pattern=f"^{VERSION}$")
    created: datetime
    outputs: tuple[Output, ...] = Field(min_length=1)
    abstention: Abstention
    max_tokens: int = Field(gt=2)
    segmentation: str
    sha256: dict[str, str]
    lineage: Lineage
    metrics: dict[str, float]

    @model_validator(mode="before")
    @classmethod
    def _of_this_schema(cls, found: Any) -> Any:
        if isinstance(found, dict) and found.get("schema_version", SCHEMA) != SCHEMA:
            raise ValueError(f"schema {found['schema_version']} is not {SCHEMA}: made by another version of candour")
        return found

    @model_validator(mode="after")
    def _complete(self) -> Manifest:
        if missing := set(FILES) - self.sha256.keys():
            raise ValueError(f"no sha256 of {', '.join(sorted(missing))}")
        return self


def read(folder: Path) -> Manifest:
    """The manifest of a published model. Raises ArtefactError."""
    try:
        return Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except FileNotFoundError:
        raise ArtefactError(f"{folder} holds no model (no {MANIFEST})") from None
    except OSError as error:
        raise ArtefactError(f"{folder / MANIFEST} cannot be used: {error.strerror}") from error
    except ValidationError as error:
        raise ArtefactError(f"{folder / MANIFEST} cannot be used: {dataset.validation_detail(error)}") from error


def verify(folder: Path, manifest: Manifest) -> None:
    """Raise ArtefactError unless every file of the model is the one that was published."""
    for name, expected in manifest.sha256.items():
        try:
            found = sha256(folder / name)
        except OSError as error:
            raise ArtefactError(f"{folder / name} cannot be read: {error.strerror}") from error
        if found != expected:
            raise ArtefactError(f"{folder / name} is not the published file: sha256 {found}, not {expected}")


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
