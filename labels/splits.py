"""Which passages train, which choose, which only measure.

Whole groups (an authority with all that is written about it) go one way, by a hash of the group's name, so that a new
document joins its authority and an old one never moves. data/splits.json fixes where each group went: a group in it
stays there whatever becomes of the rule below.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Literal

from labels.dataset import DATA, DatasetError, Example, RowError
from labels.files import replacing

Split = Literal["train", "dev", "test"]
SPLITS: tuple[Split, ...] = ("train", "dev", "test")
SALT = "candour-1"
# Shares of the hash's range, in per cent.
DEV, TEST = 15, 15
FIXED = DATA / "splits.json"


def split_of(group: str) -> Split:
    """The split of a group: where splits.json fixed it, else by the hash of its name."""
    return fixed().get(group) or hashed(group)


def hashed(group: str) -> Split:
    """The split of a group by the hash of its name: the same on every machine and for ever, as long as SALT stays."""
    place = int.from_bytes(hashlib.sha256(f"{SALT}:{group}".encode()).digest()[:8], "big") % 100
    return "test" if place < TEST else "dev" if place < TEST + DEV else "train"


@cache
def fixed() -> Mapping[str, Split]:
    """The packaged splits.json, read once; empty where there is none yet."""
    return read(FIXED)


def read(path: Path) -> dict[str, Split]:
    """A splits file: group -> split. Empty where there is no file. Raises DatasetError where it is not one."""
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_bytes())
    except ValueError as error:
        raise DatasetError([RowError(str(path), 1, f"not JSON: {error}")]) from error
    if not isinstance(found, dict) or not set(map(str, found.values())) <= set(SPLITS):
        raise DatasetError([RowError(str(path), 1, f"must be an object of groups, each {', '.join(SPLITS)}")])
    return found


def fix(path: Path, groups: Iterable[str]) -> list[str]:
    """Add to a splits file the groups that it lacks, by the hash rule; those in it never move. Returns the new ones."""
    held = read(path)
    new = sorted(set(groups) - set(held))
    merged = held | {group: hashed(group) for group in new}
    with replacing(path) as partial:
        partial.write_text(json.dumps(merged, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
    fixed.cache_clear()
    return new


def divide(examples: Iterable[Example]) -> dict[Split, list[Example]]:
    """Examples by split, in the order given."""
    divided: dict[Split, list[Example]] = {split: [] for split in SPLITS}
    for example in examples:
        divided[split_of(example.group)].append(example)
    return divided
