"""The file of sources: whose newsrooms to collect from, and how."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from labels.dataset import Filled, Kind
from service.collecting import urls
from service.errors import CollectError


def _address(url: str) -> str:
    if (cleaned := urls.clean(url)) is None:
        raise ValueError("not an http or https address")
    return cleaned


def _nameable(council: str) -> str:
    if not slug(council):
        raise ValueError("holds no letter or digit to name a folder by")
    return council


class Source(BaseModel):
    """A feed (RSS or Atom) or a sitemap of one council.

    include, exclude: regular expressions that are looked for in the URL of an item. allow: hosts, or host:port, that
    may have a private address. rate: requests a second to one host. most: pages fetched in a run. since: older items
    are left out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Filled
    council: Annotated[Filled, AfterValidator(_nameable)]
    url: Annotated[str, AfterValidator(_address)]
    kind: Kind = "council_release"
    include: tuple[re.Pattern[str], ...] = ()
    exclude: tuple[re.Pattern[str], ...] = ()
    allow: tuple[Annotated[str, AfterValidator(str.lower)], ...] = ()
    rate: float = Field(default=1.0, gt=0, le=100)
    most: int = Field(default=1_000, gt=0)
    since: date | None = None

    def wants(self, url: str) -> bool:
        """Whether an item's URL is one of those to collect."""
        included = not self.include or any(pattern.search(url) for pattern in self.include)
        return included and not any(pattern.search(url) for pattern in self.exclude)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    source: list[Source] = Field(min_length=1)


def load(path: Path) -> list[Source]:
    """The sources of a TOML file, a table `[[source]]` each. Raises CollectError, OSError."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        sources = _File.model_validate(content).source
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CollectError(f"{path}: not TOML: {error}") from error
    except ValidationError as error:
        faults = "; ".join(f"{_where(content, fault['loc'])}: {fault['msg']}" for fault in error.errors())
        raise CollectError(f"{path}: {faults}") from error
    twice = [name for name, count in Counter(source.name for source in sources).items() if count > 1]
    if twice:
        raise CollectError(f"{path}: more than one source has the name {', '.join(map(repr, twice))}")
    return sources


def _where(content: dict[str, object], place: tuple[int | str, ...]) -> str:
    """Where in the file a fault is: "source 2 (Tarnholme news), rate"."""
    match place:
        case ("source", int(number), *field):
            tables = content["source"]
            table = tables[number] if isinstance(tables, list) else None
            name = table.get("name") if isinstance(table, dict) else None
            named = f"source {number + 1}" + (f" ({name})" if name else "")
            return ", ".join([named, *(str(part) for part in field)])
    return ", ".join(str(part) for part in place)


def slug(council: str) -> str:
    """A council's name as that of a folder: small letters, digits and hyphens."""
    plain = unicodedata.normalize("NFKD", council).encode("ascii", "ignore").decode("ascii")
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")
