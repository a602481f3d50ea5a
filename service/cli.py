"""The command line: parse, call, print."""

from __future__ import annotations

import io
import ipaddress
import math
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from pydantic import ValidationError
from pydantic_settings import SettingsError
from rich.console import Console

from labels import taxonomy
from labels.dataset import DatasetError
from labels.files import replacing
from labels.passages import SEGMENTATION
from labels.taxonomy import TaxonomyError
from models import classifier
from models.classifier import Classifier
from models.manifest import ArtefactError
from service import (
    batch,
    collect_cli,
    compare,
    drift_cli,
    keys_cli,
    labels_cli,
    models_cli,
    outputs,
    render,
    report_cli,
    retrain_cli,
    work_cli,
)
from service.batch import Tally
from service.errors import CandourError
from service.outputs import Output
from service.parsing import Limits, Parsers
from service.report import Failure
from service.settings import Settings
from service.store import opened

SOME_FAILED = 3
# Which extra of pyproject.toml has a module that is missing; all others are in `train`.
EXTRAS = {"altair": "report", "vl_convert": "report", "ray": "ray"}
# What `candour serve` gives requests when it is told to stop, beyond the longest that one may take.
SECONDS_TO_FINISH = 5
# A worker process that says nothing for so long hangs, and is replaced. On a busy machine one takes seconds to start.
SECONDS_OF_SILENCE = 60
app = typer.Typer(
    help="Themes and stances in what is written about English children's services, passage by passage.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(labels_cli.labels_app, name="labels")
app.add_typer(keys_cli.keys_app, name="keys")
app.add_typer(models_cli.models_app, name="models")
app.command(epilog="Example:  [bold]candour collect sources.toml -o collected[/bold]")(collect_cli.collect)
app.command()(work_cli.work)
app.command(epilog="Example:  [bold]candour report scores.jsonl -o report.html[/bold]")(report_cli.report)
app.command(epilog="Example:  [bold]candour retrain --promote[/bold]")(retrain_cli.retrain)
app.command(epilog="Example:  [bold]candour drift --store --since 2026-11-01[/bold]")(drift_cli.drift)
log = Console(stderr=True, highlight=False)
ModelOption = Annotated[str | None, typer.Option("--model", help="Version or alias. Default: CANDOUR_MODEL, champion.")]


def _apart(output: Path | None, *inputs: Path) -> None:
    """Raise BadParameter where the output is one of the inputs: it would be lost."""
    if output is not None and output.resolve() in {path.resolve() for path in inputs}:
        raise typer.BadParameter(f"{output} is an input, and would be overwritten", param_hint="--output")


def _known(path: Path | None) -> Path | None:
    if path is not None and path.suffix.lower() not in outputs.ENDINGS:
        raise typer.BadParameter(f"{path}: the ending must be one of {', '.join(outputs.ENDINGS)}")
    return path


def _address(ray: str | None) -> str | None:
    if ray is not None and ray != "local" and not re.fullmatch(r"[^/]+:\d+", ray):
        raise typer.BadParameter(f"{ray}: must be `local`, or HOST:PORT of a cluster's head node")
    return ray


@app.command(
    epilog="Examples:  [bold]candour score reports/[/bold]  ·  [bold]candour score a.pdf b.html -o scores.jsonl[/bold]"
    "  ·  [bold]candour score releases/ -o scores.parquet[/bold]"
    "  ·  [bold]candour score /shared/releases -o /shared/scores.parquet --ray 10.0.0.1:6379[/bold]"
)
def score(
    paths: Annotated[list[Path], typer.Argument(help="Documents, or folders of them (PDF, DOCX, HTML, EML, text).")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            callback=_known,
            help="A .jsonl or .csv file, or a .parquet folder; what is there is kept.",
        ),
    ] = None,
    store: Annotated[bool, typer.Option("--store", help="Keep results in the store (CANDOUR_DATABASE).")] = False,
    rescore: Annotated[
        bool, typer.Option("--rescore", help="Score anew what another model, or another cut of passages, has scored.")
    ] = False,
    bom: Annotated[
        bool, typer.Option("--bom", help="Begin a new CSV file with the mark by which Excel knows UTF-8.")
    ] = False,
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray",
            metavar="HOST:PORT|local",
            callback=_address,
            help="Score on a Ray cluster, or on one of this machine's own (extra `ray`), to a .parquet output. Candour "
            "is installed on all its machines, and all see the documents and the output at the same paths.",
        ),
    ] = None,
    model: ModelOption = None,
) -> None:
    """Score documents: each is cut into passages, and each passage gets its themes and stances.

    With --output or --store, what was scored before is not scored again, and a run that was cut off goes on where it
    was. Without either, results are shown as tables.
    """
    if ray and (store or output is None or output.suffix.lower() != ".parquet"):
        raise typer.BadParameter("writes to a .parquet --output, and nowhere else", param_hint="--ray")
    settings = Settings()
    tally, started = Tally(), time.perf_counter()
    loaded = _load(settings, model)
    files = batch.find(paths, [output, outputs.errors_of(output)] if output else [])
    if not files:
        log.print(f"candour: no file in {', '.join(map(str, paths))}", markup=False)
    with ExitStack() as stack:
        held: list[Output] = []
        if output is not None:
            names = [found.key.partition("/") for found in loaded.manifest.outputs]
            themes = [name for axis, _, name in names if axis == "theme"]
            stances = [name for axis, _, name in names if axis == "stance"]
            held.append(stack.enter_context(outputs.opened(output, themes, stances, bom)))
        if store:
            held.append(outputs.Stored(stack.enter_context(opened(settings.database))))
        news = outputs.News(held, outputs.version_of(loaded.version, SEGMENTATION), rescore)
        advance = stack.enter_context(render.progress(log, tally, len(files)))
        if ray and output is not None:
            from service import cluster

            stack.enter_context(cluster.connected(ray, settings.threads))
            work = cluster.Work.of(output, loaded.manifest, settings.store, _limits(settings), settings.max_bytes)
            for failures in cluster.score(files, news.is_known, work, tally):
                for failure in failures:
                    held[0].write(failure)
                advance()
        else:
            known = news.is_known if held else None
            parsers = stack.enter_context(_parsers(settings))
            for result in batch.score(files, loaded, parsers, tally, settings.max_bytes, known):
                for one in held:
                    one.write(result)
                if output is None and (not store or isinstance(result, Failure)):
                    render.document(log if store else Console(highlight=False), result)
                advance()
    render.tally(log, tally, news.outdated, time.perf_counter() - started, loaded.version)
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
    with _parsers(settings) as parsers:
        results = list(batch.score([report, response], loaded, parsers, Tally(), settings.max_bytes))
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
    workers: Annotated[int | None, typer.Option(min=1, help="Processes. Default: CANDOUR_WORKERS, 1.")] = None,
) -> None:
    """Serve the HTTP API; its documentation is at /docs."""
    import uvicorn

    from service.api import logs

    settings = Settings()
    logs.configure()
    _load(settings, None)  # what is wrong with it is said here once, and not by each worker
    try:
        # When all is finished, uvicorn raises the signal that stopped it again; to be told to stop is no failure.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        uvicorn.run(
            "service.api.app:worker",
            factory=True,
            workers=workers or settings.workers,
            host=_bound(host or settings.host, settings),
            port=settings.port if port is None else port,
            timeout_graceful_shutdown=math.ceil(settings.max_seconds) + SECONDS_TO_FINISH,
            timeout_worker_healthcheck=SECONDS_OF_SILENCE,
            log_config=None,
        )
    except SystemExit as stopped:  # its own status for "could not start" is our "some inputs failed"
        raise typer.Exit(1 if stopped.code else 0) from None


def _bound(host: str, settings: Settings) -> str:
    """The address to bind: this machine's own while there are no keys."""
    with opened(settings.database) as store:
        safe = store.has_keys()
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
        extra = EXTRAS.get((error.name or "").partition(".")[0], "train")
        log.print(f"candour: {error}. This needs the extra `{extra}`: pip install -e '.[{extra}]'", markup=False)
        sys.exit(1)
    except SettingsError as error:  # what should be JSON is none
        log.print(f"candour: {error}: {error.__cause__}", style="red", markup=False, soft_wrap=True)
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


def _parsers(settings: Settings) -> Parsers:
    return Parsers(settings.threads or os.cpu_count() or 1, _limits(settings))


def _limits(settings: Settings) -> Limits:
    return Limits(settings.max_parse_seconds, settings.max_parse_memory, settings.max_pages)


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


if __name__ == "__main__":
    main()
