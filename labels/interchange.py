"""Labelled passages in and out: JSONL, CSV, and the JSON of Label Studio. A round trip through any loses nothing.

A format is a pair of functions; more come from other packages by the entry points `candour.formats`.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from labels import dataset
from labels.dataset import Example, InvalidRow, RowError
from labels.taxonomy import Taxonomy

FIELDS = tuple(Example.model_fields)
LISTS = ("themes", "stances")
CHOICES = ("themes", "stances", "primary_stance")
TEXT = "text"


@dataclass(frozen=True)
class Format:
    """How examples are read and written. read gives each row as an Example, or as the reason why it is none."""

    read: Callable[[Path, Taxonomy], Iterable[Example | RowError]]
    write: Callable[[Path, Sequence[Example]], None]


def unique(rows: Iterable[Example | RowError], path: Path) -> Iterator[Example | RowError]:
    """The rows, with a RowError for each whose id an earlier one has; its line is the number of the row."""
    seen: set[str] = set()
    for number, row in enumerate(rows, 1):
        if isinstance(row, Example):
            if row.id in seen:
                yield RowError(str(path), number, f"id {row.id} stands twice; the first is kept")
                continue
            seen.add(row.id)
        yield row


def read_csv(path: Path, taxonomy: Taxonomy) -> Iterator[Example | RowError]:
    """A row for each record of a CSV file with the fields of an Example as its header; line is where a record ends."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.DictReader(file)
        while True:
            try:
                record = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield RowError(str(path), reader.line_num, f"not CSV: {error}")
                continue
            yield _attempt(path, reader.line_num, lambda record=record: _of_record(record), taxonomy)  # type: ignore[misc]


def write_csv(path: Path, examples: Sequence[Example]) -> None:
    """All fields of each example; lists joined by semicolons; an empty cell for what is null."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        for example in examples:
            row = example.model_dump(mode="json")
            writer.writerow(row | {name: ";".join(row[name]) for name in LISTS})


def _of_record(record: dict[Any, Any]) -> dict[str, Any]:
    if None in record:
        raise InvalidRow("more cells than the header has columns")
    row = {name: value for name, value in record.items() if value is not None}
    try:
        "".join(row.values()).encode()
    except UnicodeEncodeError:
        raise InvalidRow("not UTF-8: save the table as 'CSV UTF-8'") from None
    for name in LISTS:
        if name in row:
            row[name] = [part.strip() for part in row[name].split(";") if part.strip()]
    return row | {name: row.get(name) or None for name in ("primary_stance", "published") if name in row}


def read_label_studio(path: Path, taxonomy: Taxonomy) -> Iterator[Example | RowError]:
    """A row for each task of a Label Studio JSON export (not JSON-MIN); line is the number of the task in the file.

    Labels come from the annotation of a person: skipped annotations and predictions count for nothing. Whoever changed
    a label is named as its annotator.
    """
    try:
        tasks = json.loads(path.read_bytes())
    except ValueError as error:
        yield RowError(str(path), 1, f"not JSON: {error}")
        return
    if not isinstance(tasks, list):
        yield RowError(str(path), 1, "not a list of tasks: export the project as JSON")
        return
    for number, task in enumerate(tasks, 1):
        yield _attempt(path, number, lambda task=task: _of_task(task), taxonomy)  # type: ignore[misc]


def write_label_studio(path: Path, examples: Sequence[Example]) -> None:
    """Completed tasks for a project with the labelling interface of label_studio_interface()."""
    tasks = [_task(number, example) for number, example in enumerate(examples, 1)]
    path.write_text(json.dumps(tasks, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def label_studio_interface(taxonomy: Taxonomy) -> str:
    """The labelling interface (XML) under which a Label Studio project reads and writes candour's tasks."""
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Header", value="$title")
    ElementTree.SubElement(view, "Text", name=TEXT, value=f"${TEXT}")
    titles = {label.name: label.title for label in taxonomy.labels}
    for name, names in zip(CHOICES, (taxonomy.themes, taxonomy.stances, taxonomy.stances), strict=True):
        choice = "multiple" if name in LISTS else "single"
        group = ElementTree.SubElement(view, "Choices", name=name, toName=TEXT, choice=choice, showInline="true")
        for value in names:
            ElementTree.SubElement(group, "Choice", value=value, hint=titles[value])
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode") + "\n"


