"""Floors: the figures below which no model may fall. `python -m training.gate` holds them, and raises them.

tests/quality/floors.json keeps, for each set of test passages, their digest, the model that was measured, and its
figures; a floor lies a margin below. --write sets them by another model: a floor rises without a word, and sinks only
by --lower with a reason, which the file keeps.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated

import typer
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from rich.console import Console

from labels import dataset, splits, taxonomy
from labels.dataset import Example
from labels.files import replacing
from labels.taxonomy import Taxonomy
from models import classifier, registry
from models.manifest import ArtefactError
from training import evaluate
from training.console import console_script
from training.evaluate import Report
from training.evaluate_cli import outcome_of

FLOORS = Path(__file__).parents[1] / "tests" / "quality" / "floors.json"
MARGIN = 0.02
WRITTEN, ALL = "written", "all"
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
    """What was measured on one set of test passages. data_sha256: of those passages; model: the version measured.

    margin: how far below its figure a floor lies: what another seed, or another processor, may cost.
    """

    data_sha256: str
    model: str
    margin: float = Field(ge=0)
    figures: dict[str, float]

    @property
    def floors(self) -> dict[str, float]:
        return {name: figure - self.margin for name, figure in self.figures.items()}


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


def held_out(labelling: Taxonomy) -> dict[str, list[Example]]:
    """The test passages by name of their set: the written ones, and with those of reports where they are hydrated."""
    files = {WRITTEN: [dataset.WRITTEN]}
    if dataset.HYDRATED.exists():
        files[ALL] = [dataset.WRITTEN, dataset.HYDRATED]
    return {name: splits.divide(dataset.load(paths, labelling))["test"] for name, paths in files.items()}


def raised(held: Floors, name: str, measured: Set, lower: bool, reason: str, today: date) -> Floors:
    """The floors with those of one set as measured. Raises GateError where one would sink without leave."""
    before = held.sets.get(name)
    sunk = {
        figure: (floor, measured.floors.get(figure, 0.0))
        for figure, floor in (before.floors if before else {}).items()
        if measured.floors.get(figure, 0.0) < floor
    }
    if sunk and not (lower and reason.strip()):
        listed = "; ".join(f"{figure} from {old:.4f} to {new:.4f}" for figure, (old, new) in sunk.items())
        raise GateError(f"{name}: this would lower {listed}. It takes --lower and --reason.")
    told = [
        Lowered(on=today, passages=name, figure=figure, before=old, after=new, reason=reason.strip())
        for figure, (old, new) in sunk.items()
    ]
    return Floors(sets={**held.sets, name: measured}, lowered=(*held.lowered, *told))


def main(
    model: Annotated[str, typer.Argument(help="Version or alias.")] = registry.CHAMPION,
    store: Annotated[Path, typer.Option(help="The model store.")] = registry.PACKAGED,
    floors: Annotated[Path, typer.Option(help="The floors.")] = FLOORS,
    write: Annotated[bool, typer.Option("--write", help="Set the floors by this model.")] = False,
    lower: Annotated[bool, typer.Option("--lower", help="Floors may sink, with a reason.")] = False,
    reason: Annotated[str, typer.Option(help="Why a floor is lowered; kept in the file.")] = "",
) -> None:
    """Hold a model against the floors (exit status 1 below one), or set them by it."""
    labelling = taxonomy.load()
    loaded = classifier.load(model, store)
    held = read(floors)
    failed = False
    for name, examples in held_out(labelling).items():
        report = evaluate.report(outcome_of(loaded, examples, labelling))
        digest = dataset.digest(examples)
        if write:
            found = {figure: round(value, 4) for figure, value in figures(report).items()}
            measured = Set(data_sha256=digest, model=loaded.version, margin=MARGIN, figures=found)
            held = raised(held, name, measured, lower, reason, datetime.now(UTC).date())
            continue
        if name not in held.sets or held.sets[name].data_sha256 != digest:
            raise GateError(f"{floors} has no floors for the {name} passages {digest[:12]}: --write sets them")
        below = breaches(report, held.sets[name].floors)
        failed |= bool(below)
        console.print(f"{name}: {len(examples)} passages, {'; '.join(below) or 'no figure below its floor'}")
    if write:
        with replacing(floors) as partial:
            partial.write_text(held.model_dump_json(indent=1) + "\n", encoding="utf-8")
        console.print(f"floors of {', '.join(held.sets)}: {floors}")
    raise typer.Exit(1 if failed else 0)


if __name__ == "__main__":
    console_script(main)
