"""Every environment variable, once."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from models import registry


class Settings(BaseSettings):
    """Read from the environment, each variable with the prefix CANDOUR_ (CANDOUR_MODEL and so on)."""

    model_config = SettingsConfigDict(env_prefix="CANDOUR_", frozen=True)

    store: Path = Field(default=registry.PACKAGED, description="The folder of published models.")
    model: str = Field(default=registry.CHAMPION, description="The version or alias to serve.")
    threads: int = Field(default=0, ge=0, description="Cores for the model; 0 for all.")
    host: str = Field(default="127.0.0.1", description="The address that `candour serve` binds.")
    port: int = Field(default=8000, ge=0, le=65535, description="The port that `candour serve` binds.")
    max_bytes: int = Field(default=50_000_000, gt=0, description="The largest document or request body, in bytes.")
    max_items: int = Field(default=1_000, gt=0, description="The most inputs of one call of /v1/classify.")
    max_call_characters: int = Field(
        default=1_000_000, gt=0, description="The most characters of all inputs of one call of /v1/classify together."
    )
    max_explained_words: int = Field(
        default=2_000, gt=0, description="The most words of all inputs of one call of /v1/classify with explain."
    )
    max_characters: int = Field(default=100_000, gt=0, description="The longest input of /v1/classify, in characters.")
