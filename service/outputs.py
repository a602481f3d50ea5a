"""Results to what people load: JSONL, CSV, Parquet, the store. What is there already is kept and added to.

A run may end at any moment, by kill -9 or a power cut, and the same command again finishes the rest. Lines are
appended, and a tail that was torn is cut off when the file is opened again; shards and rewritten files appear whole. Of
several results of the same content, or failures of the same path, the last one counts, and the others are dropped.
"""

from __future__ import annotations

import csv
import fcntl
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from labels.files import replacing
from service.errors import NotAnOutput, OutputInUse
from service.report import Failure, ScoredDocument
from service.store import Store

# Passages of a Parquet shard, which are held until it is written.
SHARD = 20_000
# Where other processes leave shards in a folder of them. By the dot, what reads the folder passes over it.
STAGED = ".staged"
# Seconds after which what was written is sent to the disk.
SYNCED = 1.0


class Output(Protocol):
    """Where results go."""

    def version(self, sha256: str) -> str | None:
        """The model (and segmentation) that gave what is held of this content; None where nothing is."""

    def write(self, result: ScoredDocument | Failure) -> None: ...


def version_of(model: str, segmentation: str) -> str:
    """What makes a result out of date: the model, or the rules by which documents are cut."""
    return sys.intern(f"{model} {segmentation}")  # as many as there are documents, and few that differ


@contextmanager
def opened(path: Path, themes: list[str], stances: list[str], bom: bool = False) -> Iterator[Output]:
    """An output by its ending: .jsonl (a document a line), .csv (a passage a row), or .parquet (the same, in shards).

    In a table a document that failed has no row: what failed in this run goes to lines in PATH.errors.jsonl. bom: a new
    CSV file begins with the byte order mark by which Excel knows UTF-8. Raises NotAnOutput for a file that another
    program, or a model with other labels, has made, and OutputInUse while another run writes to it.
    """
    with ExitStack() as stack:
        stack.enter_context(_alone(path))
        match path.suffix.lower():
            case ".jsonl":
                yield stack.enter_context(_appended(path, _json_records, line))
            case ".csv":
                columns = schema(themes, stances).names
                mark = "\ufeff" if bom else ""
                head = mark + _csv_lines([columns])
                table = stack.enter_context(
                    _appended(
                        path, lambda file: _csv_records(file, columns), lambda found: _csv_rows(found, columns), head
                    )
                )
                yield _Table(table, stack.enter_context(_failures(path)))
            case ".parquet":
                shards = stack.enter_context(_shards(path, schema(themes, stances)))
                yield _Table(shards, stack.enter_context(_failures(path)))
            case ending:
                raise KeyError(ending)


ENDINGS = (".jsonl", ".csv", ".parquet")


def errors_of(path: Path) -> Path:
    """Where the failures of a table go."""
    return path.with_name(path.name + ".errors.jsonl")


