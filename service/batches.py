"""Batches: documents that are handed over at once, and scored when there is time. Imports nothing heavy."""

from __future__ import annotations

import hashlib
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import PurePosixPath
from typing import IO

from pydantic import Field, ValidationError

from service.errors import (
    DamagedDocument,
    DocumentError,
    EmptyDocument,
    EncryptedDocument,
    InvalidMetadata,
    MalformedRequest,
    TooLarge,
    UnsupportedDocument,
)
from service.report import METADATA, Metadata, Problem, Result

# The files of an archive may have so many times the bytes that one document may have.
UNPACKED = 10
# Other ways to compress are slow to undo, and rare.
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_NO_ARCHIVE = (zipfile.BadZipFile, struct.error, ValueError, OverflowError, NotImplementedError, OSError)
_NO_FILE = (*_NO_ARCHIVE, zlib.error, EOFError)


class State(StrEnum):
    """What becomes of a batch."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"


class Batch(Result):
    """A batch, and how far it is: documents = done + failed + repeated + left."""

    id: str
    state: State
    documents: int = Field(description="The documents that were sent.")
    done: int = Field(description="Those that are scored.")
    failed: int = Field(description="Those that cannot be; the results say why.")
    repeated: int = Field(description="Those whose content came before in the batch, and is scored once.")
    left: int = Field(description="Those that wait, or that were cancelled.")
    created: datetime
    started: datetime | None
    finished: datetime | None = Field(description="When the last one was done, or the batch cancelled.")
    model: str | None = Field(description="Version of the model that labels it, or did so last.")
    seconds_left: int | None = Field(description="An estimate, once a tenth is scored; null before and at the end.")


@dataclass(frozen=True)
class Item:
    """A document of a batch: its content, or why there is none. line: of the body, where it came as a line."""

    content: bytes | None
    path: str | None = None
    line: int | None = None
    metadata: Metadata = field(default_factory=Metadata)
    problem: Problem | None = None

    @property
    def sha256(self) -> str | None:
        return None if self.content is None else hashlib.sha256(self.content).hexdigest()


def problem(error: DocumentError) -> Problem:
    """A document's error as its result has it."""
    return Problem(type=error.type, detail=str(error))


def bounded(items: Iterable[Item], most: int) -> Iterator[Item]:
    """The items of a batch. Raises EmptyDocument where there is none, and TooLarge after the `most`-th."""
    count = 0
    for count, item in enumerate(items, 1):
        if count > most:
            raise TooLarge(f"the batch has more than {most:,} documents (CANDOUR_MAX_BATCH)")
        yield item
    if not count:
        raise EmptyDocument("the batch holds no document")


def unpacked(file: IO[bytes], max_bytes: int) -> Iterator[Item]:
    """The files of a zip archive in its order, without folders, hidden files and metadata; nothing goes to the disk.

    What is known of NAME is taken from NAME.meta.json. A file that cannot be read, or that has a name or is of a sort
    that has no place in an archive of documents, is an item with a problem. Raises MalformedRequest for what is no
    archive, and TooLarge where all files together have more than UNPACKED times max_bytes.
    """
    try:
        archive = zipfile.ZipFile(file)
    except _NO_ARCHIVE as error:
        raise MalformedRequest(f"the body is no zip archive: {error}") from error
    with archive:
        if sum(info.file_size for info in archive.infolist()) > UNPACKED * max_bytes:
            limit = f"{UNPACKED} times CANDOUR_MAX_BYTES"
            raise TooLarge(f"the archive's files have more than {UNPACKED * max_bytes:,} bytes together ({limit})")
        seen: set[str] = set()
        for info in archive.infolist():
            name = info.orig_filename
            if info.is_dir() or name.endswith(METADATA) or _is_hidden(name):
                continue
            try:
                if name in seen:
                    raise UnsupportedDocument("the archive has two files of that name")
                seen.add(name)
                content, metadata = _content(archive, info, max_bytes), _metadata(archive, name, max_bytes)
            except DocumentError as error:
                yield Item(None, path=name, problem=problem(error))
            else:
                yield Item(content, path=name, metadata=metadata)


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") and part != ".." for part in PurePosixPath(name).parts)


def _content(archive: zipfile.ZipFile, info: zipfile.ZipInfo, max_bytes: int) -> bytes:
    """What a file of an archive holds. Raises DocumentError."""
    path = PurePosixPath(info.orig_filename)
    if path.is_absolute() or ".." in path.parts or "\0" in info.orig_filename:
        raise UnsupportedDocument("its name leads out of the archive, or is none")
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
        raise UnsupportedDocument("it is no regular file but a link, or a device")
    if info.flag_bits & 1:
        raise EncryptedDocument("it is encrypted in the archive")
    if info.compress_type not in _COMPRESSIONS:
        raise UnsupportedDocument("it is compressed in a way that candour does not read: use deflate, or none")
    if info.file_size > max_bytes:
        raise TooLarge(f"the file has {info.file_size:,} bytes; the limit is {max_bytes:,} (CANDOUR_MAX_BYTES)")
    try:
        return archive.read(info)  # no more than file_size, whatever the compressed bytes would become
    except _NO_FILE as error:
        raise DamagedDocument(f"it is damaged in the archive: {error}") from error


def _metadata(archive: zipfile.ZipFile, name: str, max_bytes: int) -> Metadata:
    try:
        beside = archive.getinfo(name + METADATA)
    except KeyError:
        return Metadata()
    try:
        return Metadata.model_validate_json(_content(archive, beside, max_bytes))
    except ValidationError as error:
        found = error.errors()[0]
        where = ".".join(map(str, found["loc"])) or "it"
        raise InvalidMetadata(f"{name}{METADATA}: {where}: {found['msg']}") from error
    except DocumentError as error:
        raise InvalidMetadata(f"{name}{METADATA}: {error}") from error
