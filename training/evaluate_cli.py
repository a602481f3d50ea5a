"""`candour evaluate`: how good a model is, next to the baselines, as a table, JSON or a page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

from labels import dataset, splits, taxonomy
from labels.dataset import DatasetError, Example, RowError
from labels.files import replacing
from labels.taxonomy import Taxonomy
from models import classifier, registry
from models.classifier import Classifier
from models.manifest import ArtefactError
from training.console import StoreOption

if TYPE_CHECKING:
    from training.evaluate import Outcome, Report

# scikit-learn, matplotlib and the baselines are imported by what needs them: `candour --help` stays quick.

Part = Literal["train", "dev", "test", "all"]
_PAGE = Path(__file__).with_name("evaluation.html.jinja")
log = Console(stderr=True, highlight=False, soft_wrap=True)


def _endings(paths: list[Path] | None) -> list[Path]:
    for path in paths or []:
        if path.suffix.lower() not in (".json", ".html"):
            raise typer.BadParameter(f"{path}: the ending must be .json or .html")
        if not path.parent.is_dir():
            raise typer.BadParameter(f"{path}: there is no folder {path.parent}")
    return paths or []


def evaluate(
    model: Annotated[str, typer.Argument(help="Version or alias.")] = registry.CHAMPION,
    data: Annotated[
        list[Path] | None,
        typer.Option(help="Labelled passages (JSONL) to measure on, all of them; may be repeated. Default: our own."),
    ] = None,
    split: Annotated[Part | None, typer.Option(help="The part to measure on. Default: test of our own data.")] = None,
    output: Annotated[
        list[Path] | None,
        typer.Option("--output", "-o", callback=_endings, help="A .json or .html file; may be repeated."),
    ] = None,
    baselines: Annotated[bool, typer.Option(help="Train and measure the baselines on the same passages.")] = True,
    store: StoreOption = registry.PACKAGED,
    labels: Annotated[Path, typer.Option(help="The taxonomy.")] = taxonomy.PACKAGED,
    seed: Annotated[int, typer.Option(help="Of the bootstrap and the baselines.")] = 1,
) -> None:
    """Measure a model: per label, per axis, calibration, slices, confusions and its worst errors, next to baselines.

    Example: candour evaluate champion -o evaluation.html -o evaluation.json
    """
    from training import evaluate as measure

    for path in output or []:
        if path.resolve() in {source.resolve() for source in data or []}:
            raise typer.BadParameter(f"{path} is an input, and would be overwritten", param_hint="--output")
    labelling = taxonomy.load(labels)
    loaded = classifier.load(model, store)
    if tuple(o.key for o in loaded.manifest.outputs) != labelling.keys:
        raise ArtefactError(
            f"{loaded.version} has other labels than the taxonomy: it cannot be measured with this data"
        )
    ours = packaged(labelling) if baselines or not data else []
    part = split or ("all" if data else "test")
    measured = dataset.load(data, labelling) if data else ours
    if part != "all":
        measured = splits.divide(measured)[part]
    if known := {e.id for e in ours if splits.split_of(e.group) != "test"} & {e.id for e in measured}:
        log.print(
            f"{len(known)} of these passages trained or tuned our models: figures on them flatter", style="yellow"
        )
    if not data and not dataset.HYDRATED.exists():
        log.print("the written passages alone: `candour labels hydrate` finds those of reports", style="yellow")
    if not measured:
        where = ", ".join(map(str, data)) if data else "our own data"
        raise DatasetError([RowError(where, 0, f"no passage of {part}")])
    outcome = outcome_of(loaded, measured, labelling)
    outcomes = {f"candour {loaded.version}": outcome}
    if baselines:
        from training import baselines as others

        outcomes |= others.outcomes(splits.divide(ours), measured, labelling, seed, log.print)
    reports = {name: measure.report(found, seed) for name, found in outcomes.items()}
    _print(outcome, reports, part)
    for path in output or []:
        text = as_json(outcome, reports, part) if path.suffix.lower() == ".json" else as_page(outcome, reports, part)
        with replacing(path) as partial:
            partial.write_text(text, encoding="utf-8")


def packaged(labelling: Taxonomy) -> list[Example]:
    """Our own labelled passages: the written ones, and those of reports where they have been hydrated."""
    return dataset.load([path for path in (dataset.WRITTEN, dataset.HYDRATED) if path.exists()], labelling)


def outcome_of(loaded: Classifier, examples: list[Example], labelling: Taxonomy) -> Outcome:
    """What a model says of labelled passages."""
    from training import evaluate as measure

    found = loaded.manifest
    return measure.outcome(
        examples, labelling, loaded.scores([e.text for e in examples]), found.outputs, found.abstention
    )


def body(outcome: Outcome, reports: Mapping[str, Report], part: Part) -> dict[str, Any]:
    """Everything that is measured, as JSON has it."""
    from training import evaluate as measure

    return {
        "data": {"sha256": dataset.digest(outcome.examples), "split": part, "passages": len(outcome.examples)},
        "models": {name: asdict(report) for name, report in reports.items()},
        "slices": {name: [asdict(group) for group in groups] for name, groups in measure.slices(outcome).items()},
        "confusions": [asdict(pair) for pair in measure.confusions(outcome)],
        "reliability": {
            output.key: [asdict(b) for b in measure.reliability(outcome.truth[:, n], outcome.scores[:, n])]
            for n, output in enumerate(outcome.outputs)
        },
        "risk_coverage": measure.risk_coverage(outcome),
        "worst": [asdict(error) for error in measure.worst(outcome)],
    }


def as_json(outcome: Outcome, reports: Mapping[str, Report], part: Part) -> str:
    return json.dumps(body(outcome, reports, part), ensure_ascii=False, indent=1) + "\n"


def as_page(outcome: Outcome, reports: Mapping[str, Report], part: Part) -> str:
    """One self-contained HTML page."""
    from jinja2 import Environment, StrictUndefined

    from training import plots

    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=True)
    environment.filters["figure"] = _figure
    return environment.from_string(_PAGE.read_text(encoding="utf-8")).render(
        **body(outcome, reports, part),
        plots=[
            ("F1 of each label", plots.label_f1(reports)),
            ("Reliability", plots.reliability(outcome)),
            ("Risk and coverage", plots.risk_coverage(outcome)),
        ],
        bound=outcome.abstention.bound if outcome.abstention else None,
    )


def _print(outcome: Outcome, reports: Mapping[str, Report], part: Part) -> None:
    from training import evaluate as measure

    (_, ours), *_ = reports.items()
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = 160  # a table in a file is not cut to a screen that is not there
    labels = Table("label", "precision", "recall", "F1", "95%", "AP", "ECE", "support", box=None, pad_edge=False)
    for label in ours.labels:
        interval = "-".join(map(_figure, label.interval))
        found = (label.precision, label.recall, label.f1) if label.support else (None, None, None)
        figures = map(_figure, found)
        ap, ece = _figure(label.average_precision), _figure(label.calibration_error)
        labels.add_row(label.key, *figures, interval, ap, ece, str(label.support))
    console.print(labels)
    models = Table(
        "model",
        "themes",
        "stances",
        "primary",
        "all right",
        "ECE",
        "confident",
        "right of those",
        box=None,
        pad_edge=False,
    )
    for name, report in reports.items():
        macro = (_figure(report.macro_f1.get(axis)) for axis in ("theme", "stance"))
        rest = (report.primary_accuracy, report.exactly_right, report.calibration_error)
        models.add_row(name, *macro, *map(_figure, (*rest, report.confident, report.confident_right)))
    console.print(models)
    for name, groups in measure.slices(outcome).items():
        sliced = Table(name, "passages", "micro-F1 themes", "stances", "primary", "all right", box=None, pad_edge=False)
        for group in groups:
            micro = (_figure(group.micro_f1.get(axis)) for axis in ("theme", "stance"))
            right = (_figure(group.primary_accuracy), _figure(group.exactly_right))
            sliced.add_row(group.group, str(group.passages), *micro, *right)
        console.print(sliced)
    pairs = Table("axis", "due", "given", "passages", box=None, pad_edge=False)
    for pair in measure.confusions(outcome):
        pairs.add_row(pair.axis, pair.due or "-", pair.given or "-", str(pair.passages))
    console.print(pairs)
    for error in measure.worst(outcome):
        said = f"{error.id}: due {', '.join(error.due) or '-'}; given {', '.join(error.given) or '-'}"
        console.print(said, markup=False)
        console.print(f"  {error.text}", style="dim", markup=False)
    console.print(
        f"{ours.passages} passages ({part}); macro-F1 of themes and stances, the share of right primary stances"
    )


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
