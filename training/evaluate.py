"""Measure predictions against labels: per label, per axis, with bootstrap intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, precision_recall_fscore_support

Flags = NDArray[np.bool_]
RESAMPLES = 1000


@dataclass(frozen=True)
class LabelScores:
    """Figures of one label on one split. interval: of F1, 95%, by bootstrap over passages. support: positives."""

    key: str
    precision: float
    recall: float
    f1: float
    average_precision: float
    interval: tuple[float, float]
    support: int


@dataclass(frozen=True)
class Report:
    """Figures of one model on one split. macro_f1: the mean over the labels of an axis that have a positive."""

    labels: tuple[LabelScores, ...]
    macro_f1: dict[str, float]
    primary_accuracy: float
    passages: int

    def flat(self, prefix: str) -> dict[str, float]:
        """The figures as one mapping, for the manifest."""
        found = {f"{prefix}/macro_f1/{axis}": value for axis, value in self.macro_f1.items()}
        found[f"{prefix}/primary_accuracy"] = self.primary_accuracy
        found[f"{prefix}/passages"] = float(self.passages)
        for label in self.labels:
            for name in ("precision", "recall", "f1", "average_precision", "support"):
                found[f"{prefix}/{name}/{label.key}"] = float(getattr(label, name))
        return found


def report(
    keys: tuple[str, ...],
    truth: Flags,
    flags: Flags,
    scores: NDArray[np.float64],
    primary_truth: list[str | None],
    primary: list[str | None],
    seed: int = 0,
) -> Report:
    """Compare predictions with labels. truth, flags, scores: shape (passages, labels), columns in the order of keys."""
    precision, recall, f1, support = precision_recall_fscore_support(truth, flags, average=None, zero_division=0.0)
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, len(truth), (RESAMPLES, len(truth)))
    labels = tuple(
        LabelScores(
            key=key,
            precision=float(precision[n]),
            recall=float(recall[n]),
            f1=float(f1[n]),
            average_precision=float(average_precision_score(truth[:, n], scores[:, n])) if support[n] else 0.0,
            interval=_interval(truth[:, n], flags[:, n], draws),
            support=int(support[n]),
        )
        for n, key in enumerate(keys)
    )
    axes = dict.fromkeys(key.partition("/")[0] for key in keys)
    macro = {a: [x.f1 for x in labels if x.key.startswith(f"{a}/") and x.support] for a in axes}
    return Report(
        labels=labels,
        macro_f1={axis: float(np.mean(values)) if values else 0.0 for axis, values in macro.items()},
        primary_accuracy=float(np.mean([a == b for a, b in zip(primary_truth, primary, strict=True)])),
        passages=len(truth),
    )


def _interval(truth: Flags, flags: Flags, draws: NDArray[np.int64]) -> tuple[float, float]:
    both, either = (truth & flags)[draws].sum(axis=1), truth[draws].sum(axis=1) + flags[draws].sum(axis=1)
    f1 = 2 * both / np.maximum(either, 1)
    low, high = np.quantile(f1, [0.025, 0.975])
    return float(low), float(high)
