"""Which passages train, which choose, which only measure.

Whole groups (an authority with all that is written about it) go one way, by a hash of the group's name, so that a new
document joins its authority and an old one never moves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Literal

from labels.dataset import Example

Split = Literal["train", "dev", "test"]
SPLITS: tuple[Split, ...] = ("train", "dev", "test")
SALT = "candour-1"
# Shares of the hash's range, in per cent.
DEV, TEST = 15, 15


def split_of(group: str) -> Split:
    """The split of a group: the same on every machine and for ever, as long as SALT stays."""
    place = int.from_bytes(hashlib.sha256(f"{SALT}:{group}".encode()).digest()[:8], "big") % 100
    return "test" if place < TEST else "dev" if place < TEST + DEV else "train"


def divide(examples: Iterable[Example]) -> dict[Split, list[Example]]:
    """Examples by split, in the order given."""
    divided: dict[Split, list[Example]] = {split: [] for split in SPLITS}
    for example in examples:
        divided[split_of(example.group)].append(example)
    return divided
