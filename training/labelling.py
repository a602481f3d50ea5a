"""What looking after labels needs of scikit-learn, cleanlab and datasets: likely label errors, and a DatasetDict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from labels import check as checks
from labels import splits, taxonomy
from labels.check import Finding, Report, Row
from labels.dataset import Example, InvalidRow, RowError, parse
from labels.interchange import Format
from labels.taxonomy import Taxonomy

# scikit-learn, cleanlab and datasets are imported by the functions that need them: `candour --help` stays quick.

SOME_FAILED = 3
FOLDS = 5


@dataclass(frozen=True, slots=True)
class Suspect:
    """A label that out-of-fold predictions contradict. probability: of the label as given.

    quality: the same against what is usual for that label (cleanlab's adjusted score), so that rare labels do not crowd
    out the others.
    """

    row: Row
    key: str
    given: bool
    probability: float
    quality: float


def check(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="JSONL of examples or references. Default: the packaged set.")
    ] = None,
    floor: Annotated[int, typer.Option(help="The fewest passages that a label should have.", min=0)] = checks.FLOOR,
    label_errors: Annotated[bool, typer.Option(help="Look for likely label errors (cleanlab).")] = True,
    top: Annotated[int, typer.Option(help="How many of the likeliest label errors to print.", min=0)] = 60,
    show: Annotated[bool, typer.Option("--tables/--no-tables", help="Print how the passages are spread.")] = True,
) -> None:
    """Check labelled data: errors and warnings apart, each with file and line. Exits 3 when there are errors.

    Example: candour labels check my-labels.jsonl --floor 20
    """
    labelling = taxonomy.load()
    report = checks.check([_near(path) for path in paths or checks.packaged()], labelling, floor=floor)
    found = suspects(report.rows, labelling) if label_errors else []
    _print(report, found[:top], len(found), show)
    raise typer.Exit(SOME_FAILED if report.errors else 0)


def suspects(rows: Sequence[Row], labelling: Taxonomy, seed: int = 1) -> list[Suspect]:
    """Likely label errors among the rows whose text is at hand, the likeliest first.

    cleanlab on what TF-IDF and logistic regression predict for each passage when they saw nothing of its group. A
    label is left out where it is too rare, or too common, for its errors to be told.
    """
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    rows = [row for row in rows if row.text is not None]
    if len({row.group for row in rows}) < FOLDS:
        return []
    truth = np.array([row.labels.vector(labelling) for row in rows])
    predicted = out_of_fold(rows, truth, seed)
    found = []
    for n, key in enumerate(labelling.keys):
        if not 2 * FOLDS <= truth[:, n].sum() <= len(rows) - 2 * FOLDS:
            continue
        both = np.stack([1 - predicted[:, n], predicted[:, n]], axis=1)
        wrong = find_label_issues(truth[:, n], both, filter_by="both", n_jobs=1)
        quality = get_label_quality_scores(truth[:, n], both, adjust_pred_probs=True)
        found += [
            Suspect(rows[i], key, bool(truth[i, n]), float(both[i, truth[i, n]]), float(quality[i]))
            for i in np.flatnonzero(wrong)
        ]
    return sorted(found, key=lambda suspect: suspect.quality)


def out_of_fold(rows: Sequence[Row], truth: np.ndarray, seed: int) -> np.ndarray:
    """Probabilities, shape (rows, labels), of models that saw nothing of a row's group."""
    from sklearn.model_selection import GroupKFold

    from training import baselines

    features = baselines.features().fit_transform([row.text or "" for row in rows])
    regression = baselines.regression(seed)
    predicted = np.zeros(truth.shape)
    for fold, rest in GroupKFold(FOLDS).split(features, groups=[row.group for row in rows]):
        for n in range(truth.shape[1]):
            seen = truth[fold, n]
            # A fold in which a label always, or never, holds teaches nothing but that.
            constant = seen.min() == seen.max()
            predicted[rest, n] = (
                seen[0] if constant else regression.fit(features[fold], seen).predict_proba(features[rest])[:, 1]
            )
    return predicted


def finding(suspect: Suspect) -> Finding:
    """A suspect in the form of the other findings: always a warning, for a model may be wrong."""
    said, other = ("on", "off") if suspect.given else ("off", "on")
    detail = f"{suspect.row.id}: {suspect.key} is {said}; {other} with probability {1 - suspect.probability:.2f}"
    return Finding("warning", "label-error", suspect.row.path, suspect.row.line, detail)


def write_datasets(path: Path, examples: Sequence[Example]) -> None:
    """A datasets.DatasetDict with the splits train, dev and test: load_from_disk and load_dataset both read it."""
    from datasets import Dataset, DatasetDict, disable_progress_bars

    disable_progress_bars()
    features = _features()
    divided = splits.divide(examples)
    folder = DatasetDict({
        name: Dataset.from_list([example.model_dump() for example in divided[name]], features=features)
        for name in splits.SPLITS
    })  # fmt: skip
    folder.save_to_disk(str(path))
    files = "".join(f"  - split: {name}\n    path: {name}/*.arrow\n" for name in splits.SPLITS)
    card = f"---\nconfigs:\n- config_name: default\n  data_files:\n{files}---\n"
    (path / "README.md").write_text(card, encoding="utf-8")


def read_datasets(path: Path, labelling: Taxonomy) -> Iterator[Example | RowError]:
    """Each row of a DatasetDict on disk, in order of split; line is the number of the row in its split."""
    from datasets import load_from_disk

    for name, rows in load_from_disk(str(path)).items():
        for number, row in enumerate(rows, 1):
            try:
                yield parse(row, Example, labelling)
            except InvalidRow as error:
                yield RowError(f"{path}/{name}", number, str(error))


DATASETS = Format(read_datasets, write_datasets)


def _features() -> Any:
    from datasets import Features, List, Value

    text = Value("string")
    kinds: dict[str, Any] = {"themes": List(text), "stances": List(text), "published": Value("date32")}
    return Features({name: kinds.get(name, text) for name in Example.model_fields})


def _print(report: Report, found: Sequence[Suspect], total: int, show: bool) -> None:
    console = Console(highlight=False, soft_wrap=True)
    if show:
        for title, counts in report.tables.items():
            console.print(_table(title, counts))
    suspected = [finding(suspect) for suspect in found]
    groups = [("errors", "red", report.errors), ("warnings", "yellow", report.warnings)]
    for name, style, findings in [*groups, ("likely label errors", "yellow", suspected)]:
        if findings:
            console.print(f"\n{name}", style=f"bold {style}")
        for item in findings:
            console.print(str(item), markup=False)
    console.print(
        f"\n{len(report.rows)} passages: {len(report.errors)} errors, {len(report.warnings)} warnings, "
        f"{total} likely label errors" + (f" (the first {len(found)} printed)" if len(found) < total else "")
    )


def _table(title: str, counts: Any) -> Table:
    table = Table(title, "passages", box=None)
    for name, count in counts.items():
        table.add_row(name, str(count))
    return table


def _near(path: Path) -> Path:
    """The path as it is short to print: relative, where it stands under the folder of the call."""
    whole = path.resolve()
    return whole.relative_to(Path.cwd()) if whole.is_relative_to(Path.cwd()) else path
