"""Choose a temperature and a threshold for each label, on the dev split alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from sklearn.metrics import precision_recall_curve

from models.calibration import Array, probabilities
from models.manifest import Output

Truth = NDArray[np.int64]
PRECISION_FLOOR = 0.80


def outputs(logits: Array, truth: Truth, keys: tuple[str, ...]) -> tuple[Output, ...]:
    """Calibrated outputs. logits, truth: shape (dev passages, labels), truth 0 or 1, columns in the order of keys."""
    chosen = []
    for column, key in enumerate(keys):
        output = Output(key=key, temperature=temperature(logits[:, column], truth[:, column]), threshold=0.5)
        scores = probabilities(logits[:, [column]], (output,))[:, 0]
        chosen.append(output.model_copy(update={"threshold": threshold(scores, truth[:, column])}))
    return tuple(chosen)


def temperature(logits: Array, truth: Truth) -> float:
    """The temperature with the lowest negative log-likelihood; 1 where dev has only one class."""
    if truth.min() == truth.max():
        return 1.0

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        return float(np.mean(np.logaddexp(0.0, scaled) - truth * scaled))

    return float(np.exp(minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded").x))


def threshold(scores: Array, truth: Truth) -> float:
    """The threshold with the best F1 among those with a precision of at least PRECISION_FLOOR.

    Where none reaches the floor, the one with the best F1. Halfway between two neighbouring scores, and rounded to four
    places, so that it does not sit on a passage. 0.5 where dev has no positive.
    """
    if not truth.any():
        return 0.5
    precision, recall, cuts = precision_recall_curve(truth, scores)
    precision, recall = precision[:-1], recall[:-1]
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    allowed = precision >= PRECISION_FLOOR
    best = int(np.argmax(np.where(allowed, f1, -1.0) if allowed.any() else f1))
    below = scores[scores < cuts[best]]
    return round(float((cuts[best] + (below.max() if below.size else 0.0)) / 2), 4)