class Stored:
    """The store as an output. Failures have no place in it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def version(self, sha256: str) -> str | None:
        found = self._store.version(sha256)
        return version_of(*found) if found else None

    def write(self, result: ScoredDocument | Failure) -> None:
        if isinstance(result, ScoredDocument):
            self._store.put(result)


class News:
    """Which contents are new to one of some outputs; `outdated`: how many are not, and were scored by another model.

    version: of the results that are to be had (version_of). A content that was scored by another is only scored again
    if rescore says so.
    """

    def __init__(self, outputs: Sequence[Output], version: str, rescore: bool) -> None:
        self._outputs = outputs
        self._version = version
        self._rescore = rescore
        self.outdated = 0

    def is_known(self, sha256: str) -> bool:
        """Whether a content need not be scored."""
        versions = {output.version(sha256) for output in self._outputs}
        outdated = bool(versions - {self._version, None})
        if versions and None not in versions and not (outdated and self._rescore):
            self.outdated += outdated
            return True
        return False


@dataclass
class _Table:
    """Rows for documents, and lines for failures."""

    documents: Output
    failures: Output

    def version(self, sha256: str) -> str | None:
        return self.documents.version(sha256)

    def write(self, result: ScoredDocument | Failure) -> None:
        (self.failures if isinstance(result, Failure) else self.documents).write(result)


@dataclass(frozen=True)
class _Record:
    """A result in a file, from start to end (bytes), or its head. key: of the content, or of the path of a failure."""

    start: int
    end: int
    key: tuple[str, str]
    path: str | None
    version: str | None


Records = Callable[[BinaryIO], Iterator[_Record]]


@contextmanager
def _appended(
    path: Path, records: Records, text: Callable[[ScoredDocument | Failure], str], head: str = ""
) -> Iterator[Output]:
    """A file that results are appended to. head: how a new one begins."""
    if path.exists() and not path.is_file():  # a pipe, a terminal
        with path.open("w", encoding="utf-8", newline="") as stream:
            stream.write(head)
            yield _Appended({}, stream.write, text)
        return
    held = _compacted(path, records)
    with path.open("ab") as file:
        if file.tell() == 0:
            file.write(head.encode())
        synced = time.monotonic()

        def write(content: str) -> None:
            nonlocal synced
            file.write(content.encode())
            file.flush()
            if time.monotonic() - synced > SYNCED:
                os.fsync(file.fileno())
                synced = time.monotonic()

        try:
            yield _Appended(held, write, text)
        finally:
            file.flush()
            os.fsync(file.fileno())
    _compacted(path, records)


@contextmanager
def _failures(table: Path) -> Iterator[Output]:
    path = errors_of(table)
    path.unlink(missing_ok=True)
    with _appended(path, _json_records, line) as failures:
        yield failures
    if path.stat().st_size == 0:
        path.unlink()


class _Appended:
    def __init__(
        self, held: dict[str, str], append: Callable[[str], object], text: Callable[[ScoredDocument | Failure], str]
    ) -> None:
        self._held = held
        self._append = append
        self._text = text

    def version(self, sha256: str) -> str | None:
        return self._held.get(sha256)

    def write(self, result: ScoredDocument | Failure) -> None:
        self._append(self._text(result))


def _compacted(path: Path, records: Records) -> dict[str, str]:
    """Drop a torn tail and what a later record replaces; the version held of each content, by its sha256."""
    if not path.exists():
        return {}
    last: dict[tuple[str, str], _Record] = {}
    with path.open("rb") as file:
        count = end = 0
        for record in _named(records(file), path):
            last.pop(record.key, None)  # so that the last ones are in the order of the file
            last[record.key] = record
            if record.key[0] == "document" and record.path is not None:
                last.pop(("failure", record.path), None)
            count, end = count + 1, record.end
        if count > len(last) or end < path.stat().st_size:
            with replacing(path) as partial, partial.open("wb") as whole:
                for record in last.values():
                    file.seek(record.start)
                    whole.write(file.read(record.end - record.start))
    return {key: record.version for (kind, key), record in last.items() if kind == "document" and record.version}


def _named(records: Iterator[_Record], path: Path) -> Iterator[_Record]:
    try:
        yield from records
    except (ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        raise NotAnOutput(f"{path} holds what `candour score` did not write; move it away: {error}") from error


def _json_records(file: BinaryIO) -> Iterator[_Record]:
    start = 0
    for content in file:
        if not content.endswith(b"\n"):
            return  # torn
        end = start + len(content)
        found = json.loads(content)
        if "error" in found:
            yield _Record(start, end, ("failure", found["path"]), found["path"], None)
        else:
            version = version_of(found["model"], found["segmentation"])
            yield _Record(start, end, ("document", found["sha256"]), found["path"], version)
        start = end


def _csv_records(file: BinaryIO, columns: list[str]) -> Iterator[_Record]:
    """A record a document: its rows, which stand together and are as many as each of them says."""
    position = 0

    def lines() -> Iterator[str]:
        nonlocal position
        for content in file:
            position += len(content)
            if not content.endswith(b"\n"):
                return  # torn
            yield content.decode("utf-8-sig" if position == len(content) else "utf-8")

    reader = csv.reader(lines())
    head = next(reader, None)
    if head is None:
        return
    if head != columns:
        raise ValueError(f"its columns are {', '.join(head)}")
    yield _Record(0, position, ("head", ""), None, None)
    start = position
    rows = 0
    for cells in reader:
        if len(cells) < len(columns):
            return  # torn
        row = dict(zip(columns, cells, strict=True))
        if rows != int(row["position"]):
            raise ValueError(f"row {row['position']} of document {row['document']} does not follow on the one before")
        rows += 1
        if rows == int(row["document_passages"]):
            key = ("document", row["sha256"])
            yield _Record(start, position, key, plain(row["path"]), version_of(row["model"], row["segmentation"]))
            start, rows = position, 0


def plain(cell: str) -> str:
    """A cell without the apostrophe that keeps a spreadsheet from running it as a formula."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(FORMULA) else cell


