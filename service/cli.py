"""The command line: parse, call, print."""

from __future__ import annotations

import io
import ipaddress
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from labels import taxonomy
from labels.dataset import DatasetError
from labels.files import replacing
from labels.taxonomy import TaxonomyError
from models import classifier
from models.classifier import Classifier
from models.manifest import ArtefactError
from service import batch, compare, keys_cli, labels_cli, outputs, render
from service.batch import Tally
from service.errors import CandourError
from service.report import Failure
from service.settings import Settings
from service.store import Store

SOME_FAILED = 3
# What `candour serve` gives the requests that it has taken when it is told to stop.
SECONDS_TO_FINISH = 20
app = typer.Typer(
    help="Themes and stances in what is written about English children's services, passage by passage.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(labels_cli.labels_app, name="labels")
app.add_typer(keys_cli.keys_app, name="keys")
log = Console(stderr=True, highlight=False)
ModelOption = Annotated[str | None, typer.Option("--model", help="Version or alias. Default: CANDOUR_MODEL, champion.")]


def _apart(output: Path | None, *inputs: Path) -> None:
    """Raise BadParameter where the output is one of the inputs: it would be lost."""
    if output is not None and output.resolve() in {path.resolve() for path in inputs}:
        raise typer.BadParameter(f"{output} is an input, and would be overwritten", param_hint="--output")


def _known(path: Path | None) -> Path | None:
    if path is not None and path.suffix.lower() not in outputs.FORMATS:
        raise typer.BadParameter(f"{path}: the ending must be one of {', '.join(outputs.FORMATS)}")
    return path


@app.command(
    epilog="Examples:  [bold]candour score reports/[/bold]  ·  [bold]candour score a.pdf b.html -o scores.jsonl[/bold]"
    "  ·  [bold]candour score releases/ -o scores.parquet[/bold]"
)
def score(
    paths: Annotated[list[Path], typer.Argument(help="Documents, or folders of them (PDF, DOCX, HTML, EML, text).")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", callback=_known, help="A .jsonl, .csv or .parquet file. Without: a table."),
    ] = None,
    model: ModelOption = None,
) -> None:
    """Score documents: each is cut into passages, and each passage gets its themes and stances."""
    settings = Settings()
    tally, started = Tally(), time.perf_counter()
    loaded = _load(settings, model)
    files = batch.find(paths, [output, outputs.errors_of(output)] if output else [])
    if not files:
        log.print(f"candour: no file in {', '.join(map(str, paths))}", markup=False)
    results = batch.score(_progress(files), loaded, tally, settings.max_bytes)
    names = [output.key.partition("/") for output in loaded.manifest.outputs]
    if output is None:
        console = Console(highlight=False)
        for result in results:
            render.document(console, result)
    else:
        themes = [name for axis, _, name in names if axis == "theme"]
        stances = [name for axis, _, name in names if axis == "stance"]
        with outputs.writer(output, themes, stances) as write:
            for result in results:
                write(result)
    render.tally(log, tally, time.perf_counter() - started, loaded.version)
    raise typer.Exit(SOME_FAILED if tally.failed else 0)


@app.command(
    epilog="Examples:  [bold]candour classify passages.jsonl -o labels.jsonl[/bold]  ·  "
    """[bold]echo '{"id": 1, "text": "Visits were late."}' | candour classify[/bold]"""
)
def classify(
    source: Annotated[str, typer.Argument(metavar="[FILE|-]", help="""Lines of JSON: {"id", "text"}.""")] = "-",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file. Without: standard output.")] = None,
    model: ModelOption = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say for each label which sentence and words carry it.")
    ] = False,
) -> None:
    """Classify passages: a line of JSON in, a line of JSON out, in order."""
    _apart(output, Path(source))
    settings = Settings()
    tally = Tally()
    loaded = _load(settings, model)
    with _input(source) as lines, _output(output) as write:
        for result in batch.classify(lines, loaded, tally, settings.max_characters, explain):
            write(outputs.line(result))
    raise typer.Exit(SOME_FAILED if tally.failed else 0)


def _json_or_html(path: Path | None) -> Path | None:
    if path is not None and path.suffix.lower() not in (".json", ".html"):
        raise typer.BadParameter(f"{path}: the ending must be .json or .html")
    return path


