"""From logits to probabilities and labels: pure functions over arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.manifest import Output

Array = NDArray[np.float64]


def probabilities(logits: Array, outputs: tuple[Output, ...]) -> Array:
    """Calibrated probabilities, shape (passages, outputs): sigmoid of each logit over its output's temperature.

    Source: temperature scaling, Guo et al. 2017, "On Calibration of Modern Neural Networks", one temperature a label.
    """
    temperatures = np.array([output.temperature for output in outputs])
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(logits / temperatures, -60, 60))))


def on(scores: Array, outputs: tuple[Output, ...]) -> NDArray[np.bool_]:
    """Which labels are on, shape (passages, outputs): a probability at or over its threshold."""
    return np.asarray(scores >= np.array([output.threshold for output in outputs]))


def cuts(outputs: tuple[Output, ...]) -> Array:
    """The logit at which each output turns on, shape (outputs,)."""
    thresholds = np.clip([output.threshold for output in outputs], 1e-12, 1 - 1e-12)
    return np.asarray(np.log(thresholds / (1 - thresholds)) * [output.temperature for output in outputs])


def primary(scores: Array, outputs: tuple[Output, ...]) -> list[str | None]:
    """The strongest stance that is on, for each passage; None where no stance is on."""
    stances = [index for index, output in enumerate(outputs) if output.axis == "stance"]
    strongest: list[str | None] = []
    for row, flags in zip(scores, on(scores, outputs), strict=True):
        active = [index for index in stances if flags[index]]
        strongest.append(outputs[max(active, key=lambda index: row[index])].name if active else None)
    return strongest