def _line(body: dict[str, Any]) -> str:
    # Half of a surrogate pair, which an id may hold, goes back as it came: escaped.
    return json.dumps(body, ensure_ascii=False).encode(errors="backslashreplace").decode() + "\n"


def line(result: Any) -> str:
    """A result or failure as one line of JSON, with its line end."""
    return _line(result.body() if isinstance(result, Failure) else result.model_dump(mode="json"))


def rows(document: ScoredDocument) -> Iterator[dict[str, Any]]:
    """A passage a row, its document's fields beside it, a column for each score."""
    for position, passage in enumerate(document.passages):
        yield {
            "document": document.id,
            "path": document.path,
            "title": document.title,
            "published": document.published,
            "council": document.council,
            "kind": document.kind,
            "url": document.url,
            "sha256": document.sha256,
            "document_passages": len(document.passages),
            "position": position,
            "page": passage.page,
            "start": passage.start,
            "end": passage.end,
            "text": passage.text,
            "themes": passage.themes,
            "stances": passage.stances,
            "primary_stance": passage.primary_stance,
            **{f"p_{name}": value for name, value in (passage.scores.themes | passage.scores.stances).items()},
            "confident": passage.confident,
            "segmentation": document.segmentation,
            "model": passage.model,
        }


def schema(themes: list[str], stances: list[str]) -> pa.Schema:
    """The columns of rows(), with their types."""
    names = pa.list_(pa.string())
    return pa.schema(
        [
            ("document", pa.string()),
            ("path", pa.string()),
            ("title", pa.string()),
            ("published", pa.date32()),
            ("council", pa.string()),
            ("kind", pa.string()),
            ("url", pa.string()),
            ("sha256", pa.string()),
            ("document_passages", pa.int32()),
            ("position", pa.int32()),
            ("page", pa.int32()),
            ("start", pa.int64()),
            ("end", pa.int64()),
            ("text", pa.string()),
            ("themes", names),
            ("stances", names),
            ("primary_stance", pa.string()),
            *((f"p_{name}", pa.float64()) for name in themes + stances),
            ("confident", pa.bool_()),
            ("segmentation", pa.string()),
            ("model", pa.string()),
        ]
    )


FORMULA = ("=", "+", "-", "@", "\t", "\r")


def _csv_rows(result: ScoredDocument | Failure, columns: list[str]) -> str:
    assert isinstance(result, ScoredDocument)
    return _csv_lines([_cell(row[name]) for name in columns] for row in rows(result))


def _csv_lines(table: Iterable[list[Any]]) -> str:
    text: list[str] = []
    csv.writer(_Pieces(text)).writerows(table)
    return "".join(text)


@dataclass
class _Pieces:
    pieces: list[str]

    def write(self, text: str) -> None:
        self.pieces.append(text)


def _cell(value: Any) -> Any:
    if isinstance(value, list):
        return ";".join(value)
    # A spreadsheet would run a text that begins so as a formula.
    return "'" + value if isinstance(value, str) and value.startswith(FORMULA) else value


@contextmanager
def _shards(folder: Path, columns: pa.Schema) -> Iterator[Output]:
    """A folder of Parquet files, each of which appears whole when it has SHARD rows, or at the end."""
    if folder.is_file():
        raise NotAnOutput(f"{folder} is a file, and candour writes a folder of that name: move it away")
    folder.mkdir(exist_ok=True)
    for partial in folder.glob("*.partial"):
        partial.unlink()
    shards = _Shards(folder, columns)
    try:
        yield shards
    finally:
        shards.flush()
        shards.adopt()
    shards.compact()


