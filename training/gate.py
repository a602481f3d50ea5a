"""Floors: the figures below which no model may fall. `python -m training.gate` holds them, and raises them.

training/floors.json keeps, for each set of test passages, their digest, the model that was measured, its figures, and
the floors, a margin below: what another run of the recipe may cost. --write sets them by another model: a floor rises
without a word, stays where the new figure is over it, and sinks only by --lower with a reason, which the file keeps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated

import typer
from pydantic import BaseModel, ConfigDict, ValidationError
from rich.console import Console

from labels import dataset, splits, taxonomy
from labels.dataset import Example
from labels.files import replacing
from labels.taxonomy import Taxonomy
from models import classifier, registry
from models.manifest import ArtefactError
from training import evaluate
from training.console import StoreOption, console_script
from training.evaluate import Report
from training.evaluate_cli import outcome_of

FLOORS = Path(__file__).with_name("floors.json")
# How far below its figure a floor is set, at least.
MARGIN = 0.02
# By how much two runs differ in F1 of a label with n passages, times sqrt(n): a standard deviation, on dev.
RUNS = 0.2
# How many of those a floor lies below at least. Chance alone exceeds them for one label in 300, of which there are
# eight in each of two sets, and for one macro-F1 in 40.
OF_LABEL, OF_MACRO = 2.7, 2.0
WRITTEN, ALL, OTHER = "written", "all", "test"
console = Console(stderr=True, highlight=False, soft_wrap=True)


class GateError(ArtefactError):
    """Floors that cannot be used, or must not be changed so."""


class _Kept(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Lowered(_Kept):
    """A floor that somebody lowered, and why."""

    on: date
    passages: str
    figure: str
    before: float
    after: float
    reason: str


class Set(_Kept):
    """What was measured on one set of test passages. data_sha256: of those passages; model: the version measured."""

    data_sha256: str
    model: str
    figures: dict[str, float]
    floors: dict[str, float]


class Floors(_Kept):
    """The contents of floors.json. sets: by name, `written` (always at hand) and `all` (with the hydrated reports)."""

    sets: dict[str, Set] = {}
    lowered: tuple[Lowered, ...] = ()


def read(path: Path = FLOORS) -> Floors:
    """The floors kept in a file; none where there is no file. Raises GateError."""
    try:
        return Floors.model_validate_json(path.read_bytes()) if path.exists() else Floors()
    except ValidationError as error:
        raise GateError(f"{path} does not hold floors: {dataset.validation_detail(error)}") from error


def figures(report: Report) -> dict[str, float]:
    """What has a floor: F1 of each label, macro-F1 of each axis, the share of right primary stances."""
    found = {f"f1/{label.key}": label.f1 for label in report.labels if label.support}
    found |= {f"macro_f1/{axis}": value for axis, value in report.macro_f1.items()}
    return found | {"primary_accuracy": report.primary_accuracy}


def breaches(report: Report, floors: Mapping[str, float]) -> list[str]:
    """The figures below their floors, in words; empty when the model passes. A figure that is missing is below."""
    found = figures(report)
    return [
        f"{name} is {found.get(name, 0.0):.4f}, below its floor of {floor:.4f}"
        for name, floor in floors.items()
        if found.get(name, 0.0) < floor
    ]


def held_out(labelling: Taxonomy, data: Sequence[Path] | None = None) -> dict[str, list[Example]]:
    """The test passages by name of their set: the written ones, and with those of reports where they are hydrated.

    data: files of labelled passages instead; the sets of those that are packaged, and one of all if others are among
    them, the last.
    """
    packaged = {path.resolve(): path for path in (dataset.WRITTEN, dataset.HYDRATED) if path.exists()}
    given = {path.resolve() for path in data or packaged}
    files: dict[str, list[Path]] = {}
    if dataset.WRITTEN.resolve() in given:
        files[WRITTEN] = [dataset.WRITTEN]
        if dataset.HYDRATED.resolve() in given:
            files[ALL] = [dataset.WRITTEN, dataset.HYDRATED]
    if not given <= packaged.keys() or not files:
        files[OTHER] = list(data or [])
    return {name: splits.divide(dataset.load(paths, labelling))["test"] for name, paths in files.items()}


def margin(*supports: int) -> float:
    """How far below its figure the floor lies of a label's F1, or of macro-F1 over some labels.

    supports: passages with each label, one or more.
    """
    apart = RUNS * math.sqrt(sum(1 / n for n in supports)) / len(supports)
    return max(MARGIN, (OF_MACRO if len(supports) > 1 else OF_LABEL) * apart)


def margins(supports: Mapping[str, int]) -> dict[str, float]:
    """The margin of each figure of labels. supports: passages with each label, by key; those due nowhere have none."""
    due = {key: int(n) for key, n in supports.items() if n}
    axes = dict.fromkeys(key.partition("/")[0] for key in due)
    found = {f"f1/{key}": margin(n) for key, n in due.items()}
    return found | {
        f"macro_f1/{axis}": margin(*(n for key, n in due.items() if key.partition("/")[0] == axis)) for axis in axes
    }


def measured(report: Report, data_sha256: str, model: str) -> Set:
    """The figures of a model and the floors that it would set."""
    found = {name: round(value, 4) for name, value in figures(report).items()}
    below = margins({label.key: label.support for label in report.labels})
    return Set(
        data_sha256=data_sha256, model=model, figures=found,
        floors={name: round(max(0.0, value - below.get(name, MARGIN)), 4) for name, value in found.items()},
    )  # fmt: skip


def raised(held: Floors, passages: str, new: Set, lower: bool, reason: str, today: date) -> Floors:
    """The floors with one set measured anew. Raises GateError where one would sink without leave."""
    before = held.sets[passages].floors if passages in held.sets else {}
    sunk = {figure: floor for figure, floor in before.items() if new.figures.get(figure, 0.0) < floor}
    if sunk and not (lower and reason.strip()):
        listed = "; ".join(
            f"{figure} is {new.figures.get(figure, 0.0):.4f}, not {old:.4f}" for figure, old in sunk.items()
        )
        raise GateError(f"{passages}: this would lower floors: {listed}. It takes --lower and --reason.")
    floors = {
        figure: floor if lower and reason.strip() else max(floor, before.get(figure, 0.0))
        for figure, floor in new.floors.items()
    }
    told = [
        Lowered(
            on=today, passages=passages, figure=figure, before=old, after=floors.get(figure, 0.0), reason=reason.strip()
        )
        for figure, old in before.items()
        if floors.get(figure, 0.0) < old
    ]
    kept = new.model_copy(update={"floors": floors})
    return Floors(sets={**held.sets, passages: kept}, lowered=(*held.lowered, *told))


def main(
    model: Annotated[str, typer.Argument(help="Version or alias.")] = registry.CHAMPION,
    store: StoreOption = registry.PACKAGED,
    floors: Annotated[Path, typer.Option(help="The floors.")] = FLOORS,
    write: Annotated[bool, typer.Option("--write", help="Set the floors by this model.")] = False,
    lower: Annotated[bool, typer.Option("--lower", help="Floors may sink, all of them, with a reason.")] = False,
    reason: Annotated[str, typer.Option(help="Why a floor is lowered; kept in the file.")] = "",
) -> None:
    """Hold a model against the floors (exit status 1 below one), or set them by it."""
    labelling = taxonomy.load()
    loaded = classifier.load(model, store)
    held = read(floors)
    failed = False
    sets = held_out(labelling)
    for name, examples in sets.items():
        report = evaluate.report(outcome_of(loaded, examples, labelling))
        digest = dataset.digest(examples)
        if write:
            new = measured(report, digest, loaded.version)
            held = raised(held, name, new, lower, reason, datetime.now(UTC).date())
            continue
        if name not in held.sets or held.sets[name].data_sha256 != digest:
            raise GateError(f"{floors} has no floors for the {name} passages {digest[:12]}: --write sets them")
        below = breaches(report, held.sets[name].floors)
        failed |= bool(below)
        console.print(f"{name}: {len(examples)} passages, {'; '.join(below) or 'no figure below its floor'}")
    if ALL not in sets:
        console.print(f"{ALL}: not looked at, the passages of reports are not hydrated")
    if write:
        with replacing(floors) as partial:
            partial.write_text(held.model_dump_json(indent=1) + "\n", encoding="utf-8")
        console.print(f"floors of {', '.join(held.sets)}: {floors}")
    raise typer.Exit(1 if failed else 0)


if __name__ == "__main__":
    console_script(main)
