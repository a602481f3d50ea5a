"""How far two annotators agree who labelled the same passages without seeing each other's labels.

Cohen's kappa and Krippendorff's alpha (nominal) for each label, kappa for the primary stance, and Krippendorff's alpha
for the sets of labels with the MASI distance (Passonneau 2006): 0 for equal sets, 1 for disjoint ones, and between
them less where one set holds the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from labels import dataset
from labels.dataset import DatasetError, Filled, InvalidRow, Labels, RowError
from labels.references import Reference
from labels.taxonomy import Taxonomy

# krippendorff comes with the train extra; it is imported where it is used.


class Judgement(Labels):
    """What one annotator said of the passage `id`. Other fields of the row (its text, its title) are left aside."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: Filled


class LabelAgreement(BaseModel):
    """Two annotators on one label. kappa and alpha are None where neither ever, or both always, gave it."""

    label: str
    first: int
    second: int
    both: int
    agreed: float
    kappa: float | None
    alpha: float | None


class Agreement(BaseModel):
    """Two annotators on the passages that both labelled. only_*: ids that one of them alone labelled."""

    passages: int
    only_first: list[str]
    only_second: list[str]
    labels: list[LabelAgreement]
    primary_kappa: float | None
    alpha_themes: float | None
    alpha_stances: float | None
    alpha_all: float | None
    # Ids on which the sets or the primary stance differ: what is left to adjudicate.
    differing: list[str]


def read(path: Path, taxonomy: Taxonomy) -> dict[str, Labels]:
    """Labels by id, from JSONL of ids and labels, of examples or of references.

    Raises DatasetError with every line that is wrong, and where an id stands twice.
    """
    held: dict[str, Labels] = {}
    errors = []
    for line, raw in dataset.json_lines(path):
        if isinstance(raw, RowError):
            errors.append(raw)
            continue
        try:
            row = _parse(raw, taxonomy)
        except InvalidRow as error:
            errors.append(RowError(str(path), line, str(error)))
            continue
        if row.id in held:
            errors.append(RowError(str(path), line, f"id {row.id} stands twice"))
        held[row.id] = row
    if errors:
        raise DatasetError(errors)
    return held


def compare(first: Mapping[str, Labels], second: Mapping[str, Labels], taxonomy: Taxonomy) -> Agreement:
    """Agreement on the ids that both hold. Raises ValueError where they share none."""
    shared = [key for key in first if key in second]
    if not shared:
        raise ValueError("the two files have no id in common")
    pairs = [(first[key], second[key]) for key in shared]
    vectors = np.array([[a.vector(taxonomy), b.vector(taxonomy)] for a, b in pairs])
    themes = [(frozenset(a.themes), frozenset(b.themes)) for a, b in pairs]
    stances = [(frozenset(a.stances), frozenset(b.stances)) for a, b in pairs]
    together = [(s | {f"theme/{n}" for n in t}, u | {f"theme/{n}" for n in v}) for (t, v), (s, u) in zip(
        themes, stances, strict=True)]  # fmt: skip
    primaries = [(a.primary_stance, b.primary_stance) for a, b in pairs]
    return Agreement(
        passages=len(shared),
        only_first=[key for key in first if key not in second],
        only_second=[key for key in second if key not in first],
        labels=[_of_label(key, vectors[:, 0, n], vectors[:, 1, n]) for n, key in enumerate(taxonomy.keys)],
        primary_kappa=kappa(primaries),
        alpha_themes=alpha_of_sets(themes),
        alpha_stances=alpha_of_sets(stances),
        alpha_all=alpha_of_sets(together),
        differing=[
            key
            for key, sets, primary in zip(shared, together, primaries, strict=True)
            if sets[0] != sets[1] or primary[0] != primary[1]
        ],
    )


def kappa(pairs: Sequence[tuple[Hashable, Hashable]]) -> float | None:
    """Cohen's kappa of pairs of categories; None where chance alone would agree on everything."""
    total = len(pairs)
    observed = sum(a == b for a, b in pairs) / total
    left, right = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    expected = sum(count * right[category] for category, count in left.items()) / total**2
    return None if expected == 1 else (observed - expected) / (1 - expected)


def alpha_of_sets(pairs: Sequence[tuple[frozenset[str], frozenset[str]]]) -> float | None:
    """Krippendorff's alpha of pairs of label sets under the MASI distance; None where only one set ever occurs."""
    values = sorted({value for pair in pairs for value in pair}, key=sorted)
    place = {value: n for n, value in enumerate(values)}
    table = np.array([[masi(a, b) for b in values] for a in values])

    def metric(v1: np.ndarray, v2: np.ndarray, dtype: type = float, **_: object) -> np.ndarray:
        return np.asarray(table[v1.astype(int), v2.astype(int)], dtype=dtype)

    return _alpha([[place[a] for a, _ in pairs], [place[b] for _, b in pairs]], metric)


def masi(a: frozenset[str], b: frozenset[str]) -> float:
    """Distance of two sets: 1 - Jaccard x (1 equal, 2/3 one in the other, 1/3 overlapping, 0 disjoint)."""
    if a == b:
        return 0.0
    shared = len(a & b)
    monotonicity = 2 / 3 if a <= b or b <= a else 1 / 3
    return 1 - shared / len(a | b) * monotonicity


def _of_label(key: str, first: np.ndarray, second: np.ndarray) -> LabelAgreement:
    return LabelAgreement(
        label=key,
        first=int(first.sum()),
        second=int(second.sum()),
        both=int((first & second).sum()),
        agreed=float((first == second).mean()),
        kappa=kappa(list(zip(first.tolist(), second.tolist(), strict=True))),
        alpha=_alpha([first.tolist(), second.tolist()], "nominal"),
    )


def _alpha(ratings: list[list[int]], level: Any) -> float | None:
    import krippendorff

    if len({value for row in ratings for value in row}) < 2:
        return None
    return float(krippendorff.alpha(reliability_data=ratings, level_of_measurement=level))


def _parse(raw: object, taxonomy: Taxonomy) -> Reference | Judgement:
    if isinstance(raw, dict) and "sha256" in raw and "id" not in raw:
        return dataset.parse(raw, Reference, taxonomy)
    return dataset.parse(raw, Judgement, taxonomy)
