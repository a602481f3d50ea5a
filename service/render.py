"""Results for a person at a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from service.batch import Tally
from service.compare import Comparison
from service.report import Failure, ScoredDocument

NONE = "none"


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


def tally(console: Console, counted: Tally, seconds: float, model: str) -> None:
    """The last lines of a run: what was scored, what failed and why, and where the time went."""
    console.print(
        f"documents {counted.documents}, passages {counted.passages}, failed {counted.failed}, seconds {seconds:.1f} "
        f"(model {counted.model:.1f}, reading {counted.parsing:.1f}), model {model}",
        soft_wrap=True,
    )
    for reason, count in counted.failures.most_common():
        console.print(f"  failed, {reason}: {count}")
