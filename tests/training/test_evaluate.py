import numpy as np
import pytest

from training import evaluate, export

KEYS = ("theme/a", "stance/b", "stance/c")


def test_figures_against_a_count_by_hand() -> None:
    truth = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0]], dtype=bool)
    flags = np.array([[1, 0, 0], [0, 1, 1], [1, 1, 0], [0, 0, 0]], dtype=bool)
    report = evaluate.report(KEYS, truth, flags, flags.astype(float), [None, "b", "b", None], [None, "b", "c", None])
    a, b, c = report.labels
    assert (a.precision, a.recall, a.f1, a.support) == (0.5, 0.5, 0.5, 2)
    assert (b.precision, b.recall, b.f1, b.support) == (1.0, 1.0, 1.0, 2)
    assert (c.f1, c.support) == (0.0, 0)
    assert report.macro_f1 == {"theme": 0.5, "stance": 1.0}  # a label that the split lacks is not averaged in
    assert report.primary_accuracy == 0.75


def test_the_interval_holds_the_figure_and_narrows_with_more_passages() -> None:
    rng = np.random.default_rng(1)
    widths = []
    for size in (60, 6000):
        truth = rng.random((size, 2)) < 0.3
        flags = truth ^ (rng.random((size, 2)) < 0.1)
        nobody: list[str | None] = [None] * size
        label, _ = evaluate.report(KEYS[:2], truth, flags, flags.astype(float), nobody, nobody).labels
        assert label.interval[0] <= label.f1 <= label.interval[1]
        widths.append(label.interval[1] - label.interval[0])
    assert widths[1] < widths[0] / 3


def test_the_flat_form_names_every_figure() -> None:
    truth = np.array([[1, 0, 1], [0, 1, 0]], dtype=bool)
    flat = evaluate.report(KEYS, truth, truth, truth.astype(float), ["c", "b"], ["c", "b"]).flat("test")
    assert flat["test/f1/theme/a"] == 1.0 and flat["test/macro_f1/stance"] == pytest.approx(1.0)


def test_a_network_that_decides_otherwise_than_the_trained_one_is_refused() -> None:
    logits, cuts = np.linspace(-3, 3, 100)[:, None], np.zeros(1)
    assert export.parity(logits, logits + 0.01, cuts).agreement == 1.0
    with pytest.raises(export.ParityError, match="agree on"):
        export.parity(logits, -logits, cuts)
