"""`candour labels …`: look after labelled data. What needs scikit-learn and the like is found by its entry point."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated

import typer
from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from labels import agreement as agreements
from labels import check, dataset, interchange, references, splits, taxonomy
from labels.agreement import Agreement
from labels.dataset import Example, RowError
from labels.interchange import FORMATS, SUFFIXES, Format
from labels.passages import Passage
from models import classifier
from service import batch, corrections, render
from service.batch import Tally
from service.corrections import Correction, Guide, Said, verdict
from service.documents import read
from service.errors import DocumentError, NotFound
from service.report import ScoredDocument
from service.settings import Settings
from service.store import Store, opened

COULD_NOT_RUN, SOME_FAILED = 1, 3
# Other people's words: ignored by git, and left out of packages.
CORRECTIONS = dataset.DATA / "corrections.jsonl"
labels_app = typer.Typer(
    help="Labelled data: find reports' passages again, check, split, compare annotators, import and export.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
log = Console(stderr=True, highlight=False, soft_wrap=True)
FormatOption = Annotated[
    str | None, typer.Option("--format", "-f", help="jsonl, csv, label-studio or datasets. Default: by the name.")
]
ReportsOption = Annotated[
    Path, typer.Option(help="The folder of the reports.", exists=True, file_okay=False, envvar="CANDOUR_REPORTS")
]


def register() -> None:
    """Add the commands that other packages offer for this group (`check`)."""
    for command in entry_points(group="candour.labels"):
        labels_app.command(command.name)(command.load())


@labels_app.command(epilog="Example:  [bold]candour labels hydrate --reports ../shared/reports[/bold]")
def hydrate(
    reports: ReportsOption,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write.")] = dataset.HYDRATED,
    source: Annotated[Path, typer.Option("--references", help="The references.")] = references.REFERENCES,
    others: Annotated[
        Path, typer.Option("--unlabelled", help="Where to write the passages of these reports that have no labels.")
    ] = dataset.UNLABELLED,
) -> None:
    """Find the passages of the references again in the reports, and write them as examples.

    The other passages of the same reports are written without labels, for a student to learn from with its teacher.
    Fails, and writes nothing, when there is one that it cannot find.
    """
    wanted = references.read(source, taxonomy.load())
    total = len({reference.file for reference in wanted})
    with Progress(console=log, disable=not log.is_terminal, transient=True) as bar:
        task = bar.add_task("reading", total=total)
        passages_of = cache(_passages_of(reports, lambda: bar.advance(task)))
        found = references.find(wanted, passages_of, source)
        rest = references.unlabelled(wanted, passages_of)
    dataset.write(output, map(references.example, found))
    dataset.write(others, rest)
    moved = sum(item.moved for item in found)
    log.print(f"{len(found)} passages of {total} reports, {moved} of them moved since they were labelled: {output}")
    log.print(f"{len(rest)} passages of the same reports without labels: {others}")


@labels_app.command(epilog="Example:  [bold]candour labels split[/bold]")
def split(
    paths: Annotated[list[Path] | None, typer.Argument(help="JSONL of examples or references. Default: ours.")] = None,
    file: Annotated[Path, typer.Option(help="The splits file to add to.")] = splits.FIXED,
) -> None:
    """Fix the split of every group that the splits file lacks. A group in it never moves."""
    labelling = taxonomy.load()
    new = splits.fix(file, [row.group for row in corrections.rows(paths or check.packaged(), labelling)])
    log.print(f"{len(new)} groups added, {len(splits.read(file))} in {file}")


@labels_app.command(epilog="Example:  [bold]candour labels agreement first.jsonl second.jsonl --json[/bold]")
def agreement(
    first: Annotated[Path, typer.Argument(help="JSONL of one annotator: id and labels, examples, or references.")],
    second: Annotated[Path, typer.Argument(help="JSONL of the other.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with the ids that differ.")] = False,
) -> None:
    """Cohen's kappa and Krippendorff's alpha of two annotators, by id."""
    labelling = taxonomy.load()
    both = [agreements.read(path, labelling) for path in (first, second)]
    if not set(both[0]) & set(both[1]):
        log.print(f"candour: {first} and {second} have no id in common", style="red", markup=False)
        raise typer.Exit(COULD_NOT_RUN)
    found = agreements.compare(both[0], both[1], labelling)
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
        return
    _print(found)


@labels_app.command("import", epilog="Example:  [bold]candour labels import project.json -o labels.jsonl[/bold]")
def import_(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="What to import.", exists=True)],
    output: Annotated[Path, typer.Option("--output", "-o", help="A .jsonl file.")],
    format: FormatOption = None,  # noqa: A002  # the option's name
) -> None:
    """Import labelled passages. Rows that cannot be imported are named, and the rest goes in (exit code 3)."""
    rows = list(interchange.unique(_format(format, source).read(source, taxonomy.load()), source))
    taken = [row for row in rows if isinstance(row, Example)]
    refused = [row for row in rows if isinstance(row, RowError)]
    for row in refused:
        log.print(str(row), style="red", markup=False)
    if refused and not taken:
        log.print(f"candour: nothing in {source} can be imported", style="red", markup=False)
        raise typer.Exit(COULD_NOT_RUN)
    dataset.write(output, taken)
    log.print(f"{len(taken)} rows imported, {len(refused)} not: {output}")
    raise typer.Exit(SOME_FAILED if refused else 0)


@labels_app.command(epilog="Example:  [bold]candour labels export labels/data/written.jsonl -o tasks.json[/bold]")
def export(
    sources: Annotated[list[Path], typer.Argument(metavar="IN...", help="JSONL of examples.", exists=True)],
    output: Annotated[Path, typer.Option("--output", "-o", help="A file, or a folder for datasets.")],
    format: FormatOption = None,  # noqa: A002  # the option's name
    interface: Annotated[
        Path | None, typer.Option(help="Write Label Studio's labelling interface for these tasks here, too.")
    ] = None,
) -> None:
    """Export labelled passages: all their fields, so that an import gives them back as they were."""
    labelling = taxonomy.load()
    examples = dataset.load(sources, labelling)
    _format(format, output).write(output, examples)
    if interface:
        interface.write_text(interchange.label_studio_interface(labelling), encoding="utf-8")
    log.print(f"{len(examples)} rows exported: {output}")


def _guide(given: str | None) -> str | None:
    try:
        return None if given is None else TypeAdapter(Guide).validate_python(given)
    except ValidationError:
        raise typer.BadParameter(f"{given}: must be a version such as 1.0") from None


@labels_app.command(
    epilog="Example:  [bold]candour labels correct 9f86d081884c7d65-0 --theme care_planning --stance critical "
    '--who "Nerys Quill"[/bold]'
)
def correct(
    passage: Annotated[str, typer.Argument(help="The passage's id, of the store of CANDOUR_DATABASE.")],
    who: Annotated[str, typer.Option(help="The person who says so.")],
    theme: Annotated[list[str] | None, typer.Option(help="A theme that it has; may be repeated.")] = None,
    stance: Annotated[list[str] | None, typer.Option(help="A stance that it has; may be repeated.")] = None,
    primary: Annotated[str | None, typer.Option(help="The strongest stance. Default: the first.")] = None,
    why: Annotated[str | None, typer.Option(help="The reason, for who reads it later.")] = None,
    guide: Annotated[
        str | None, typer.Option(callback=_guide, help="The guide's version. Default: the present one.")
    ] = None,
) -> None:
    """Say what a stored passage's labels are: all of them, or none. What was said before is kept."""
    labelling = taxonomy.load()
    said = Said(
        themes=tuple(theme or ()),
        stances=tuple(stance or ()),
        primary_stance=primary or next(iter(stance or ()), None),
        who=who,
        why=why,
        guide=guide or labelling.version,
    )
    with opened(Settings().database) as store:
        kept = store.correct(passage, said.checked(labelling))
    log.print(f"{passage}: {_said(kept)}", markup=False)


