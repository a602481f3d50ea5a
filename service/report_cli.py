"""`candour report`: a page of what was scored."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

from labels import taxonomy
from labels.files import replacing
from service import figures, report_page, results
from service.errors import InvalidInput
from service.results import Results

Format = Literal["html", "md"]
ENDINGS: dict[str, Format] = {".html": "html", ".md": "md"}


def _results(paths: list[Path] | None) -> list[Path] | None:
    for path in paths or []:
        if path.suffix.lower() not in results.FORMATS:
            raise typer.BadParameter(f"{path}: the ending must be one of {', '.join(results.FORMATS)}")
    return paths


def _page(path: Path | None) -> Path | None:
    if path is not None and path.suffix.lower() not in ENDINGS:
        raise typer.BadParameter(f"{path}: the ending must be .html or .md")
    return path


def report(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="RESULTS...", callback=_results, help="What `candour score` wrote (.jsonl, .csv, .parquet)."
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", callback=_page, help="A .html or .md file. Without: standard output."),
    ] = None,
    form: Annotated[
        Format | None, typer.Option("--format", help="What standard output gets. Default: md, for a mail.")
    ] = None,
    before: Annotated[
        list[Path] | None,
        typer.Option(callback=_results, help="Earlier results of the whole collection, to say what changed."),
    ] = None,
) -> None:
    """A page of what was scored: themes and stances over time, by council and kind, and the sharpest passages.

    Several results are read as one; of a document that stands in them more than once the last counts.
    """
    wanted = ENDINGS[output.suffix.lower()] if output else form or "md"
    if form and form != wanted:
        raise typer.BadParameter(f"{output} is not {form}", param_hint="--format")
    if wanted == "html":
        import service.charts  # noqa: F401  where its extra is missing, say so before all is read
    found = Results(paths)
    if not found.heads:
        raise InvalidInput(f"no scored document in {', '.join(map(str, paths))}; {len(found.failures)} failed")
    known = taxonomy.load()
    counted = figures.gather(found, known, Results(before) if before else None)
    write = report_page.html if wanted == "html" else report_page.markdown
    text = write(counted, known, paths, datetime.now())
    if output is None:
        typer.echo(text, nl=False)
        return
    with replacing(output) as partial:
        partial.write_text(text, encoding="utf-8")
