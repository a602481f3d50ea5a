"""The model store: a folder a version, and aliases that name the one to serve."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from models import manifest
from models.manifest import VERSION, ArtefactError, Manifest

PACKAGED = Path(__file__).with_name("store")
ALIASES = "aliases.json"
CHAMPION = "champion"
PREVIOUS = "previous"
_NAME = re.compile(VERSION)


class Registry:
    """Versions and aliases under one folder. Every change on disk is one rename: a crash leaves the old state."""

    def __init__(self, root: Path = PACKAGED) -> None:
        self.root = root

    def versions(self) -> list[str]:
        """Published versions, in order of name."""
        return sorted(
            path.parent.name for path in self.root.glob(f"*/{manifest.MANIFEST}") if path.parent.name[0] != "."
        )

    def aliases(self) -> dict[str, str]:
        """Alias to version. Raises ArtefactError when the file is not what this class wrote."""
        path = self.root / ALIASES
        try:
            found = json.loads(path.read_bytes())
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise ArtefactError(f"{path} is damaged: {error}") from error
        if not isinstance(found, dict) or not all(isinstance(v, str) for v in found.values()):
            raise ArtefactError(f"{path} is damaged: not a mapping of names to versions")
        return found

    def resolve(self, name: str = CHAMPION) -> Path:
        """The folder of a version or alias. Raises ArtefactError naming what there is."""
        version = self.aliases().get(name, name)
        folder = self.root / version
        if _NAME.fullmatch(version) and (folder / manifest.MANIFEST).is_file():
            return folder
        known = ", ".join([*self.aliases(), *self.versions()]) or "none: train one with `candour train`"
        raise ArtefactError(f"no model {name!r} in {self.root} (there is: {known})")

    def ensure_new(self, version: str) -> None:
        """Raise ArtefactError if a version of this name exists (versions never change), or cannot."""
        if not _NAME.fullmatch(version):
            raise ArtefactError(f"{version!r} is no name for a version: letters, digits, '.', '_' and '-' alone")
        if (self.root / version).exists():
            raise ArtefactError(f"version {version!r} exists already in {self.root}; versions never change")

    @contextmanager
    def publishing(self, version: str) -> Iterator[Path]:
        """A folder to write a new version into; it appears in the store, whole, when the block ends without error."""
        self.ensure_new(version)
        self.root.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".publishing-", dir=self.root))
        try:
            yield staging
            manifest.verify(staging, manifest.read(staging))
            staging.chmod(0o755)
            staging.rename(self.root / version)
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def promote(self, name: str) -> Manifest:
        """Make a version the champion, after checking its hashes; the champion before it becomes `previous`."""
        folder = self.resolve(name)
        found = manifest.read(folder)
        manifest.verify(folder, found)
        aliases = self.aliases()
        if aliases.get(CHAMPION) not in (None, folder.name):
            aliases[PREVIOUS] = aliases[CHAMPION]
        aliases[CHAMPION] = folder.name
        self._write(aliases)
        return found

    def rollback(self) -> Manifest:
        """Make the previous champion the champion again. Raises ArtefactError when there is none."""
        if PREVIOUS not in self.aliases():
            raise ArtefactError(f"no previous champion in {self.root} to go back to")
        return self.promote(PREVIOUS)

    def _write(self, aliases: dict[str, str]) -> None:
        handle, partial = tempfile.mkstemp(prefix=".aliases-", dir=self.root)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(aliases, file, indent=2, sort_keys=True)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        Path(partial).chmod(0o644)
        Path(partial).replace(self.root / ALIASES)
