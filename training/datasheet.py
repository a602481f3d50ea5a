"""The figures of labels/data/DATA.md, written by a command so that none is typed in: `candour labels datasheet`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from labels import agreement, dataset, references, splits, taxonomy
from labels.agreement import Agreement
from labels.check import plain_words
from labels.dataset import DATA, Example
from labels.references import Reference
from labels.taxonomy import Taxonomy

DATASHEET = DATA / "DATA.md"
DOUBLES = DATA / "doubles"
_FIGURES = re.compile(r"(?<=<!-- figures -->\n).*(?=<!-- end of figures -->)", re.S)


def datasheet(
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit 1 if the figures are not current.")
    ] = False,
    path: Annotated[Path, typer.Option(help="The datasheet.")] = DATASHEET,
) -> None:
    """Write the figures of the packaged data into its datasheet.

    Example: candour labels datasheet --check
    """
    content = path.read_text(encoding="utf-8")
    current = _FIGURES.sub(lambda _: figures(taxonomy.load()), content)
    if check:
        raise typer.Exit(0 if current == content else 1)
    path.write_text(current, encoding="utf-8")


def figures(labelling: Taxonomy) -> str:
    """Counts, agreement and variety of the packaged data, as Markdown tables."""
    written = dataset.load([dataset.WRITTEN], labelling)
    reports = references.read(references.REFERENCES, labelling)
    parts = [
        "### Counts\n",
        _counts(written, reports, labelling),
        "### Written passages by kind of document\n",
        _table(("kind", "documents", "passages"), _by_kind(written)),
        "### Passages by year of publication\n",
        _table(("year", "written", "of reports"), _by_year(written, reports)),
        "### Splits\n",
        _table(("split", "authorities and documents", "written", "of reports"), _by_split(written, reports)),
        "### Who labelled\n",
        _table(
            ("annotator", "passages"),
            sorted(Counter([*(e.annotator for e in written), *(r.annotator for r in reports)]).items()),
        ),
        "### Agreement of two annotators, before adjudication\n",
        *(_agreement(name, labelling) for name in ("written", "reports")),
        "### Variety of the written passages\n",
        _variety(written),
    ]
    return "\n".join(parts)


def _counts(written: Sequence[Example], reports: Sequence[Reference], labelling: Taxonomy) -> str:
    sides = [[e.vector(labelling) for e in written], [r.vector(labelling) for r in reports]]
    rows: list[Sequence[object]] = [
        ("documents", len({e.document for e in written}), len({r.document for r in reports})),
        ("passages", len(written), len(reports)),
        *((f"`{key}`", *(sum(v[n] for v in side) for side in sides)) for n, key in enumerate(labelling.keys)),
        ("no theme and no stance", *(sum(not any(v) for v in side) for side in sides)),
    ]
    return _table(("", "written", "of reports"), rows)


def _by_kind(written: Iterable[Example]) -> list[Sequence[object]]:
    documents: dict[str, set[str]] = {}
    passages: Counter[str] = Counter()
    for example in written:
        documents.setdefault(example.kind, set()).add(example.document)
        passages[example.kind] += 1
    return [(kind, len(documents[kind]), count) for kind, count in passages.most_common()]


def _by_year(written: Iterable[Example], reports: Iterable[Reference]) -> list[Sequence[object]]:
    ours = Counter(e.published.year for e in written if e.published)
    theirs = Counter(r.published.year for r in reports)
    return [(year, ours[year], theirs[year]) for year in sorted(ours | theirs)]


def _by_split(written: Sequence[Example], reports: Sequence[Reference]) -> list[Sequence[object]]:
    rows: list[Sequence[object]] = []
    for split in splits.SPLITS:
        ours = [e.group for e in written if splits.split_of(e.group) == split]
        theirs = [r.group for r in reports if splits.split_of(r.group) == split]
        rows.append((split, len({*ours, *theirs}), len(ours), len(theirs)))
    return rows


def _agreement(name: str, labelling: Taxonomy) -> str:
    first, second = (agreement.read(DOUBLES / f"{name}-{side}.jsonl", labelling) for side in ("first", "second"))
    found: Agreement = agreement.compare(first, second, labelling)
    rows = [(f"`{x.label}`", x.first, x.second, x.both, _figure(x.kappa), _figure(x.alpha)) for x in found.labels]
    sets = (
        f"themes {_figure(found.alpha_themes)}, stances {_figure(found.alpha_stances)}, both {_figure(found.alpha_all)}"
    )
    return (
        f"{name.capitalize()}: {found.passages} passages labelled twice, {len(found.differing)} of them "
        f"differently in some way. Krippendorff's alpha of the label sets (MASI distance): {sets}. Kappa of the "
        f"primary stance: {_figure(found.primary_kappa)}.\n\n"
        + _table(("label", "first", "second", "both", "Cohen's kappa", "Krippendorff's alpha"), rows)
    )


def _variety(written: Sequence[Example]) -> str:
    from sklearn.feature_extraction.text import TfidfVectorizer

    grams: Counter[tuple[str, ...]] = Counter()
    for example in written:
        words = plain_words(example.text)
        grams.update(zip(*(words[n:] for n in range(4)), strict=False))
    distinct = len(grams) / grams.total()
    weights = TfidfVectorizer(sublinear_tf=True).fit_transform([e.text for e in written])
    nearest = np.concatenate([_nearest(weights, first) for first in range(0, weights.shape[0], 1000)])
    low, middle, high = np.quantile(nearest, [0.05, 0.5, 0.95])
    return (
        f"{100 * distinct:.1f}% of {grams.total()} four-word runs are distinct. Cosine of a passage to its "
        f"nearest neighbour (TF-IDF): median {middle:.2f}, 5th to 95th percentile {low:.2f} to {high:.2f}, "
        f"highest {nearest.max():.2f}.\n"
    )


def _nearest(weights: Any, first: int) -> np.ndarray:
    """The cosine of each of a thousand passages, from `first` on, to the nearest of all others."""
    near = (weights[first : first + 1000] @ weights.T).toarray()
    near[np.arange(near.shape[0]), first + np.arange(near.shape[0])] = 0.0
    return np.asarray(near.max(axis=1))


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(str(cell) for cell in line) + " |\n" for line in lines)
