import numpy as np
import pytest

from models import calibration
from models.manifest import Abstention, Output

OUTPUTS = (
    Output(key="theme/a", temperature=1.0, bias=0.0, threshold=0.5),
    Output(key="stance/x", temperature=2.0, bias=0.0, threshold=0.7),
    Output(key="stance/y", temperature=1.0, bias=0.0, threshold=0.2),
)


def test_probability_is_the_sigmoid_of_the_logit_over_its_temperature() -> None:
    found = calibration.probabilities(np.array([[0.0, 2.0, -1.0]]), OUTPUTS)
    assert found[0] == pytest.approx([0.5, 1 / (1 + np.exp(-1.0)), 1 / (1 + np.exp(1.0))])


def test_a_bias_shifts_the_scaled_logit() -> None:
    shifted = (Output(key="theme/a", temperature=2.0, bias=-1.0, threshold=0.5),)
    assert calibration.probabilities(np.array([[2.0]]), shifted)[0, 0] == pytest.approx(0.5)
    assert calibration.cuts(shifted) == pytest.approx([2.0])


def test_risk_is_the_chance_of_a_wrong_label_when_the_calibration_changes_nothing() -> None:
    plain = Abstention(slope=1.0, intercept=0.0, bound=0.2)
    scores = np.array([[0.9, 0.2, 0.1], [0.5, 0.69, 0.2]])
    assert calibration.risk(scores, OUTPUTS, plain) == pytest.approx([1 - 0.9 * 0.8 * 0.9, 1 - 0.5 * 0.31 * 0.2])
    harsher = Abstention(slope=1.0, intercept=2.0, bound=0.2)
    assert (calibration.risk(scores, OUTPUTS, harsher) > calibration.risk(scores, OUTPUTS, plain)).all()


def test_extreme_logits_neither_overflow_nor_leave_the_unit_interval() -> None:
    found = calibration.probabilities(np.array([[1e9, -1e9, 0.0]]), OUTPUTS)
    assert np.isfinite(found).all() and found.min() >= 0 and found.max() <= 1


def test_a_label_is_on_at_its_threshold_and_not_below() -> None:
    assert calibration.on(np.array([[0.5, 0.6999, 0.2]]), OUTPUTS).tolist() == [[True, False, True]]


def test_cuts_are_the_logits_at_which_labels_turn_on() -> None:
    cuts = calibration.cuts(OUTPUTS)
    assert calibration.on(calibration.probabilities(cuts[None] + 1e-6, OUTPUTS), OUTPUTS).all()
    assert not calibration.on(calibration.probabilities(cuts[None] - 1e-6, OUTPUTS), OUTPUTS).any()


@pytest.mark.parametrize(
    ("scores", "expected"),
    [([0.9, 0.8, 0.3], "x"), ([0.9, 0.6, 0.3], "y"), ([0.9, 0.6, 0.1], None)],
    ids=["strongest", "only those that are on", "none"],
)
def test_primary_stance(scores: list[float], expected: str | None) -> None:
    assert calibration.primary(np.array([scores]), OUTPUTS) == [expected]
