"""Keys of the HTTP API: who may do what. Tokens are made and hashed here; service.store keeps the hashes."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime
from enum import StrEnum

from pydantic import Field

from service.report import Result


class Scope(StrEnum):
    """What a key may do. ADMIN implies the others."""

    READ = "read"
    SCORE = "score"
    LABEL = "label"
    ADMIN = "admin"


class Key(Result):
    """What is known of a key. The token itself is kept nowhere."""

    id: str
    name: str = Field(description="Who or what uses it.")
    scopes: list[Scope]
    prefix: str = Field(description="The first characters of its token.")
    created: datetime
    revoked: datetime | None = Field(description="When it was revoked; null for a key that works.")

    def allows(self, scope: Scope) -> bool:
        return scope in self.scopes or Scope.ADMIN in self.scopes


def new_token() -> str:
    return f"candour_{secrets.token_urlsafe(32)}"


def prefix(token: str) -> str:
    """The part of a token that may be shown."""
    return token[:12]


def digest(token: str) -> str:
    """What is stored of a token: its sha256, in hexadecimal.

    A slow hash would add nothing: tokens are 32 random bytes, which nobody can guess their way to.
    """
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()
