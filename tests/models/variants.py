"""Stores of models that answer differently: the shipped network, published under other names, thresholds and more."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from models import manifest
from models.registry import Registry


def store(folder: Path, *versions: str) -> Path:
    """A store with the shipped model as `base`, its champion, and versions of it."""
    shipped = Registry().resolve()
    base = folder / "shipped"
    shutil.copytree(shipped, base)
    with Registry(folder / "store").publishing("base") as staging:
        _write(base, staging, {"version": "base"})
    Registry(folder / "store").promote("base")
    for number, version in enumerate(versions):
        publish(folder / "store", version, threshold=0.01 if number % 2 else 0.99)
    return folder / "store"


def publish(root: Path, version: str, threshold: float = 0.5, model: bytes | None = None, **fields: Any) -> None:
    """Publish `base` under another name, with one threshold for all labels; other fields, or another network."""
    with Registry(root).publishing(version) as staging:
        outputs = json.loads((root / "base" / manifest.MANIFEST).read_text())["outputs"]
        changed = {"version": version, "outputs": [output | {"threshold": threshold} for output in outputs]}
        _write(root / "base", staging, changed | fields, model)


def linked(root: Path, to: Path) -> Path:
    """A copy of a store that takes no room: its files are the same ones."""
    return Path(shutil.copytree(root, to, copy_function=os.link))


def _write(base: Path, staging: Path, changed: dict[str, Any], model: bytes | None = None) -> None:
    for name in manifest.FILES:
        if name == manifest.MODEL and model is not None:
            (staging / name).write_bytes(model)
        else:
            os.link(base / name, staging / name)
    found = json.loads((base / manifest.MANIFEST).read_text())
    hashes = {"sha256": {name: manifest.sha256(staging / name) for name in manifest.FILES}}
    (staging / manifest.MANIFEST).write_text(json.dumps(found | hashes | changed))
