"""Choose a temperature, a bias and a threshold for each label, and when to abstain, on the dev split alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import precision_recall_curve

from models.calibration import Array, on, probabilities, raw_risk
from models.manifest import Abstention, Output

Truth = NDArray[np.int64]
PRECISION_FLOOR = 0.80
# The model vouches for a passage where the chance that any of its labels is wrong is at most one in four.
RISK_BOUND = 0.25


def outputs(logits: Array, truth: Truth, keys: tuple[str, ...]) -> tuple[Output, ...]:
    """Calibrated outputs. logits, truth: shape (dev passages, labels), truth 0 or 1, columns in the order of keys."""
    chosen = []
    for column, key in enumerate(keys):
        temperature, bias = platt(logits[:, column], truth[:, column])
        output = Output(key=key, temperature=temperature, bias=bias, threshold=0.5)
        scores = probabilities(logits[:, [column]], (output,))[:, 0]
        chosen.append(output.model_copy(update={"threshold": threshold(scores, truth[:, column])}))
    return tuple(chosen)


def platt(logits: Array, truth: Truth) -> tuple[float, float]:
    """The temperature and bias with the lowest negative log-likelihood; 1 and 0 where dev has only one class."""
    if truth.min() == truth.max():
        return 1.0, 0.0

    def loss(parameters: Array) -> float:
        scaled = logits * np.exp(-parameters[0]) + parameters[1]
        return float(np.mean(np.logaddexp(0.0, scaled) - truth * scaled))

    found = minimize(loss, np.zeros(2), bounds=[(-3.0, 3.0), (-10.0, 10.0)])
    return float(np.exp(found.x[0])), float(found.x[1])


def threshold(scores: Array, truth: Truth) -> float:
    """The threshold with the best F1 among those with a precision of at least PRECISION_FLOOR.

    Where none reaches the floor, the one with the best F1. Halfway between two neighbouring scores, so that it does not
    sit on a passage; rounded to four places where that turns no passage. 0.5 where dev has no positive.
    """
    if not truth.any():
        return 0.5
    precision, recall, cuts = precision_recall_curve(truth, scores)
    precision, recall = precision[:-1], recall[:-1]
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    allowed = precision >= PRECISION_FLOOR
    best = int(np.argmax(np.where(allowed, f1, -1.0) if allowed.any() else f1))
    below = scores[scores < cuts[best]]
    found = float((cuts[best] + (below.max() if below.size else 0.0)) / 2)
    rounded = round(found, 4)
    return rounded if np.array_equal(scores >= rounded, scores >= found) else found


def abstention(scores: Array, truth: Truth, outputs: tuple[Output, ...], bound: float = RISK_BOUND) -> Abstention:
    """When not to vouch for a passage. scores: probabilities, shape (dev passages, labels).

    Where dev has no passage with a wrong label, or none without, the raw risk is taken as it is.
    """
    wrong = (on(scores, outputs) != truth.astype(bool)).any(axis=1)
    if wrong.all() or not wrong.any():
        return Abstention(slope=1.0, intercept=0.0, bound=bound)
    raw = np.clip(raw_risk(scores, outputs), 1e-6, 1 - 1e-6)
    fitted = LogisticRegression(C=1e6).fit(np.log(raw / (1 - raw))[:, None], wrong)
    if fitted.coef_[0, 0] <= 0:  # dev is too small to tell: the risk as it is says more than its opposite
        return Abstention(slope=1.0, intercept=0.0, bound=bound)
    return Abstention(slope=float(fitted.coef_[0, 0]), intercept=float(fitted.intercept_[0]), bound=bound)