@labels_app.command(epilog="Example:  [bold]candour labels pull -o corrections.jsonl[/bold]")
def pull(
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write.")] = CORRECTIONS,
    beside: Annotated[
        list[Path] | None,
        typer.Option(
            help="JSONL of the labelled passages that they join; may be repeated. Default: ours.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    merged: Annotated[
        Path | None, typer.Option(help="Write these passages, less those superseded, and the corrections here, too.")
    ] = None,
) -> None:
    """Write the corrections of the store (CANDOUR_DATABASE) as examples, after the checks of all labelled data.

    A correction supersedes the labelled passages of the same text, in their split; those of the test split are never
    changed. Where people disagree, nobody's labels are taken. Rows in which a check finds an error are left out (exit
    code 3).
    """
    joined = beside or check.packaged()
    for path in filter(None, (output, merged)):
        if path.resolve() in {one.resolve() for one in joined}:
            raise typer.BadParameter(f"{path} is an input, and would be overwritten")
    if merged and merged.resolve() == output.resolve():
        raise typer.BadParameter(f"{merged} is --output, too")
    with opened(Settings().database) as store:
        pulled = corrections.pull(store.corrected(), taxonomy.load(), joined)
    for disputed in pulled.disputed:
        said = "; ".join(map(_said, disputed))
        log.print(f"{disputed[0].document}-{disputed[0].position}: {said} [disputed]", style="yellow", markup=False)
    for example, fault in pulled.refused:
        log.print(f"{example.id}: {fault.detail} [{fault.check}]", style="red", markup=False)
    dataset.write(output, pulled.examples)
    if merged:
        dataset.write(merged, pulled.merged)
    superseding = len({row.sha256 for row in pulled.superseded})
    counts = Counter(fault.check for _, fault in pulled.refused)
    reasons = ", ".join(f"{count} {check}" for check, count in sorted(counts.items()))
    refused = f"{len(pulled.refused)} refused{f' ({reasons})' if reasons else ''}"
    taken = f"{len(pulled.examples)} taken, {superseding} superseding"
    log.print(f"{taken}, {refused}, {len(pulled.disputed)} disputed: {output}", markup=False)
    raise typer.Exit(SOME_FAILED if pulled.refused else 0)


@labels_app.command(epilog="Example:  [bold]candour labels relabel[/bold]")
def relabel() -> None:
    """Have the model (CANDOUR_MODEL) label anew what another one labelled in the store (CANDOUR_DATABASE).

    The newest documents come first. What the model before said otherwise is kept, and comes up in the review queue. A
    run that was cut off goes on where it was.
    """
    settings = Settings()
    model = classifier.load(settings.model, settings.store, settings.threads)
    tally, documents, changed = Tally(), 0, 0
    with opened(settings.database) as store:
        outdated = store.by_others(model.version)
        with render.progress(log, tally, len(outdated)) as advance:
            for before, after in batch.relabel(_stored(store, outdated), model, tally):
                if store.relabel(after):
                    documents += 1
                    pairs = zip(before.passages, after.passages, strict=True)
                    changed += sum(verdict(old) != verdict(new) for old, new in pairs)
                advance()
    log.print(f"{documents} documents labelled by {model.version}, {changed} passages changed labels")


def _stored(store: Store, ids: Iterable[str]) -> Iterator[ScoredDocument]:
    for name in ids:
        with suppress(NotFound):  # deleted since
            yield store.get(name)


def _said(correction: Correction) -> str:
    labels = ", ".join([*correction.themes, *correction.stances]) or "nothing"
    return f"{labels}, says {correction.who}"


def _passages_of(folder: Path, tick: Callable[[], None]) -> Callable[[str], list[Passage]]:
    def passages_of(file: str) -> list[Passage]:
        tick()
        try:
            return read((folder / file).read_bytes()).passages
        except DocumentError as error:
            raise OSError(str(error)) from error

    return passages_of


def _format(name: str | None, path: Path) -> Format:
    """A format by its name, else by the path's. Raises BadParameter."""
    name = name or SUFFIXES.get(path.suffix.lower()) or ("" if path.suffix else "datasets")
    if name in FORMATS:
        return FORMATS[name]
    for offered in entry_points(group="candour.formats", name=name):
        found = offered.load()
        assert isinstance(found, Format)
        return found
    known = sorted({*FORMATS, *entry_points(group="candour.formats").names})
    raise typer.BadParameter(f"not known; one of {', '.join(known)}", param_hint="--format")


def _print(found: Agreement) -> None:
    table = Table("label", "first", "second", "both", "agreed", "kappa", "alpha", box=None)
    for row in found.labels:
        counts = (str(row.first), str(row.second), str(row.both))
        table.add_row(row.label, *counts, f"{row.agreed:.1%}", _figure(row.kappa), _figure(row.alpha))
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    sets = {"themes": found.alpha_themes, "stances": found.alpha_stances, "both": found.alpha_all}
    console.print("alpha of the sets (MASI): " + ", ".join(f"{name} {_figure(value)}" for name, value in sets.items()))
    console.print(f"kappa of the primary stance: {_figure(found.primary_kappa)}")
    alone = len(found.only_first) + len(found.only_second)
    console.print(f"{found.passages} passages, {len(found.differing)} differ; {alone} labelled by one alone, left out")


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
