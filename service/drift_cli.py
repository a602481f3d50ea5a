"""`candour drift`: whether what comes in is still like what came in before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from datetime import date, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from labels.files import replacing
from models import classifier
from models.classifier import Classifier
from service import drift as drifting
from service import results
from service.drift import EMBEDDING, LENGTH, VOCABULARY, Drift, Scored
from service.errors import InvalidInput, NotFound
from service.results import Results
from service.settings import Settings
from service.store import DocumentFilter, Store, opened

DRIFTED = 3
# Documents of the store that are listed at a time.
LISTED = 100
log = Console(stderr=True, highlight=False)


def _results(paths: list[Path] | None) -> list[Path] | None:
    for path in paths or []:
        if path.suffix.lower() not in results.FORMATS:
            raise typer.BadParameter(f"{path}: the ending must be one of {', '.join(results.FORMATS)}")
    return paths


def _json(path: Path | None) -> Path | None:
    if path is not None and path.suffix.lower() != ".json":
        raise typer.BadParameter(f"{path}: the ending must be .json")
    return path


def drift(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="RESULTS...", callback=_results, help="What `candour score` wrote (.jsonl, .csv, .parquet)."
        ),
    ] = None,
    store: Annotated[bool, typer.Option("--store", help="What is in the store (CANDOUR_DATABASE), instead.")] = False,
    since: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Only what was published on this day or later.")
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(callback=_json, help="What to compare with. Default: the file drift.json beside the model."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", callback=_json, help="A .json file. Without: a table.")
    ] = None,
    make_reference: Annotated[
        Path | None,
        typer.Option(callback=_json, help="Compare nothing: make a reference of these documents, and write it here."),
    ] = None,
) -> None:
    """Is what comes in still like what came in before? Labels, confidence, length, words, embeddings, by source.

    The status is 3 where a figure has drifted. Documents like those of the reference do so in one run of a hundred.
    """
    if bool(paths) == store:
        raise typer.BadParameter("give either results or --store")
    settings = Settings()
    first = since.date() if since else None
    with ExitStack() as stack:
        kept = stack.enter_context(opened(settings.database)) if store else None
        documents = _stored(kept, first) if kept else _read(paths or [], first)
        stack.enter_context(log.status("documents are looked at"))
        if make_reference:
            labelled = list(documents)
            made = drifting.reference(labelled, _model(settings, labelled[0].model if labelled else settings.model))
            drifting.write(make_reference, made)
            log.print(f"candour: {make_reference}: {len(made.documents)} documents", markup=False, soft_wrap=True)
            return
        before = drifting.read(reference or drifting.beside(settings.store, settings.model))
        model = _model(settings, before.model)
        others = Counter[str]()
        if kept:
            documents = _labelled_by(before.model, documents, others)
        found = drifting.compare(before, [before.profile(document, model) for document in documents])
    if others:
        named = ", ".join(f"{count} by {name}" for name, count in others.items())
        log.print(
            f"candour: left out, as the reference is of {before.model}: documents labelled {named} "
            "(`candour labels relabel` labels them anew)",
            style="yellow", markup=False, soft_wrap=True,
        )  # fmt: skip
    if not found.sources and not found.unknown:
        raise InvalidInput("there is no scored document to compare")
    if not found.sources:
        raise InvalidInput(f"too few documents to compare anything: {', '.join(found.unknown)}")
    if output is None:
        _print(found)
    else:
        with replacing(output) as partial:
            partial.write_text(found.model_dump_json(indent=2) + "\n", encoding="utf-8")
    raise typer.Exit(DRIFTED if found.drifted else 0)


def _model(settings: Settings, version: str) -> Classifier:
    return classifier.load(version, settings.store, settings.threads)


def _labelled_by(model: str, documents: Iterable[Scored], others: Counter[str]) -> Iterator[Scored]:
    """The documents that a model labelled; the others are counted by theirs."""
    for document in documents:
        if document.model == model:
            yield document
        else:
            others[document.model] += 1


def _read(paths: list[Path], since: date | None) -> Iterator[Scored]:
    for document in Results(paths):
        if since is None or (document.published and document.published >= since):
            yield document


def _stored(store: Store, since: date | None) -> Iterator[Scored]:
    cursor = None
    while True:
        page = store.documents(DocumentFilter(since=since), cursor, LISTED)
        for summary in page.items:
            with suppress(NotFound):  # deleted since
                yield store.get(summary.id)
        if (cursor := page.next) is None:
            return


def _print(found: Drift) -> None:
    """What has drifted of each source, or else the figure that is furthest off."""
    table = Table("source", "documents", "of reference", "figure", "reference", "today", "distance", box=None)
    for source in found.sources:
        furthest = max(source.figures, key=lambda figure: figure.distance)
        for figure in [figure for figure in source.figures if figure.drifted] or [furthest]:
            counts = (str(source.documents), f"{source.reference_documents}{'' if source.like else ' of all kinds'}")
            values = (_shown(figure.name, figure.reference), _shown(figure.name, figure.today))
            style = "red" if figure.drifted else None
            table.add_row(source.name, *counts, figure.name, *values, f"{figure.distance:.1f}", style=style)
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = 160  # a table in a file is not cut to a screen that is not there
    console.print(table)
    for name in found.unknown:
        console.print(f"{name}: too few documents to tell", markup=False)
    chance = f"chance alone exceeds a distance of {found.threshold:.1f} in {found.false_alarms:.0%} of runs"
    console.print(f"{'drifted' if found.drifted else 'nothing has drifted'}: {chance}; vocabulary is in bits a word")


def _shown(name: str, value: float) -> str:
    if name in (VOCABULARY, EMBEDDING):
        return f"{value:.2f}"
    return f"{value:.1f}" if name == LENGTH else f"{value:.0%}"
