"""Every environment variable, once."""

from __future__ import annotations

from pathlib import Path

import limits
from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from models import registry


class Settings(BaseSettings):
    """Read from the environment, each variable with the prefix CANDOUR_ (CANDOUR_MODEL and so on)."""

    model_config = SettingsConfigDict(env_prefix="CANDOUR_", frozen=True)

    store: Path = Field(default=registry.PACKAGED, description="The folder of published models.")
    model: str = Field(default=registry.CHAMPION, description="The version or alias to serve.")
    threads: int = Field(default=0, ge=0, description="Cores for the model; 0 for all.")
    database: str = Field(
        default="sqlite:///candour.db", description="The store of documents and keys: a URL of SQLite or PostgreSQL."
    )
    host: str = Field(default="127.0.0.1", description="The address that `candour serve` binds.")
    port: int = Field(default=8000, ge=0, le=65535, description="The port that `candour serve` binds.")
    workers: int = Field(
        default=1,
        ge=1,
        description="Processes of `candour serve`, each with a model, readers, rates and metrics of its own.",
    )
    max_bytes: int = Field(default=50_000_000, gt=0, description="The largest document or request body, in bytes.")
    max_batch: int = Field(default=10_000, gt=0, description="The most documents of one batch.")
    max_items: int = Field(default=1_000, gt=0, description="The most inputs of one call of /v1/classify.")
    max_call_characters: int = Field(
        default=1_000_000, gt=0, description="The most characters of all inputs of one call of /v1/classify together."
    )
    max_explained_words: int = Field(
        default=2_000, gt=0, description="The most words of all inputs of one call of /v1/classify with explain."
    )
    max_characters: int = Field(default=100_000, gt=0, description="The longest input of /v1/classify, in characters.")
    max_pages: int = Field(default=1_000, gt=0, description="The most pages of a PDF document.")
    max_passages: int = Field(
        default=5_000, gt=0, description="The most passages of a document that is not sent in a batch."
    )
    max_parse_seconds: float = Field(default=30.0, gt=0, description="The longest that reading a document may take.")
    max_parse_memory: int = Field(
        default=1_000_000_000, gt=0, description="The most memory that reading a document may take, in bytes."
    )
    max_listed: int = Field(default=100, gt=0, description="The most items of one page of a listing.")
    max_seconds: float = Field(
        default=60.0, gt=0, description="The longest that a request may take, or a stream pause."
    )
    max_requests: int = Field(
        default=64, gt=0, description="The most requests at work at a time; further ones get 503."
    )
    rate: str = Field(default="6000/minute", description="The most requests of one key, such as 100/second.")
    reports: Path | None = Field(default=None, description="The folder of the public reports, where they are at hand.")
    collect_agent: str = Field(
        default="candour",
        pattern=r"^candour\b[\x20-\x7e]*$",
        description="What `candour collect` calls itself, with a way to reach you: candour (news-desk@example.org).",
    )
    collect_seconds: float = Field(default=60.0, gt=0, description="The longest that one answer to it may take.")
    collect_source_seconds: float = Field(
        default=3600.0, gt=0, description="The longest that a run of it may be at one source."
    )
    retrain_folder: Path = Field(default=Path("work/retrain"), description="The folder of the runs of candour retrain.")
    retrain_data: tuple[Path, ...] = Field(
        default=(),
        description="What it trains from beside corrections, a JSON list of files; () for the packaged ones.",
    )

    @field_validator("rate")
    @classmethod
    def _rate(cls, value: str) -> str:
        try:
            limits.parse(value)
        except ValueError as error:
            raise ValueError(f"not a rate such as 100/second: {value!r}") from error
        return value
