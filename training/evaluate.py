"""Measure what a model says against labels: figures with intervals, calibration, slices, confusions, worst errors."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, precision_recall_fscore_support

from labels.dataset import Example
from labels.taxonomy import Taxonomy
from models import calibration
from models.calibration import Array
from models.manifest import Abstention, Output

Flags = NDArray[np.bool_]
RESAMPLES = 1000
BINS = 10
# Groups of a slice with fewer passages are counted together: a figure on a handful is noise.
LEAST_IN_SLICE = 20
LENGTHS = ((1, 15), (16, 30), (31, 60), (61, None))
Interval = tuple[float, float]


@dataclass(frozen=True)
class Outcome:
    """What a model says of labelled passages. scores: shape (passages, outputs), columns in the order of outputs.

    axes: the axes that the model speaks of at all; abstention: None for a model that always answers.
    """

    examples: Sequence[Example]
    outputs: tuple[Output, ...]
    truth: Flags
    scores: Array
    axes: tuple[str, ...]
    abstention: Abstention | None = None

    @cached_property
    def flags(self) -> Flags:
        return calibration.on(self.scores, self.outputs)

    @cached_property
    def primary(self) -> list[str | None]:
        return calibration.primary(self.scores, self.outputs)

    @cached_property
    def risks(self) -> Array | None:
        """The calibrated chance of each passage that one of its labels is wrong."""
        return calibration.risk(self.scores, self.outputs, self.abstention) if self.abstention else None

    @cached_property
    def wrong(self) -> Flags:
        """Which passages have at least one wrong label, of the axes that the model speaks of."""
        columns = [output.axis in self.axes for output in self.outputs]
        return np.asarray((self.flags != self.truth)[:, columns].any(axis=1))


def outcome(
    examples: Sequence[Example],
    taxonomy: Taxonomy,
    scores: Array,
    outputs: tuple[Output, ...],
    abstention: Abstention | None = None,
    axes: tuple[str, ...] | None = None,
) -> Outcome:
    """Scores of a model (shape (passages, labels), columns in the taxonomy's order) beside the labels."""
    truth = np.array([e.vector(taxonomy) for e in examples], dtype=bool).reshape(len(examples), len(taxonomy.keys))
    return Outcome(examples, outputs, truth, scores, axes or tuple(dict.fromkeys(o.axis for o in outputs)), abstention)


@dataclass(frozen=True)
class LabelScores:
    """Figures of one label on one split.

    interval: of F1, 95%, by bootstrap over passages. support: positives. calibration_error: expected, see below.
    """

    key: str
    precision: float
    recall: float
    f1: float
    average_precision: float
    interval: Interval
    support: int
    calibration_error: float


@dataclass(frozen=True)
class Report:
    """Figures of one model on some passages.

    macro_f1: by axis, the mean over its labels that have a positive; without an axis that has none.
    calibration_error: the mean over the labels.
    confident: the share of passages that the model vouches for; confident_right and exactly_right: the share of those,
    and of all, whose labels are all right. None where the model never abstains.
    """

    labels: tuple[LabelScores, ...]
    macro_f1: dict[str, float]
    macro_interval: dict[str, Interval]
    primary_accuracy: float
    exactly_right: float
    calibration_error: float
    confident: float | None
    confident_right: float | None
    passages: int

    def flat(self, prefix: str) -> dict[str, float]:
        """The figures as one mapping, for the manifest."""
        found = {f"{prefix}/macro_f1/{axis}": value for axis, value in self.macro_f1.items()}
        for name in ("primary_accuracy", "exactly_right", "calibration_error", "confident", "confident_right"):
            if (value := getattr(self, name)) is not None:
                found[f"{prefix}/{name}"] = value
        found[f"{prefix}/passages"] = float(self.passages)
        for label in self.labels:
            for name in ("precision", "recall", "f1", "average_precision", "support", "calibration_error"):
                found[f"{prefix}/{name}/{label.key}"] = float(getattr(label, name))
        return found


def report(found: Outcome, seed: int = 0) -> Report:
    """The figures of an outcome with at least one passage, of the axes that the model speaks of."""
    columns = [n for n, output in enumerate(found.outputs) if output.axis in found.axes]
    truth, flags, scores = found.truth[:, columns], found.flags[:, columns], found.scores[:, columns]
    precision, recall, f1, support = precision_recall_fscore_support(truth, flags, average=None, zero_division=0.0)
    resampled = _resampled_f1(truth, flags, seed)
    labels = tuple(
        LabelScores(
            key=found.outputs[column].key,
            precision=float(precision[n]),
            recall=float(recall[n]),
            f1=float(f1[n]),
            average_precision=float(average_precision_score(truth[:, n], scores[:, n])) if support[n] else 0.0,
            interval=_interval(resampled[:, n]),
            support=int(support[n]),
            calibration_error=calibration_error(truth[:, n], scores[:, n]),
        )
        for n, column in enumerate(columns)
    )
    members = {
        axis: [n for n, label in enumerate(labels) if label.key.startswith(f"{axis}/") and label.support]
        for axis in found.axes
    }
    confident = None if found.risks is None or not found.abstention else found.risks <= found.abstention.bound
    return Report(
        labels=labels,
        macro_f1={axis: float(np.mean([labels[n].f1 for n in rows])) for axis, rows in members.items() if rows},
        macro_interval={axis: _interval(resampled[:, rows].mean(axis=1)) for axis, rows in members.items() if rows},
        primary_accuracy=float(
            np.mean([e.primary_stance == p for e, p in zip(found.examples, found.primary, strict=True)])
        ),
        exactly_right=float(1 - found.wrong.mean()),
        calibration_error=float(np.mean([label.calibration_error for label in labels])),
        confident=None if confident is None else float(confident.mean()),
        confident_right=None
        if confident is None
        else float(1 - found.wrong[confident].mean())
        if confident.any()
        else 0.0,
        passages=len(found.examples),
    )


def _resampled_f1(truth: Flags, flags: Flags, seed: int) -> Array:
    """F1 of each label in each of RESAMPLES samples of passages, shape (RESAMPLES, labels)."""
    rng = np.random.default_rng(seed)
    both, either = (truth & flags).astype(float), truth.astype(float) + flags
    drawn = (np.bincount(rng.integers(0, len(truth), len(truth)), minlength=len(truth)) for _ in range(RESAMPLES))
    return np.array([2 * (weights @ both) / np.maximum(weights @ either, 1) for weights in drawn])


def _interval(values: Array) -> Interval:
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


@dataclass(frozen=True)
class Bin:
    """Passages whose probability of a label lies in [low, high): how many, its mean, the share that has the label."""

    low: float
    high: float
    passages: int
    probability: float
    share: float


def reliability(truth: Flags, scores: Array, bins: int = BINS) -> list[Bin]:
    """The bins of one label that are not empty, of equal width. truth, scores: shape (passages,)."""
    place = np.minimum((scores * bins).astype(int), bins - 1)
    return [
        Bin(n / bins, (n + 1) / bins, int(inside.sum()), float(scores[inside].mean()), float(truth[inside].mean()))
        for n in range(bins)
        if (inside := place == n).any()
    ]


def calibration_error(truth: Flags, scores: Array) -> float:
    """Expected calibration error of one label: |share - probability|, weighed by passages (Naeini et al. 2015)."""
    return sum(b.passages * abs(b.share - b.probability) for b in reliability(truth, scores)) / len(truth)


def risk_coverage(found: Outcome) -> list[tuple[float, float]]:
    """(coverage, risk): if only the surest passages are answered, which share of them has a wrong label.

    A point for each passage answered, the surest first. Empty for a model that never abstains. Source: El-Yaniv and
    Wiener 2010.
    """
    if found.risks is None:
        return []
    wrong = found.wrong[np.argsort(found.risks, kind="stable")]
    answered = np.arange(1, len(wrong) + 1)
    return [(float(c), float(r)) for c, r in zip(answered / len(wrong), np.cumsum(wrong) / answered, strict=True)]


@dataclass(frozen=True)
class SliceScores:
    """Figures of one group of passages. micro_f1: by axis, over all its labels; None where neither side names one."""

    group: str
    passages: int
    micro_f1: dict[str, float | None]
    primary_accuracy: float
    exactly_right: float


def slices(found: Outcome) -> dict[str, list[SliceScores]]:
    """The figures by kind of source, year, length in words, and authority. Small groups are pooled as `others`."""
    by: dict[str, Callable[[Example], str]] = {
        "kind": lambda e: e.kind,
        "year": lambda e: str(e.published.year) if e.published else "unknown",
        "length": _length,
        "authority": lambda e: e.authority or "none",
    }
    return {name: _slice(found, of) for name, of in by.items()}


def _length(example: Example) -> str:
    words = len(example.text.split())
    low, high = next((low, high) for low, high in reversed(LENGTHS) if words >= low)
    return f"{low}-{high} words" if high else f"{low} words or more"


def _slice(found: Outcome, of: Callable[[Example], str]) -> list[SliceScores]:
    groups: dict[str, list[int]] = defaultdict(list)
    for n, example in enumerate(found.examples):
        groups[of(example)].append(n)
    large = {group: rows for group, rows in groups.items() if len(rows) >= LEAST_IN_SLICE}
    rest = [n for group, rows in groups.items() if group not in large for n in rows]
    named = sorted(large.items()) + ([(f"others ({len(groups) - len(large)})", rest)] if rest else [])
    return [_slice_scores(found, group, rows) for group, rows in named]


def _slice_scores(found: Outcome, group: str, rows: list[int]) -> SliceScores:
    micro: dict[str, float | None] = {}
    for axis in found.axes:
        columns = [n for n, output in enumerate(found.outputs) if output.axis == axis]
        truth, flags = found.truth[np.ix_(rows, columns)], found.flags[np.ix_(rows, columns)]
        either = truth.sum() + flags.sum()
        micro[axis] = float(2 * (truth & flags).sum() / either) if either else None
    right = [found.examples[n].primary_stance == found.primary[n] for n in rows]
    return SliceScores(group, len(rows), micro, float(np.mean(right)), float(1 - found.wrong[rows].mean()))


@dataclass(frozen=True)
class Confusion:
    """How often a label that was due (or none) went with one that was given and not due (or none), on one axis."""

    axis: str
    due: str | None
    given: str | None
    passages: int


def confusions(found: Outcome) -> list[Confusion]:
    """Pairs of a missed and a wrongly given label of one axis in one passage, the most frequent first."""
    counted: Counter[tuple[str, str | None, str | None]] = Counter()
    for axis in found.axes:
        columns = [n for n, output in enumerate(found.outputs) if output.axis == axis]
        for truth, flags in zip(found.truth[:, columns], found.flags[:, columns], strict=True):
            missed: list[str | None] = [found.outputs[columns[n]].name for n in np.flatnonzero(truth & ~flags)]
            extra: list[str | None] = [found.outputs[columns[n]].name for n in np.flatnonzero(flags & ~truth)]
            if missed or extra:
                counted.update((axis, due, given) for due in missed or [None] for given in extra or [None])
    return [Confusion(*pair, count) for pair, count in counted.most_common()]


@dataclass(frozen=True)
class WrongPassage:
    """A passage with a wrong label. surprise: how unlikely the model held its labels, in nats, over the wrong ones."""

    id: str
    kind: str
    text: str
    due: list[str]
    given: list[str]
    probabilities: dict[str, float]
    surprise: float


def worst(found: Outcome, most: int = 50) -> list[WrongPassage]:
    """The passages that the model is most surely wrong about."""
    columns = np.array([output.axis in found.axes for output in found.outputs])
    right = np.clip(np.where(found.truth, found.scores, 1 - found.scores), 1e-9, 1)
    surprise = np.where((found.truth != found.flags) & columns, -np.log(right), 0.0).sum(axis=1)
    rows = [n for n in np.argsort(-surprise, kind="stable")[:most] if surprise[n] > 0]
    keys = [output.key for output in found.outputs]
    return [
        WrongPassage(
            id=found.examples[n].id,
            kind=found.examples[n].kind,
            text=found.examples[n].text,
            due=[key for key, flag in zip(keys, found.truth[n], strict=True) if flag],
            given=[key for key, flag in zip(keys, found.flags[n], strict=True) if flag],
            probabilities={key: round(float(p), 4) for key, p in zip(keys, found.scores[n], strict=True)},
            surprise=round(float(surprise[n]), 4),
        )
        for n in rows
    ]