@contextmanager
def staging(folder: Path, themes: list[str], stances: list[str]) -> Iterator[Staged]:
    """Shards that another process leaves in a Parquet output, whole. Who has it open, or opens it next, adopts them."""
    place = folder / STAGED
    place.mkdir(exist_ok=True)
    staged = Staged(lambda: place / f"{uuid4().hex}.parquet", schema(themes, stances))
    yield staged
    staged.flush()


class Staged:
    """Rows that are written when there are SHARD of them. place: a path for the next shard."""

    def __init__(self, place: Callable[[], Path], columns: pa.Schema) -> None:
        self._place = place
        self._columns = columns
        self._rows: list[dict[str, Any]] = []

    def write(self, document: ScoredDocument) -> None:
        self._rows += rows(document)
        if len(self._rows) >= SHARD:
            self.flush()

    def flush(self) -> None:
        if self._rows:
            with replacing(self._place()) as partial:
                pq.write_table(pa.Table.from_pylist(self._rows, self._columns), partial, compression="zstd")
            self._rows = []


class _Shards:
    def __init__(self, folder: Path, columns: pa.Schema) -> None:
        self._folder = folder
        self._columns = columns
        self._written = Staged(lambda: self._place(self._free()), columns)
        self.adopt()
        self._held = self.compact()

    def version(self, sha256: str) -> str | None:
        return self._held.get(sha256)

    def write(self, result: ScoredDocument | Failure) -> None:
        assert isinstance(result, ScoredDocument)
        self._written.write(result)

    def flush(self) -> None:
        self._written.flush()

    def adopt(self) -> None:
        """Take in the staged shards, the oldest first; what is not whole, a writer that died has left."""
        staged = self._folder / STAGED
        for partial in staged.glob("*.partial"):
            partial.unlink(missing_ok=True)
        whole = sorted(staged.glob("*.parquet"), key=lambda shard: shard.stat().st_mtime)
        for number, shard in enumerate(whole, self._free()):
            shard.replace(self._place(number))
        with suppress(OSError):  # there is none, or a writer that lost its run is still at it
            staged.rmdir()

    def compact(self) -> dict[str, str]:
        """Drop rows that a later shard replaces; the version held of each content, by its sha256."""
        held: dict[str, str] = {}
        for shard in reversed(self._all()):
            if not pq.read_schema(shard).equals(self._columns):
                raise NotAnOutput(f"{shard} has other columns than this candour's; move it away")
            table = pq.read_table(shard, columns=["sha256", "model", "segmentation"])
            found = {
                sha256: version_of(model, segmentation)
                for sha256, model, segmentation in zip(*(column.to_pylist() for column in table.columns), strict=True)
            }
            if replaced := found.keys() & held.keys():
                whole = pq.read_table(shard)
                kept = whole.filter(pc.invert(pc.is_in(whole["sha256"], pa.array(sorted(replaced)))))
                if kept.num_rows:
                    with replacing(shard) as partial:
                        pq.write_table(kept, partial, compression="zstd")
                else:
                    shard.unlink()
            held = found | held
        return held

    def _all(self) -> list[Path]:
        return sorted(self._folder.glob("part-*.parquet"))

    def _free(self) -> int:
        """The number of the next shard."""
        return max((int(shard.stem.removeprefix("part-")) for shard in self._all()), default=-1) + 1

    def _place(self, number: int) -> Path:
        return self._folder / f"part-{number:05}.parquet"


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Nobody else writes to an output in the meantime. Raises OutputInUse."""
    if path.exists() and not path.is_file() and not path.is_dir():  # a pipe, a terminal
        yield
        return
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: the folder {path.parent} does not exist")
    lock = path.with_name(f".{path.name}.lock")
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(file.fileno()), lock.stat()):  # another's, removed since it was opened
                raise BlockingIOError
        except (BlockingIOError, FileNotFoundError):
            raise OutputInUse(f"another run of candour writes to {path}") from None
        try:
            yield
        finally:
            lock.unlink()