@app.command(
    "compare",
    epilog="Example:  [bold]candour compare report.pdf response.html -o comparison.html[/bold]",
)
def compare_(
    report: Annotated[Path, typer.Argument(help="The inspectors' report.")],
    response: Annotated[Path, typer.Argument(help="The council's answer.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", callback=_json_or_html, help="A .json or .html file. Without: a table."),
    ] = None,
    model: ModelOption = None,
) -> None:
    """Which of a report's criticisms does a response apologise for, defend, acknowledge, or leave unanswered?"""
    _apart(output, report, response)
    settings = Settings()
    loaded = _load(settings, model)
    results = list(batch.score([report, response], loaded, Tally(), settings.max_bytes))
    for result in results:
        if isinstance(result, Failure):
            log.print(f"candour: {result.path}: {result.error.detail}", style="red", markup=False, soft_wrap=True)
    first, second = results
    if isinstance(first, Failure) or isinstance(second, Failure):
        raise typer.Exit(1)
    found = compare.compare(first, second, taxonomy.load())
    if output is None:
        render.comparison(Console(highlight=False), found)
        return
    text = (
        compare.page(found, first, second)
        if output.suffix.lower() == ".html"
        else found.model_dump_json(indent=2) + "\n"
    )
    with replacing(output) as partial:
        partial.write_text(text, encoding="utf-8")


@app.command(epilog="Example:  [bold]candour serve --port 8080[/bold], then open http://127.0.0.1:8080/docs")
def serve(
    host: Annotated[str | None, typer.Option(help="Address to bind. Default: CANDOUR_HOST, 127.0.0.1.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port to bind. Default: CANDOUR_PORT, 8000.")
    ] = None,
) -> None:
    """Serve the HTTP API; its documentation is at /docs."""
    import uvicorn

    from service.api import logs
    from service.api.app import create_app

    settings = Settings()
    logs.configure()
    try:
        uvicorn.run(
            create_app(settings),
            host=_bound(host or settings.host, settings),
            port=settings.port if port is None else port,
            timeout_graceful_shutdown=SECONDS_TO_FINISH,
            log_config=None,
        )
    except SystemExit as stopped:  # its own status for "could not start" is our "some inputs failed"
        raise typer.Exit(1 if stopped.code else 0) from None


def _bound(host: str, settings: Settings) -> str:
    """The address to bind: this machine's own while there are no keys."""
    store = Store(settings.database)
    store.upgrade()
    safe = store.has_keys()
    store.close()
    if safe:
        return host
    local = host if host == "localhost" or _is_loopback(host) else "127.0.0.1"
    log.print(
        f"candour: there are no keys: binding {local}, for this machine only. Make one with: candour keys create NAME "
        "--scope read --scope score",
        style="yellow", markup=False, soft_wrap=True,
    )  # fmt: skip
    return local


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def main() -> NoReturn:
    """The command `candour`: 0 all good, 1 could not run, 2 wrong usage, 3 ran and some inputs failed."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")  # lines of JSON are UTF-8, whatever the locale
    labels_cli.register()
    for command in entry_points(group="candour.commands"):
        app.command(command.name)(command.load())
    try:
        app()
    except ModuleNotFoundError as error:
        log.print(f"candour: {error}. This command needs the extra `train`: pip install -e '.[train]'", markup=False)
        sys.exit(1)
    except ValidationError as error:
        for found in error.errors():
            where = "_".join(str(part) for part in ("CANDOUR", *found["loc"])).upper()
            log.print(f"candour: {where}: {found['msg']}", style="red", markup=False, soft_wrap=True)
        sys.exit(1)
    except (CandourError, ArtefactError, TaxonomyError, DatasetError, OSError) as error:
        log.print(f"candour: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(1)
    sys.exit(0)


def _load(settings: Settings, model: str | None) -> Classifier:
    return classifier.load(model or settings.model, settings.store, settings.threads)


def _progress(files: list[Path]) -> Iterator[Path]:
    """The files, with a bar on a terminal and nothing in a pipe."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=log, disable=not log.is_terminal, transient=True) as bar:
        yield from bar.track(files, description="scoring")


@contextmanager
def _input(source: str) -> Iterator[Iterator[bytes]]:
    if source == "-":
        yield iter(sys.stdin.buffer)
        return
    with Path(source).open("rb") as file:
        yield iter(file)


@contextmanager
def _output(path: Path | None) -> Iterator[Callable[[str], object]]:
    """Standard output, or a file that appears, whole, at the end."""
    if path is None:
        yield sys.stdout.write
        sys.stdout.flush()
        return
    with replacing(path) as partial, partial.open("w", encoding="utf-8") as file:
        yield file.write
