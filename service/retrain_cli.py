"""`candour retrain`: from corrections to a model that may be served."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from service import retrain as retraining
from service.errors import NotFound
from service.retrain import Plan, Retraining, State
from service.settings import Settings

FAILED, REFUSED = 1, 3
log = Console(stderr=True, highlight=False, soft_wrap=True)


def retrain(
    data: Annotated[
        list[Path] | None,
        typer.Option(help="Labelled passages (JSONL) beside corrections. Default: CANDOUR_RETRAIN_DATA, ours."),
    ] = None,
    promote: Annotated[bool, typer.Option("--promote", help="Make it the champion if it passes the gate.")] = False,
    epochs: Annotated[int, typer.Option(help="Passes over the training split.", min=1, max=100)] = 5,
    teacher: Annotated[bool, typer.Option(help="Learn from the teacher's soft labels, too.")] = True,
    status: Annotated[bool, typer.Option("--status", help="Show how far the last run is, and begin nothing.")] = False,
) -> None:
    """Train a model with the corrections of the store (CANDOUR_DATABASE), and hold it against the champion.

    One that passes becomes the candidate, or with --promote the champion; one that is refused (exit code 3) is kept and
    not served. A run that was cut off goes on with the same command.
    """
    settings = Settings()
    folder = settings.retrain_folder
    if status:
        if not (found := retraining.runs(folder)):
            raise NotFound(f"there is no run in {folder}")
        _print(retraining.show(settings, found[-1]))
        return
    plan = Plan(promote=promote, epochs=epochs, teacher=teacher)
    with retraining.locked(settings.store) as handle:
        run = retraining.begun(settings, plan, data or [])
        log.print(f"candour: {'going on with' if run.steps else 'begins'} {run.id} in {folder / run.id}", markup=False)
        run = retraining.drive(settings, run, handle, lambda line: log.print(line, markup=False))
    page = folder / run.id / retraining.PAGE
    log.print(f"candour: {run.id}: {run.state}{f', see {page}' if page.exists() else ''}", markup=False)
    raise typer.Exit({State.FAILED: FAILED, State.REFUSED: REFUSED}.get(run.state, 0))


def _print(run: Retraining) -> None:
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{run.id} {run.state}", markup=False)
    table = Table("step", "started", "finished", "status", box=None)
    for step in run.steps:
        finished = f"{step.finished:%H:%M:%S}" if step.finished else ""
        table.add_row(
            step.name, f"{step.started:%Y-%m-%d %H:%M:%S}", finished, "" if step.status is None else str(step.status)
        )
    console.print(table)
    for rule in run.refusals or []:
        console.print(f"refused by {rule.name}: {rule.detail}", markup=False)
    for line in run.log:
        console.print(line, style="dim", markup=False)
