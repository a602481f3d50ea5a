"""From logits to probabilities and labels: pure functions over arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.manifest import Abstention, Output

Array = NDArray[np.float64]


def probabilities(logits: Array, outputs: tuple[Output, ...]) -> Array:
    """Calibrated probabilities, shape (passages, outputs): sigmoid of each logit, scaled and shifted by its output.

    Source: Platt 1999, "Probabilistic Outputs for Support Vector Machines", one temperature and bias a label.
    """
    scaled = logits / [output.temperature for output in outputs] + [output.bias for output in outputs]
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(scaled, -60, 60))))


def on(scores: Array, outputs: tuple[Output, ...]) -> NDArray[np.bool_]:
    """Which labels are on, shape (passages, outputs): a probability at or over its threshold."""
    return np.asarray(scores >= np.array([output.threshold for output in outputs]))


def cuts(outputs: tuple[Output, ...]) -> Array:
    """The logit at which each output turns on, shape (outputs,)."""
    thresholds = np.clip([output.threshold for output in outputs], 1e-12, 1 - 1e-12)
    shifted = np.log(thresholds / (1 - thresholds)) - [output.bias for output in outputs]
    return np.asarray(shifted * [output.temperature for output in outputs])


def raw_risk(scores: Array, outputs: tuple[Output, ...]) -> Array:
    """The chance that at least one label of a passage is wrong, shape (passages,), were the labels independent."""
    right = np.where(on(scores, outputs), scores, 1.0 - scores)
    return np.asarray(1.0 - right.prod(axis=1))


def risk(scores: Array, outputs: tuple[Output, ...], abstention: Abstention) -> Array:
    """The calibrated chance that at least one label of a passage is wrong, shape (passages,).

    Source: Platt scaling (Platt 1999) of raw_risk, fitted on dev.
    """
    raw = np.clip(raw_risk(scores, outputs), 1e-6, 1 - 1e-6)
    scaled = abstention.slope * np.log(raw / (1 - raw)) + abstention.intercept
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(scaled, -60, 60))))


def primary(scores: Array, outputs: tuple[Output, ...]) -> list[str | None]:
    """The strongest stance that is on, for each passage; None where no stance is on."""
    stances = [index for index, output in enumerate(outputs) if output.axis == "stance"]
    strongest: list[str | None] = []
    for row, flags in zip(scores, on(scores, outputs), strict=True):
        active = [index for index in stances if flags[index]]
        strongest.append(outputs[max(active, key=lambda index: row[index])].name if active else None)
    return strongest
