"""Results files, read back: what service.outputs writes, a document at a time."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, TypeAdapter, ValidationError

from labels import taxonomy
from service import outputs
from service.errors import InvalidInput
from service.report import Failure, Metadata, Problem, ScoredPassage

# Rows of a table that are held at a time.
ROWS = 4096


class Head(Metadata):
    """What a results file says of a document beside its passages."""

    sha256: str
    path: str | None
    model: str
    segmentation: str


class Document(Head):
    """A scored document as every kind of results file has it."""

    passages: list[ScoredPassage]


Found = TypeVar("Found", Head, Document)


class Results:
    """Results files read as one. Of a document that stands in them more than once (by its sha256) the last counts.

    heads: of each document, by its sha256. failures: what was wrong with each path that no later result is of. These
    are held; the passages are read from the files whenever the documents are iterated over. Raises InvalidInput where a
    file holds anything but results, and OSError.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        files = [file for path in paths for file in (path, outputs.errors_of(path)) if file == path or file.is_file()]
        self._files = list({file.resolve(): file for file in files}.values())
        self._last: dict[str, int] = {}
        self.heads: dict[str, Head] = {}
        self.failures: dict[str, Problem] = {}
        for number, result in enumerate(self._read(Head)):
            path = result.path or ""
            if isinstance(result, Failure):
                self.failures[path] = result.error
            else:
                self._last[result.sha256] = number
                self.heads[result.sha256] = result
                self.failures.pop(path, None)

    def __iter__(self) -> Iterator[Document]:
        for number, result in enumerate(self._read(Document)):
            if isinstance(result, Document) and self._last.get(result.sha256) == number:
                yield result

    def _read(self, kind: type[Found]) -> Iterator[Found | Failure]:
        for file in self._files:
            yield from FORMATS[file.suffix.lower()](file, kind)


def _jsonl(path: Path, kind: type[Found]) -> Iterator[Found | Failure]:
    either: Any = Annotated[kind | Failure, Field(union_mode="left_to_right")]
    result: TypeAdapter[Found | Failure] = TypeAdapter(either)
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                found = result.validate_json(line)
            except ValidationError:
                if not line.endswith(b"\n"):  # a run was cut off, or still writes
                    return
                raise InvalidInput(f"{path}: line {number} is no result of `candour score`") from None
            yield found


def _parquet(path: Path, kind: type[Found]) -> Iterator[Found]:
    for shard in sorted(path.glob("*.parquet")) if path.is_dir() else [path]:
        try:
            with pq.ParquetFile(shard) as file:
                names = file.schema_arrow.names
                columns = names if kind is Document else [name for name in names if name in _HEAD]
                batches = file.iter_batches(ROWS, columns=columns)
                yield from _documents(shard, names, (row for batch in batches for row in batch.to_pylist()), kind)
        except pa.ArrowInvalid as error:
            raise InvalidInput(f"{shard}: cannot be read: {error}") from error


def _csv(path: Path, kind: type[Found]) -> Iterator[Found]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            rows = csv.DictReader(file)
            yield from _documents(path, rows.fieldnames or (), map(_values, rows), kind)
        except (csv.Error, UnicodeDecodeError) as error:
            raise InvalidInput(f"{path}: cannot be read: {error}") from error


def _values(cells: dict[str, str | None]) -> dict[str, Any]:
    """A row of a CSV file as it was before it was written. A row that was torn lacks its last cells."""
    found: dict[str, Any] = {name: outputs.plain(cell or "") or None for name, cell in cells.items()}
    for axis in ("themes", "stances"):
        found[axis] = found[axis].split(";") if found[axis] else []
    return found


_HEAD = {*Head.model_fields, "document_passages"}
_COLUMNS = _HEAD | (ScoredPassage.model_fields.keys() - {"scores"})


def _documents(path: Path, names: Iterable[str], rows: Iterator[dict[str, Any]], kind: type[Found]) -> Iterator[Found]:
    """Rows put together to documents. A last one that lacks rows is left out: a run was cut off, or still writes."""
    if missing := _COLUMNS - set(names):
        raise InvalidInput(f"{path} is no table of `candour score`: it has no column {', '.join(sorted(missing))}")
    held: list[dict[str, Any]] = []
    for row in rows:
        if row["model"] is None:  # the last column: a torn row
            return
        held.append(row)
        if row["sha256"] != held[0]["sha256"]:
            raise InvalidInput(f"{path}: the rows of {held[0]['path']} do not stand together")
        if len(held) == int(row["document_passages"]):
            yield _document(path, held, kind)
            held = []


def _document(path: Path, rows: Sequence[dict[str, Any]], kind: type[Found]) -> Found:
    passages = [row | {"scores": _scores(row)} for row in rows] if kind is Document else []
    try:
        return kind.model_validate(rows[0] | {"passages": passages})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InvalidInput(f"{path}: {rows[0]['path']}: {where}: {first['msg']}") from None


_STANCES = frozenset(taxonomy.load().stances)


def _scores(row: dict[str, Any]) -> dict[str, dict[str, Any]]:
    scores: dict[str, dict[str, Any]] = {"themes": {}, "stances": {}}
    for column, value in row.items():
        if column.startswith("p_"):
            name = column.removeprefix("p_")
            scores["stances" if name in _STANCES else "themes"][name] = value
    return scores


FORMATS: dict[str, Callable[..., Iterator[Any]]] = {".jsonl": _jsonl, ".csv": _csv, ".parquet": _parquet}
