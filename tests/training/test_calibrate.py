import numpy as np
import pytest

from models import calibration
from training import calibrate

RNG = np.random.default_rng(0)


def test_temperature_and_bias_undo_a_known_scaling_and_shift() -> None:
    true_logits = RNG.normal(0, 2, 20_000)
    truth = (RNG.random(20_000) < 1 / (1 + np.exp(-true_logits))).astype(int)
    assert calibrate.platt(3.0 * (true_logits + 1.5), truth) == pytest.approx((3.0, -1.5), rel=0.06)
    assert calibrate.platt(true_logits, truth) == pytest.approx((1.0, 0.0), rel=0.05, abs=0.05)


def test_a_label_without_both_classes_keeps_its_logits() -> None:
    assert calibrate.platt(np.array([1.0, 2.0]), np.array([0, 0])) == (1.0, 0.0)
    assert calibrate.threshold(np.array([0.1, 0.2]), np.array([0, 0])) == 0.5


def test_the_threshold_has_the_best_f1_above_the_floor_of_precision() -> None:
    scores = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
    truth = np.array([0, 0, 1, 0, 0, 1, 1, 1, 1])
    found = calibrate.threshold(scores, truth)
    assert 0.5 < found < 0.6
    flags = scores >= found
    assert (truth[flags] == 1).mean() >= calibrate.PRECISION_FLOOR


def test_where_no_threshold_reaches_the_floor_the_best_f1_is_taken() -> None:
    found = calibrate.threshold(np.array([0.9, 0.8, 0.7, 0.1]), np.array([0, 1, 0, 1]))
    assert (np.array([0.9, 0.8, 0.7, 0.1]) >= found).tolist() == [True, True, True, True]


def test_outputs_carry_the_keys_in_order() -> None:
    logits, truth = RNG.normal(size=(50, 2)), RNG.integers(0, 2, (50, 2))
    outputs = calibrate.outputs(logits, truth, ("theme/a", "stance/b"))
    assert [o.key for o in outputs] == ["theme/a", "stance/b"]
    assert calibration.on(calibration.probabilities(logits, outputs), outputs).shape == (50, 2)
