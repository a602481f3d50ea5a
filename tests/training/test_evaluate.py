import json
from collections.abc import Sequence

import numpy as np
import pytest

from labels import taxonomy
from labels.dataset import Example
from models.manifest import Abstention, Output
from training import calibrate, evaluate, export, plots
from training.evaluate import Outcome

KEYS = ("theme/a", "stance/b", "stance/c")
OUTPUTS = tuple(Output(key=key, temperature=1.0, bias=0.0, threshold=0.5) for key in KEYS)
RNG = np.random.default_rng(1)


def examples(primary: Sequence[str | None], **fields: object) -> list[Example]:
    filled = {"document": "d", "kind": "blog", "title": "T", "authority": "A", "published": None, "text": "One two.",
              "annotator": "x", "guide": "1.0", "themes": ()} | fields  # fmt: skip
    return [
        Example(id=f"d/{n}", stances=(p,) if p else (), primary_stance=p, **filled)  # type: ignore[arg-type]
        for n, p in enumerate(primary)
    ]


def outcome(truth: object, scores: object, primary: Sequence[str | None], **fields: object) -> Outcome:
    found = np.array(scores, dtype=float)
    return Outcome(examples(primary, **fields), OUTPUTS, np.array(truth, dtype=bool), found, ("theme", "stance"))


def test_figures_against_a_count_by_hand() -> None:
    truth = [[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0]]
    scores = [[0.9, 0.1, 0.1], [0.1, 0.9, 0.8], [0.9, 0.7, 0.1], [0.1, 0.1, 0.1]]
    found = outcome(truth, scores, [None, "c", "b", None])
    report = evaluate.report(found)
    a, b, c = report.labels
    assert (a.precision, a.recall, a.f1, a.support) == (0.5, 0.5, 0.5, 2)
    assert (b.precision, b.recall, b.f1, b.support) == (1.0, 1.0, 1.0, 2)
    assert (c.f1, c.support) == (0.0, 0)
    assert report.macro_f1 == {"theme": 0.5, "stance": 1.0}  # a label that the split lacks is not averaged in
    assert report.primary_accuracy == 0.75 and report.exactly_right == 0.5
    assert report.confident is None and evaluate.risk_coverage(found) == []


def test_the_interval_holds_the_figure_and_narrows_with_more_passages() -> None:
    widths = []
    for size in (60, 6000):
        truth = RNG.random((size, 3)) < 0.3
        flags = truth ^ (RNG.random((size, 3)) < 0.1)
        report = evaluate.report(outcome(truth, flags, [None] * size))
        label = report.labels[0]
        assert label.interval[0] <= label.f1 <= label.interval[1]
        low, high = report.macro_interval["stance"]
        assert low <= report.macro_f1["stance"] <= high
        widths.append(label.interval[1] - label.interval[0])
    assert widths[1] < widths[0] / 3


def test_calibration_error_against_a_count_by_hand() -> None:
    truth, scores = np.array([1, 0, 1, 1], dtype=bool), np.array([0.85, 0.85, 0.15, 1.0])
    assert evaluate.calibration_error(truth, scores) == pytest.approx((2 * 0.35 + 0.85 + 0) / 4)
    assert [b.passages for b in evaluate.reliability(truth, scores)] == [1, 2, 1]


def test_calibrated_scores_have_a_small_error_and_overconfident_ones_a_large_one() -> None:
    scores = RNG.random(20_000)
    truth = RNG.random(20_000) < scores
    assert evaluate.calibration_error(truth, scores) < 0.02
    assert evaluate.calibration_error(truth, np.where(scores > 0.5, 0.99, 0.01)) > 0.2


def test_the_surest_passages_are_answered_first_and_the_risk_is_what_it_says() -> None:
    scores = RNG.random((4000, 3))
    truth = RNG.random((4000, 3)) < scores
    abstention = calibrate.abstention(scores, truth.astype(int), OUTPUTS, bound=0.3)
    found = Outcome(examples([None] * 4000), OUTPUTS, truth, scores, ("theme", "stance"), abstention)
    points = evaluate.risk_coverage(found)
    assert points[-1] == (1.0, pytest.approx(found.wrong.mean()))
    assert points[400][1] < points[2000][1] < points[-1][1]
    assert found.risks is not None
    for low in (0.2, 0.4, 0.6):
        inside = (found.risks >= low) & (found.risks < low + 0.2)
        assert found.wrong[inside].mean() == pytest.approx(found.risks[inside].mean(), abs=0.06)
    report = evaluate.report(found)
    assert report.confident == pytest.approx((found.risks <= 0.3).mean())
    assert report.confident_right is not None and report.confident_right > 0.7


