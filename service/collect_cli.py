"""`candour collect`: what councils have published since the last run, to a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from service.collecting import run, sources
from service.collecting.archive import Outcome
from service.collecting.run import Tally
from service.settings import Settings

SOME_FAILED = 3
log = Console(stderr=True, highlight=False)


def collect(
    file: Annotated[
        Path,
        typer.Argument(metavar="SOURCES.toml", exists=True, dir_okay=False, help="The feeds and sitemaps to read."),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", file_okay=False, help="The folder of documents; made if need be.")
    ] = Path("collected"),
) -> None:
    """Collect what councils' newsrooms have published since the last run, and candour score can read.

    Kept as it came, with its metadata beside it. Near-duplicates are not kept, and what robots.txt disallows is not
    fetched.
    """
    found = sources.load(file)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=log, disable=not log.is_terminal, transient=True) as bar:
        task = bar.add_task("collecting", total=len(found))
        tallies = run.collect(found, output, Settings(), finished=lambda _: bar.advance(task))
    _print(Console(highlight=False), tallies)
    raise typer.Exit(SOME_FAILED if any(tally.failed for tally in tallies) else 0)


def _print(console: Console, tallies: list[Tally]) -> None:
    """A row a source, and below it what was skipped and what failed, with the first of each sort."""
    table = Table("source", *Outcome, "skipped", "failed", box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for tally in tallies:
        counts = [*(tally.outcomes[outcome] for outcome in Outcome), tally.skipped.total(), tally.failed.total()]
        table.add_row(tally.source.name, *map(str, counts))
    console.print(table, markup=False)
    for tally in tallies:
        for reason, count in tally.skipped.most_common():
            console.print(f"{tally.source.name}: skipped, {reason}: {count}", markup=False, soft_wrap=True)
        for reason, count in tally.failed.most_common():
            detail = f"{tally.source.name}: failed, {reason}: {count} ({tally.reasons[reason]})"
            console.print(detail, style="red", markup=False, soft_wrap=True)
