"""The model store: a folder a version, and aliases that name the one to serve, the one before it and the next."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from labels.files import replacing
from models import manifest
from models.manifest import VERSION, ArtefactError, Manifest
from models.verdict import KEPT

PACKAGED = Path(__file__).with_name("store")
ALIASES = "aliases.json"
CHAMPION = "champion"
CANDIDATE = "candidate"
PREVIOUS = "previous"
# Beginnings of the names of folders that are no versions: not yet, or no longer.
_PUBLISHING = ".publishing-"
_PRUNED = ".pruned-"
_NAME = re.compile(VERSION)


class Registry:
    """Versions and aliases under one folder. Every change on disk is one rename: a crash leaves the old state.

    Processes that change it at the same time wait for each other. Who only reads waits for nobody.
    """

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
        if version != name:
            raise ArtefactError(f"{name} is {version!r} in {self.root / ALIASES}, and there is no model of that name")
        known = ", ".join([*self.aliases(), *self.versions()]) or "none: train one with `candour train`"
        raise ArtefactError(f"no model {name!r} in {self.root} (there is: {known})")

    def verify(self, name: str) -> Manifest:
        """The manifest of a version or alias, after checking the sha256 of every file. Raises ArtefactError."""
        folder = self.resolve(name)
        return _verified(folder, folder.name)

    def ensure_new(self, version: str) -> None:
        """Raise ArtefactError if a version of this name exists (versions never change), or cannot."""
        if not _NAME.fullmatch(version):
            raise ArtefactError(f"{version!r} is no name for a version: letters, digits, '.', '_' and '-' alone")
        if version in (CHAMPION, CANDIDATE, PREVIOUS):
            raise ArtefactError(f"{version!r} is no name for a version: it is an alias")
        # The last is a version whose verdict, KEPT/manifest.json, would make KEPT look like a version.
        if version in (ALIASES, KEPT, Path(manifest.MANIFEST).stem):
            raise ArtefactError(f"{version!r} is no name for a version: the store uses it")
        if (self.root / version).exists():
            raise ArtefactError(f"version {version!r} exists already in {self.root}; versions never change")

    @contextmanager
    def publishing(self, version: str) -> Iterator[Path]:
        """A folder to write a new version into; it appears in the store, whole, when the block ends without error."""
        self.ensure_new(version)
        self.root.mkdir(parents=True, exist_ok=True)
        with ExitStack() as held:
            with _alone(self.root):
                staging = Path(tempfile.mkdtemp(prefix=_PUBLISHING, dir=self.root))
                held.enter_context(_alone(staging))  # so that prune sees that its writer lives
            try:
                yield staging
                _verified(staging, version)
                staging.chmod(0o755)
                for path in (*staging.iterdir(), staging):
                    _sync(path)
                with _alone(self.root):
                    self.ensure_new(version)
                    # Of another of this name, which was removed by hand: what was said of that one is not said of this.
                    (self.root / KEPT / f"{version}.json").unlink(missing_ok=True)
                    staging.rename(self.root / version)
                    _sync(self.root)
            finally:
                shutil.rmtree(staging, ignore_errors=True)

    def nominate(self, name: str, over: str | None = None) -> Manifest:
        """Make a version the candidate, after checking its hashes. Raises ArtefactError.

        over: the version that it was held against, which must be the champion still.
        """
        with _alone(self.root):
            found = self.verify(name)
            self._ensure_champion(over, found.version)
            self._write(self.aliases() | {CANDIDATE: found.version})
            return found

    def promote(self, name: str, over: str | None = None) -> Manifest:
        """Make a version the champion, after checking its hashes; the champion before it becomes `previous`.

        A candidate that is promoted is the candidate no more. Raises ArtefactError. over: as for nominate; a version
        that is the champion already may be promoted over any.
        """
        with _alone(self.root):
            found = self.verify(name)
            if self.aliases().get(CHAMPION) != found.version:
                self._ensure_champion(over, found.version)
            return self._promote(found)

    def rollback(self) -> Manifest:
        """Make the previous champion the champion again; a second time undoes it. Raises ArtefactError."""
        with _alone(self.root):
            if PREVIOUS not in self.aliases():
                raise ArtefactError(f"no previous champion in {self.root} to go back to")
            return self._promote(self.verify(PREVIOUS))

    def unnamed(self) -> list[str]:
        """The versions that no alias names, the oldest first. One whose manifest cannot be read counts as that."""
        named = set(self.aliases().values())
        return sorted((version for version in self.versions() if version not in named), key=self._created)

    def prune(self, versions: Sequence[str]) -> None:
        """Remove versions, and what was left by publications and removals that were cut off.

        Raises ArtefactError, and removes nothing, where there is no such version or an alias names it.
        """
        with _alone(self.root):
            folders = [self.resolve(version) for version in versions]
            for alias, version in self.aliases().items():
                if version in {folder.name for folder in folders}:
                    raise ArtefactError(f"version {version!r} is the {alias}, and is not removed")
            for folder in folders:
                folder.rename(tempfile.mkdtemp(prefix=_PRUNED, dir=self.root))
                (self.root / KEPT / f"{folder.name}.json").unlink(missing_ok=True)
            _sync(self.root)
            for path in (*self.root.glob(f"{_PRUNED}*"), *self.root.glob(f"{_PUBLISHING}*")):
                if not _is_held(path):
                    shutil.rmtree(path)

    def _ensure_champion(self, over: str | None, version: str) -> None:
        if over is not None and self.aliases().get(CHAMPION) != over:
            raise ArtefactError(f"{over}, which {version} was held against, is no longer the champion")

    def _promote(self, found: Manifest) -> Manifest:
        aliases = self.aliases()
        if aliases.get(CHAMPION) not in (None, found.version):
            aliases[PREVIOUS] = aliases[CHAMPION]
        if aliases.get(CANDIDATE) == found.version:
            del aliases[CANDIDATE]
        aliases[CHAMPION] = found.version
        self._write(aliases)
        return found

    def _created(self, version: str) -> float:
        try:
            return manifest.read(self.root / version).created.timestamp()
        except ArtefactError:
            return 0.0

    def _write(self, aliases: dict[str, str]) -> None:
        with replacing(self.root / ALIASES) as partial:
            partial.write_text(json.dumps(aliases, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        _sync(self.root)


def _verified(folder: Path, version: str) -> Manifest:
    found = manifest.read(folder)
    if found.version != version:
        raise ArtefactError(f"{folder} should hold version {version!r}; its manifest says {found.version!r}")
    manifest.verify(folder, found)
    return found


@contextmanager
def _alone(folder: Path, wait: bool = True) -> Iterator[None]:
    """Nobody else holds a folder in the meantime. The kernel lets go of what a process held that dies."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def _is_held(folder: Path) -> bool:
    try:
        with _alone(folder, wait=False):
            return False
    except BlockingIOError:
        return True


def _sync(path: Path) -> None:
    """Send a file, or the names in a folder, to the disk, so that a power cut finds them in this order."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