def test_no_abstention_can_be_fitted_where_nothing_is_wrong() -> None:
    truth = np.array([[1, 0, 0], [0, 1, 0]])
    found = calibrate.abstention(np.where(truth, 0.9, 0.1), truth, OUTPUTS)
    assert found == Abstention(slope=1.0, intercept=0.0, bound=calibrate.RISK_BOUND)


def test_slices_cover_every_passage_once_and_pool_what_is_small() -> None:
    rows = examples(["b"] * 25, kind="blog", text="word " * 10) + examples([None] * 3, kind="letter", text="word " * 70)
    truth = np.array([[0, 1, 0]] * 25 + [[0, 0, 0]] * 3, dtype=bool)
    found = Outcome(rows, OUTPUTS, truth, truth.astype(float), ("theme", "stance"))
    kinds = evaluate.slices(found)["kind"]
    assert [(s.group, s.passages) for s in kinds] == [("blog", 25), ("others (1)", 3)]
    assert kinds[0].micro_f1 == {"theme": None, "stance": 1.0} and kinds[0].exactly_right == 1.0
    assert [s.group for s in evaluate.slices(found)["length"]] == ["1-15 words", "others (1)"]
    for groups in evaluate.slices(found).values():
        assert sum(s.passages for s in groups) == 28


def test_confusions_pair_what_was_missed_with_what_was_given() -> None:
    truth = [[0, 1, 0], [0, 1, 0], [1, 0, 0], [0, 0, 0]]
    scores = [[0.1, 0.1, 0.9], [0.1, 0.1, 0.9], [0.1, 0.1, 0.1], [0.1, 0.1, 0.9]]
    found = evaluate.confusions(outcome(truth, scores, [None] * 4))
    assert [(c.axis, c.due, c.given, c.passages) for c in found] == [
        ("stance", "b", "c", 2), ("theme", "a", None, 1), ("stance", None, "c", 1),
    ]  # fmt: skip


def test_the_worst_errors_are_the_surest_ones_and_right_passages_are_none() -> None:
    truth = [[0, 1, 0], [0, 1, 0], [0, 0, 0]]
    scores = [[0.1, 0.4, 0.1], [0.1, 0.01, 0.1], [0.1, 0.1, 0.1]]
    found = evaluate.worst(outcome(truth, scores, ["b", "b", None]))
    assert [w.id for w in found] == ["d/1", "d/0"]
    assert (
        found[0].due == ["stance/b"]
        and found[0].given == []
        and found[0].surprise == pytest.approx(-np.log(0.01), abs=1e-3)
    )


def test_the_flat_form_names_every_figure() -> None:
    truth = [[1, 0, 1], [0, 1, 0]]
    flat = evaluate.report(outcome(truth, truth, ["c", "b"])).flat("test")
    assert flat["test/f1/theme/a"] == 1.0 and flat["test/macro_f1/stance"] == pytest.approx(1.0)
    assert "test/confident" not in flat and json.dumps(flat)


def test_plots_are_drawings_and_the_same_every_time() -> None:
    scores = RNG.random((200, 3))
    truth = RNG.random((200, 3)) < scores
    abstention = calibrate.abstention(scores, truth.astype(int), OUTPUTS)
    found = Outcome(examples([None] * 200), OUTPUTS, truth, scores, ("theme", "stance"), abstention)
    for draw in (plots.reliability, plots.risk_coverage):
        assert draw(found) == draw(found) and "<svg" in draw(found)
    bars = plots.label_f1({"ours": evaluate.report(found), "other": evaluate.report(found)})
    assert "other" in bars and "<svg" in bars


def test_an_outcome_has_its_truth_from_the_examples() -> None:
    labelling = taxonomy.load()
    rows = examples(["critical"])
    found = evaluate.outcome(rows, labelling, np.zeros((1, 8)), ())
    assert found.truth.tolist() == [[key == "stance/critical" for key in labelling.keys]]


def test_a_network_that_decides_otherwise_than_the_trained_one_is_refused() -> None:
    logits, cuts = np.linspace(-3, 3, 100)[:, None], np.zeros(1)
    assert export.parity(logits, logits + 0.01, cuts).agreement == 1.0
    with pytest.raises(export.ParityError, match="agree on"):
        export.parity(logits, -logits, cuts)
