"""`candour models`: which model is served, which was, and which may be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from labels import dataset
from models import classifier, manifest, verdict
from models.manifest import ArtefactError, Manifest
from models.registry import CHAMPION, PREVIOUS, Registry
from service import drift, held_out, retrain
from service.errors import CandourError, InvalidInput
from service.settings import Settings

models_app = typer.Typer(
    help="The store of published models, and its aliases champion, candidate and previous.", no_args_is_help=True
)
log = Console(stderr=True, highlight=False)
StoreOption = Annotated[Path | None, typer.Option("--store", help="The model store. Default: CANDOUR_STORE.")]
Name = Annotated[str, typer.Argument(help="Version or alias.")]
# Macro-F1 on the test split, by the heading of its column.
F1 = {"themes F1": "test/macro_f1/theme", "stances F1": "test/macro_f1/stance"}


@models_app.command("list")
def list_(store: StoreOption = None) -> None:
    """List the versions, with the aliases that name them."""
    registry = _registry(store)
    table = Table("version", "created", "aliases", *F1, "MB", "gate", box=None)
    for version in registry.versions():
        folder, names = registry.root / version, ", ".join(_aliases(registry, version))
        try:
            found, said = manifest.read(folder), verdict.kept(registry.root, version)
        except ArtefactError as error:
            table.add_row(version, "unusable", names)
            log.print(f"candour: {error}", style="yellow", markup=False, soft_wrap=True)
            continue
        scores = (_shown(found.metrics.get(metric)) for metric in F1.values())
        size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
        gate = "" if said is None else "passed" if said.passed else "refused"
        table.add_row(version, f"{found.created:%Y-%m-%d %H:%M}", names, *scores, f"{size:.1f}", gate)
    _print(table)


@models_app.command(epilog="Example:  [bold]candour models show candidate[/bold]")
def show(name: Name = CHAMPION, store: StoreOption = None) -> None:
    """Show a model: thresholds and calibration, metrics, and where it comes from."""
    registry = _registry(store)
    found = manifest.read(registry.resolve(name))
    typer.echo(" ".join([found.version, *_aliases(registry, found.version)]))
    for section, facts in _facts(found).items():
        table = Table(section, "", box=None)
        for key, value in facts.items():
            table.add_row(key, _shown(value))
        _print(table)


@models_app.command(epilog="Example:  [bold]candour models diff champion candidate[/bold]")
def diff(first: Name, second: Name, store: StoreOption = None) -> None:
    """Show side by side what differs between two models."""
    registry = _registry(store)
    left, right = (manifest.read(registry.resolve(name)) for name in (first, second))
    before, after = _facts(left), _facts(right)
    for section in before:
        table = Table(section, left.version, right.version, "change", box=None)
        keys = dict.fromkeys([*before[section], *after[section]])
        for key in keys:
            pair = before[section].get(key), after[section].get(key)
            if pair[0] != pair[1]:
                table.add_row(key, *map(_shown, pair), _change(*pair))
        if table.row_count:
            _print(table)
        typer.echo(f"{section}: {table.row_count} of {len(keys)} differ\n")


@models_app.command(epilog="Example:  [bold]candour models promote candidate[/bold]")
def promote(
    name: Name,
    anyway: Annotated[bool, typer.Option("--anyway", help="Whatever the gate said of it.")] = False,
    store: StoreOption = None,
) -> None:
    """Make a model the champion. Servers that run serve it within seconds; rollback undoes it.

    One that the gate refused, or has held against another than the present champion, is not promoted without --anyway.
    The champion and the one before it are not asked for a verdict: they have been served.
    """
    registry = _registry(store)
    version = registry.resolve(name).name
    _ensure_serveable(registry, version)
    over = None if anyway else _held_against(registry, version)
    _say(registry, registry.promote(version, over))


@models_app.command()
def rollback(store: StoreOption = None) -> None:
    """Make the previous champion the champion again. A second time undoes the first."""
    registry = _registry(store)
    if PREVIOUS in registry.aliases():
        _ensure_serveable(registry, PREVIOUS)
    _say(registry, registry.rollback())


@models_app.command(epilog="Example:  [bold]candour models verify[/bold]")
def verify(
    names: Annotated[list[str] | None, typer.Argument(help="Versions or aliases. Default: all.")] = None,
    store: StoreOption = None,
) -> None:
    """Check the sha256 of every file, and the reference of drift. The status is 1 where one is not as it should be."""
    registry = _registry(store)
    damaged = False
    for name in names or sorted({*registry.versions(), *registry.aliases().values()}):
        try:
            version = registry.verify(name).version
            if (beside := drift.beside(registry.root, name)).exists() and (of := drift.read(beside).model) != version:
                raise InvalidInput(f"{beside} is the reference of {of}")
        except (ArtefactError, InvalidInput, OSError) as error:
            damaged = True
            log.print(f"candour: {name}: {error}", style="red", markup=False, soft_wrap=True)
        else:
            typer.echo(f"{name}: good")
    raise typer.Exit(1 if damaged else 0)


@models_app.command(epilog="Example:  [bold]candour models prune --keep 3[/bold]")
def prune(
    keep: Annotated[int, typer.Option(min=0, help="How many of the newest versions without an alias to keep.")] = 0,
    refused: Annotated[bool, typer.Option("--refused", help="Those that the gate refused go like others.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    store: StoreOption = None,
) -> None:
    """Remove the versions that no alias names, the oldest first, and what was left by runs that were cut off.

    Not while a retraining is at work. The version of one that was cut off stays where its run is in
    CANDOUR_RETRAIN_FOLDER, and without --refused those that the gate refused stay, too.
    """
    registry = _registry(store)
    versions = [version for version in registry.unnamed() if not _stays(registry, version, refused)]
    versions = versions[: max(0, len(versions) - keep)]
    for version in versions:
        typer.echo(version)
    if versions and not yes:
        typer.confirm(
            f"Remove {'this version' if len(versions) == 1 else f'these {len(versions)} versions'}?", abort=True
        )
    with retrain.locked(registry.root):
        unnamed = set(registry.unnamed())  # one may have been promoted while nobody answered
        removed = [version for version in versions if version in unnamed]
        registry.prune(removed)
    log.print(f"candour: removed {len(removed)}")


@models_app.command(epilog="Example:  [bold]candour models reference candidate --reports ../shared/reports[/bold]")
def reference(
    name: Name = CHAMPION,
    data: Annotated[
        list[Path] | None, typer.Option(help="Labelled passages (JSONL) of whole documents. Default: the written ones.")
    ] = None,
    reports: Annotated[
        Path | None, typer.Option(help="The folder of the public reports.", envvar="CANDOUR_REPORTS", file_okay=False)
    ] = None,
    store: StoreOption = None,
) -> None:
    """Write beside a model what `candour drift` compares with: the documents that no model has learned from.

    Without the public reports, what comes in of their kind is compared with written ones alone.
    """
    registry = _registry(store)
    loaded = classifier.load(name, registry.root)
    with log.status("documents that no model has learned from"):
        made = drift.reference(list(held_out.documents(loaded, data or [dataset.WRITTEN], reports)), loaded)
    path = drift.beside(registry.root, loaded.version)
    drift.write(path, made)
    log.print(f"candour: {path}: {len(made.documents)} documents", markup=False, soft_wrap=True)


def _registry(store: Path | None) -> Registry:
    found = Registry(store or Settings().store)
    if not found.root.is_dir():
        raise ArtefactError(f"there is no model store {found.root}")
    return found


def _aliases(registry: Registry, version: str) -> list[str]:
    return sorted(alias for alias, named in registry.aliases().items() if named == version)


def _ensure_serveable(registry: Registry, name: str) -> None:
    """Raise ArtefactError where a server would refuse the model, though its hashes are right."""
    classifier.load(name, registry.root, threads=1)


def _held_against(registry: Registry, version: str) -> str | None:
    """The champion against which a version passed the gate; None where the gate was not asked, or need not be.

    Raises ArtefactError where it refused the version, or held it against what is not the champion.
    """
    aliases = registry.aliases()
    champion = aliases.get(CHAMPION)
    if version in (champion, aliases.get(PREVIOUS)):
        return None
    said = verdict.kept(registry.root, version)
    if said is None:
        nothing = f"{version} was held against nothing: `python -m training.verdict {version}` does that"
        log.print(f"candour: {nothing}", style="yellow", markup=False, soft_wrap=True)
        return None
    if not said.passed:
        broken = "; ".join(f"{rule.name}: {rule.detail}" for rule in said.refusals)
        raise ArtefactError(f"the gate refused {version} ({broken}); --anyway promotes it all the same")
    if said.champion != champion:
        raise ArtefactError(
            f"{version} was held against {said.champion}, and the champion is {champion or 'none'}; "
            "--anyway promotes it all the same"
        )
    return said.champion


def _stays(registry: Registry, version: str, refused: bool) -> bool:
    """Whether pruning leaves a version: that of an unfinished retraining, and, unless `refused`, one that was refused.

    One of which neither can be told stays, too.
    """
    runs = Settings().retrain_folder
    try:
        # In this order: a verdict is kept before its run ends.
        if version in retrain.runs(runs) and retrain.read(runs, version).finished is None:
            return True
        said = None if refused else verdict.kept(registry.root, version)
    except (CandourError, ArtefactError, OSError) as error:
        log.print(f"candour: {version} stays: {error}", style="yellow", markup=False, soft_wrap=True)
        return True
    return said is not None and not said.passed


def _say(registry: Registry, champion: Manifest) -> None:
    before = registry.aliases().get(PREVIOUS)
    log.print(f"candour: the champion is {champion.version}; before it: {before or 'none'}", markup=False)


def _facts(found: Manifest) -> dict[str, dict[str, Any]]:
    """What there is to say of a model, by section; of what is nested, the keys are paths."""
    calibration = {output.key: output.model_dump(exclude={"key"}) for output in found.outputs}
    sections = {
        "artefact": found.model_dump(mode="json", include={"created", "max_tokens", "segmentation", "sha256"}),
        "calibration": calibration | {"abstention": found.abstention.model_dump()},
        "metrics": found.metrics,
        "lineage": found.lineage.model_dump(mode="json"),
    }
    return {section: dict(_flat(facts)) for section, facts in sections.items()}


def _flat(facts: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in facts.items():
        if isinstance(value, Mapping):
            yield from ((f"{key}/{inner}", found) for inner, found in _flat(value))
        else:
            yield key, value


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _change(before: Any, after: Any) -> str:
    if not isinstance(before, int | float) or not isinstance(after, int | float):
        return ""
    return f"{after - before:+d}" if isinstance(before, int) and isinstance(after, int) else f"{after - before:+.4f}"


def _print(table: Table) -> None:
    for column in table.columns:
        column.overflow = "fold"  # a digest that is cut is none
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 160  # a table in a file is not cut to a screen that is not there
    console.print(table)
