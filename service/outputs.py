"""Results to files that people load: JSONL, CSV, Parquet."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from labels.files import replacing
from service.report import Failure, ScoredDocument

Write = Callable[[ScoredDocument | Failure], object]


@contextmanager
def writer(path: Path, themes: list[str], stances: list[str]) -> Iterator[Write]:
    """A function that writes each result to a file, by its ending: .jsonl, .csv or .parquet.

    The file appears, whole, when the block ends without error. In a table of passages a document that failed has no
    row: it goes to a JSONL file beside it, named PATH.errors.jsonl. Raises KeyError for another ending.
    """
    failures: list[Failure] = []
    with replacing(path) as partial, FORMATS[path.suffix.lower()](partial, schema(themes, stances), failures) as write:
        yield write
    errors = errors_of(path)
    errors.unlink(missing_ok=True)
    if failures:
        errors.write_text("".join(_line(failure.body()) for failure in failures), encoding="utf-8")


def errors_of(path: Path) -> Path:
    """Where the failures of a table go."""
    return path.with_name(path.name + ".errors.jsonl")


def _line(body: dict[str, Any]) -> str:
    return json.dumps(body, ensure_ascii=False) + "\n"


def line(result: Any) -> str:
    """A result or failure as one line of JSON, with its line end."""
    return _line(result.body() if isinstance(result, Failure) else result.model_dump(mode="json"))


@contextmanager
def _jsonl(path: Path, columns: pa.Schema, failures: list[Failure]) -> Iterator[Write]:  # noqa: ARG001
    with path.open("w", encoding="utf-8") as file:
        yield lambda result: file.write(line(result))


def rows(document: ScoredDocument) -> Iterator[dict[str, Any]]:
    """A passage a row, its document's fields beside it, a column for each score."""
    for position, passage in enumerate(document.passages):
        yield {
            "document": document.id,
            "path": document.path,
            "title": document.title,
            "published": document.published,
            "sha256": document.sha256,
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
            ("sha256", pa.string()),
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
            ("model", pa.string()),
        ]
    )


@contextmanager
def _parquet(path: Path, columns: pa.Schema, failures: list[Failure]) -> Iterator[Write]:
    with pq.ParquetWriter(path, columns, compression="zstd") as file:

        def write(result: ScoredDocument | Failure) -> None:
            if isinstance(result, Failure):
                failures.append(result)
            else:
                file.write_table(pa.Table.from_pylist(list(rows(result)), columns))

        yield write


@contextmanager
def _csv(path: Path, columns: pa.Schema, failures: list[Failure]) -> Iterator[Write]:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, columns.names)
        table.writeheader()

        def write(result: ScoredDocument | Failure) -> None:
            if isinstance(result, Failure):
                failures.append(result)
            else:
                table.writerows({name: _cell(value) for name, value in row.items()} for row in rows(result))

        yield write


def _cell(value: Any) -> Any:
    if isinstance(value, list):
        return ";".join(value)
    # A spreadsheet would run a text that begins so as a formula.
    return "'" + value if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


FORMATS = {".jsonl": _jsonl, ".csv": _csv, ".parquet": _parquet}
