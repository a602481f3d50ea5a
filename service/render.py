"""Results for a person at a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from service.batch import Tally
from service.compare import Comparison
from service.report import Failure, ScoredDocument

NONE = "none"
# Seconds of a run without a word, where there is no terminal.
UNTOLD = 5


def document(console: Console, result: ScoredDocument | Failure) -> None:
    """A document: how many passages, theme × primary stance, and its sharpest passages; or why there is none."""
    if isinstance(result, Failure):
        console.print(Text(f"{result.path}: {result.error.detail} [{result.error.type}]\n", style="red"))
        return
    console.print(Text(result.title or "(no title)", style="bold"))
    pages = f", {result.pages} pages" if result.pages else ""
    dated = f", {result.published}" if result.published else ""
    console.print(Text(f"{result.path}: {result.summary.passages} passages{pages}{dated}", style="dim"))
    console.print(_matrix(result))
    for position in result.summary.sharpest:
        passage = result.passages[position]
        place = f"p. {passage.page}" if passage.page else f"passage {position + 1}"
        labels = f"{', '.join(passage.stances)} · {', '.join(passage.themes) or 'no theme'}"
        console.print(Text(f"  {place}: {labels}", style="cyan"))
        console.print(Text(f"  {passage.text}"))
    console.print()


def comparison(console: Console, found: Comparison) -> None:
    """A comparison: its sentence, a row a theme, and the criticisms that are left unanswered."""
    console.print(Text(found.sentence, style="bold"))
    table = Table("theme", "criticised", "praised", "response", "verdict", box=None, pad_edge=False)
    for theme in found.themes:
        stances = ", ".join(f"{count} {name}" for name, count in theme.response.stances.items()) or "nothing"
        counts = (str(theme.report.critical), str(theme.report.supportive))
        table.add_row(theme.theme, *counts, stances, theme.verdict.replace("_", " "))
    console.print(table)
    for theme in found.themes:
        if theme.verdict == "unanswered":
            for passage in theme.report.passages:
                place = f"p. {passage.page}" if passage.page else f"passage {passage.position + 1}"
                console.print(Text(f"  {place}: {theme.theme}, unanswered", style="cyan"))
                console.print(Text(f"  {passage.text}"))


def _matrix(result: ScoredDocument) -> Table:
    """Rows are themes, columns primary stances. A passage with two themes stands in two rows."""
    first = result.passages[0].scores
    stances = [*first.stances, NONE]
    table = Table("theme", *stances, box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for theme in [*first.themes, NONE]:
        counts = result.summary.matrix.get(theme, {})
        table.add_row(theme, *(str(counts.get(stance, "·")) for stance in stances))
    return table


def tally(console: Console, counted: Tally, outdated: int, seconds: float, model: str) -> None:
    """The last lines of a run: what was scored, what failed and why, and where the time went."""
    console.print(
        f"documents {counted.documents}, passages {counted.passages}, failed {counted.failed}, known {counted.known}, "
        f"seconds {seconds:.1f} (model {counted.model:.1f}, waiting for reading {counted.waiting:.1f}), model {model}",
        soft_wrap=True,
    )
    for reason, count in counted.failures.most_common():
        console.print(f"  failed, {reason}: {count}")
    if outdated:
        console.print(f"  scored by another model and left so: {outdated} (--rescore scores them anew)")


@contextmanager
def progress(console: Console, counted: Tally, total: int) -> Iterator[Callable[[], None]]:
    """A function to call after each result: it shows how far a run is, and when it will be done.

    On a terminal as a bar; elsewhere, in a run of more than UNTOLD seconds, as a line each tenth of the way. What is
    left is reckoned from the whole run so far: the last few documents say little of the next ones.
    """
    started, shown = time.perf_counter(), 0
    columns = (TextColumn("{task.description}"), BarColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("scoring", total=total)

        def advance() -> None:
            nonlocal shown
            # What is known takes no time, and says nothing of what is left.
            seconds = (time.perf_counter() - started) * (total - counted.done) / max(1, counted.done - counted.known)
            text = f"{counted.done} of {total} documents, about {timedelta(seconds=round(seconds))} left"
            bar.update(task, completed=counted.done, description=text)
            tenth = 10 * counted.done // total
            if not console.is_terminal and tenth > shown and time.perf_counter() - started > UNTOLD:
                shown = tenth
                console.print(f"candour: {text}", markup=False, soft_wrap=True)

        yield advance