def _task(number: int, example: Example) -> dict[str, Any]:
    row = example.model_dump(mode="json")
    chosen = {name: row[name] if name in LISTS else [row[name]] for name in CHOICES if row[name]}
    result = [
        {"id": f"{number}-{name}", "from_name": name, "to_name": TEXT, "type": "choices", "value": {"choices": values}}
        for name, values in chosen.items()
    ]
    annotation = {"id": number, "was_cancelled": False, "ground_truth": False, "result": result}
    return {"id": number, "data": row, "annotations": [annotation], "predictions": []}


def _of_task(task: Any) -> dict[str, Any]:
    if not isinstance(task, dict) or not isinstance(task.get("data"), dict):
        raise InvalidRow("not a task with data: export the project as JSON, not as JSON-MIN")
    annotation = _annotation(task.get("annotations"))
    chosen = _chosen(annotation["result"])
    data = {name: value for name, value in task["data"].items() if name in FIELDS}
    row = data | {name: chosen.get(name, []) for name in LISTS}
    primary = chosen.get("primary_stance") or []
    if len(primary) > 1:
        raise InvalidRow("more than one primary_stance")
    # The one stance of a passage is its strongest, so that nobody need choose it twice.
    row["primary_stance"] = primary[0] if primary else row["stances"][0] if len(row["stances"]) == 1 else None
    if "annotator" not in data or _verdict(row) != _verdict(data):
        row["annotator"] = _annotator(annotation) or data.get("annotator")
    return row


def _annotation(annotations: Any) -> dict[str, Any]:
    """The one that counts: not skipped; of several the one that is marked as ground truth."""
    listed = annotations if isinstance(annotations, list) else []
    whole = [found for found in listed if isinstance(found, dict) and isinstance(found.get("result"), list)]
    kept = [annotation for annotation in whole if not annotation.get("was_cancelled")]
    if len(kept) > 1:
        kept = [annotation for annotation in kept if annotation.get("ground_truth")] or kept
    if not kept:
        raise InvalidRow("no annotation (skipped ones and predictions do not count)")
    if len(kept) > 1:
        raise InvalidRow(f"{len(kept)} annotations, and not one of them alone is marked as ground truth")
    return kept[0]


def _chosen(result: list[Any]) -> dict[str, list[str]]:
    chosen: dict[str, list[str]] = {}
    for region in result:
        if not isinstance(region, dict) or region.get("type") != "choices":
            continue
        name, values = region.get("from_name"), (region.get("value") or {}).get("choices")
        if name not in CHOICES:
            raise InvalidRow(f"choices named {name!r}: expected {', '.join(CHOICES)}")
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise InvalidRow(f"{name}: choices are not a list of names")
        chosen[name] = values
    return chosen


def _annotator(annotation: dict[str, Any]) -> str | None:
    """Who changed an annotation last: exports hold a number, or an object with an e-mail address.

    An imported annotation counts as completed by whoever imported it; somebody else's change to it is in updated_by.
    """
    by, editor = annotation.get("completed_by"), annotation.get("updated_by")
    if editor and editor != (by.get("id") if isinstance(by, dict) else by):
        by = editor
    if isinstance(by, dict):
        by = by.get("email") or by.get("id")
    return f"label-studio:{by}" if by else None


def _verdict(row: dict[str, Any]) -> tuple[frozenset[str], frozenset[str], str | None]:
    themes, stances = (frozenset(map(str, row.get(name) or ())) for name in LISTS)
    return themes, stances, row.get("primary_stance")


def _attempt(path: Path, line: int, row: Callable[[], dict[str, Any]], taxonomy: Taxonomy) -> Example | RowError:
    try:
        return dataset.parse(row(), Example, taxonomy)
    except InvalidRow as error:
        return RowError(str(path), line, str(error))


FORMATS = {
    "jsonl": Format(dataset.rows, dataset.write),
    "csv": Format(read_csv, write_csv),
    "label-studio": Format(read_label_studio, write_label_studio),
}
SUFFIXES = {".jsonl": "jsonl", ".csv": "csv", ".json": "label-studio"}
