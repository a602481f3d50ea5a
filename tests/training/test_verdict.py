"""The gate: what each rule refuses and lets pass, and the verdict on real models, a worse and a better one."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from labels import dataset
from labels.dataset import Example
from models import classifier, verdict
from models.classifier import Classifier
from models.manifest import ArtefactError, Output
from models.registry import CHAMPION, Registry
from models.verdict import Difference, Verdict
from training import evaluate, gate
from training import verdict as judging
from training.behaviour import Direction
from training.evaluate import Outcome
from training.gate import Floors, Set

KEYS = ("theme/leadership", "theme/thresholds", "stance/critical")
OUTPUTS = tuple(Output(key=key, temperature=1, bias=0, threshold=0.5) for key in KEYS)


def outcome(scores: np.ndarray, truth: np.ndarray, documents: int) -> Outcome:
    examples = [
        Example(
            id=f"p{n}", document=f"d{n % documents}", kind="other", title="", authority="", published=date(2026, 1, 1),
            text=f"Passage {n}.", themes=(), stances=(), primary_stance=None, annotator="a", guide="1",
        )
        for n in range(len(truth))
    ]  # fmt: skip
    return Outcome(examples, OUTPUTS, truth, scores.astype(float), ("theme", "stance"))


def pair(wrong_before: float, wrong_after: float, documents: int = 40) -> tuple[Outcome, Outcome]:
    """Two models that have so many of the labels of theme/leadership wrong, drawn at random, and all others right."""
    rng = np.random.default_rng(1)
    truth = rng.random((400, 3)) < 0.4
    found = []
    for share in (wrong_before, wrong_after):
        flags = truth.copy()
        flags[:, 0] ^= rng.random(400) < share
        found.append(outcome(flags, truth, documents))
    return found[0], found[1]


def named(found: Sequence[Difference], figure: str) -> Difference:
    (one,) = [difference for difference in found if difference.figure == figure]
    return one


def difference(figure: str, before: float, after: float, low: float, high: float) -> Difference:
    return Difference(figure=figure, before=before, after=after, interval=(low, high))


def test_two_models_that_say_the_same_do_not_differ() -> None:
    found = judging.differences(*[pair(0.1, 0.1)[0]] * 2)
    assert [d.figure for d in found] == [*(f"f1/{key}" for key in KEYS), "macro_f1/theme", "macro_f1/stance"]
    assert all(d.change == 0 and d.interval == (0, 0) for d in found)


def test_a_difference_is_of_f1_and_of_its_mean_over_an_axis() -> None:
    before, after = pair(0.1, 0.3)
    found = judging.differences(before, after)
    one, macro = named(found, "f1/theme/leadership"), named(found, "macro_f1/theme")
    truth, flags = after.truth[:, 0], after.flags[:, 0]
    assert one.after == pytest.approx(2 * (truth & flags).sum() / (truth.sum() + flags.sum()))
    assert one.interval[0] < one.change < one.interval[1] < 0
    assert macro.change == pytest.approx(one.change / 2)
    assert judging.differences(before, after) == found


def test_passages_of_one_document_do_not_count_as_many() -> None:
    """Where one document is as another, to draw documents or passages is the same; where they are not, it is not."""
    truth = np.tile([[True, True, True]], (400, 1))
    flags = np.ones((400, 3), dtype=bool)
    flags[np.arange(400) % 20 < 2, 0] = False  # all passages of two of twenty documents
    together = judging.differences(outcome(truth, truth, 20), outcome(flags, truth, 20))
    apart = judging.differences(outcome(truth, truth, 400), outcome(flags, truth, 400))
    widths = [np.diff(named(found, "f1/theme/leadership").interval)[0] for found in (together, apart)]
    assert widths[0] > 2 * widths[1]


@pytest.mark.parametrize(
    ("after", "high", "passed"), [(0.79, -0.001, True), (0.70, 0.001, True), (0.77, -0.001, False), (0.9, 0.2, True)]
)
def test_a_label_may_lose_two_points_and_more_within_noise(after: float, high: float, passed: bool) -> None:
    lost = difference("f1/theme/leadership", 0.8, after, -0.2, high)
    rule = judging.labels_rule("test", [lost, difference("macro_f1/theme", 0.8, 0.1, -0.9, -0.5)])
    assert rule.passed is passed and ("leadership" in rule.detail) is not passed


@pytest.mark.parametrize(("high", "passed"), [(0.01, True), (-0.001, False)])
def test_macro_f1_does_not_sink_beyond_noise(high: float, passed: bool) -> None:
    found = [difference("macro_f1/theme", 0.8, 0.79, -0.05, high), difference("f1/theme/leadership", 0.8, 0, -1, -1)]
    assert judging.macro_rule("test", found).passed is passed


@pytest.mark.parametrize("figure", ["macro_f1/theme", "f1/theme/leadership", "turned/negation"])
def test_small_losses_do_not_add_up(figure: str) -> None:
    """A model that loses a little each time, which is never beyond noise, does not go down for ever."""
    margin = (judging.margins(pair(0, 0)[0]) | {"turned/negation": judging.TURNED})[figure]
    level, best, steps = 0.8, {"d": {figure: 0.8}}, 0
    while True:
        candidate = {figure: level - 0.45 * margin}
        best = {"d": judging.marks(champion(best), "d", {figure: level})}
        if not judging.marks_rule("test", candidate, best["d"], {figure: margin}).passed:
            break
        level, steps = candidate[figure], steps + 1
    assert steps == 2 and level >= 0.8 - margin and best == {"d": {figure: 0.8}}


def test_a_label_with_few_passages_has_no_mark() -> None:
    both = pair(0.1, 0.1)
    both[0].truth[:, 1] = both[1].truth[:, 1] = np.arange(400) < judging.LEAST_DUE - 1
    assert judging.margins(both[0]).keys() == {
        "f1/theme/leadership",
        "f1/stance/critical",
        "macro_f1/theme",
        "macro_f1/stance",
    }


def test_marks_of_a_champion_that_was_refused_are_not_held() -> None:
    refused = champion({"d": {"macro_f1/theme": 0.9}}).model_copy(update={"passed": False})
    assert judging.marks(refused, "d", {"macro_f1/theme": 0.83}) == {"macro_f1/theme": 0.83}


def test_the_first_champion_sets_a_mark_without_a_verdict_of_its_own() -> None:
    first = judging.marks(None, "d", {"macro_f1/theme": 0.83})
    assert first == {"macro_f1/theme": 0.83}
    assert not judging.marks_rule("test", {"macro_f1/theme": 0.77}, first, judging.margins(pair(0, 0)[0])).passed


def champion(best: dict[str, dict[str, float]]) -> Verdict:
    return Verdict(
        candidate="c", champion="b", created=datetime(2026, 1, 1, tzinfo=UTC), passed=True, rules=(), comparisons=(),
        new={}, best=best,
    )  # fmt: skip


def test_a_label_that_is_due_nowhere_is_not_given_at_large() -> None:
    truth = np.zeros((100, 3), dtype=bool)
    truth[:50, 1:] = True
    before, after = truth.copy(), truth.copy()
    after[:1, 0] = True
    (rule,) = judging.unseen_rules("test", outcome(before, truth, 20), outcome(after, truth, 20))
    assert rule.name == "not due/test/theme/leadership" and rule.passed
    after[:5, 0] = True  # of so few, chance alone may do that
    assert judging.unseen_rules("test", outcome(before, truth, 20), outcome(after, truth, 20))[0].passed
    after[:23, 0] = True
    assert not judging.unseen_rules("test", outcome(before, truth, 20), outcome(after, truth, 20))[0].passed


def test_a_new_label_is_better_than_if_all_passages_had_it() -> None:
    truth = np.zeros((100, 3), dtype=bool)
    truth[:20, 0] = truth[:50, 1] = truth[: judging.LEAST - 1, 2] = True
    flags = truth.copy()
    flags[:, 1] = True
    flags[:40, 2] = True
    found = {rule.name: rule.passed for rule in judging.unseen_rules("test", None, outcome(flags, truth, 20))}
    names = [f"new/test/{key}" for key in KEYS]
    assert found == dict(zip(names, (True, False, False), strict=True))
    flags[:, 2] = truth[:, 2]
    assert judging.unseen_rules("test", None, outcome(flags, truth, 20))[2].passed


def test_a_bound_that_the_champion_misses_asks_the_candidate_to_be_no_worse() -> None:
    assert judging.bounded("x", 0.01, 0.05, 0.05).passed and judging.bounded("x", 0.09, 0.08, 0.05).passed
    assert not judging.bounded("x", 0.01, 0.06, 0.05).passed and not judging.bounded("x", 0.09, 0.10, 0.05).passed


def test_turns_may_be_missed_no_more_often_beyond_noise() -> None:
    def turn(share: float, *failed: str) -> Direction:
        return Direction("negation", share, 40, failed)

    many = [f"p{n}" for n in range(12)]
    assert judging.turn_rule(turn(0.6, "a", "b"), turn(0.6, "b", "c")).passed
    assert not judging.turn_rule(turn(0.8), turn(0.6, *many)).passed
    assert judging.turn_rule(turn(0.95), turn(0.9, *many)).passed  # enough are seen
    assert judging.turn_rule(turn(0.6, *many), turn(0.8)).passed


@pytest.mark.parametrize(
    ("ratios", "passed"),
    [([1.0, 1.1, 1.2], True), ([1.4, 1.5, 1.6], False), ([0.9, 0.9, 1.5, 3.0, 3.0], True),
     ([1.6, 1.7, 1.55, 1.6, 0.99, 1.62, 1.58], False), ([0.5], True)],
)  # fmt: skip
def test_a_slower_model_is_refused_where_most_rounds_say_so(ratios: list[float], passed: bool) -> None:
    assert judging.speed_rule(ratios).passed is passed


def test_flips_say_what_is_right_now_and_what_was() -> None:
    truth = np.array([[1, 0, 0], [0, 0, 1], [1, 1, 0]], dtype=bool)
    before, after = truth.copy(), truth.copy()
    before[0, 0], after[1, 1], before[2, 2], after[2, 0] = False, True, True, False
    found = {flip.passage: flip for flip in judging.flips("test", outcome(before, truth, 3), outcome(after, truth, 3))}
    assert found["p0"].mended == (KEYS[0],) and not found["p0"].broken and found["p0"].after == found["p0"].due
    assert found["p1"].broken == (KEYS[1],) and not found["p1"].mended
    assert found["p2"].mended == (KEYS[2],) and found["p2"].broken == (KEYS[0],)
    assert found["p1"].text == "Passage 1."


@pytest.fixture(scope="module")
def store(small_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`small`, and the shipped model as `shipped`."""
    root = tmp_path_factory.mktemp("judged") / "store"
    shutil.copytree(small_store, root)
    shipped = Registry().resolve()
    shutil.copytree(shipped, root / shipped.name)
    return root


def test_a_better_model_passes_and_the_worse_one_after_it_is_refused(
    store: Path, small_data: Path, tmp_path: Path
) -> None:
    app = typer.Typer()
    app.command()(judging.main)
    shipped = Registry().resolve(CHAMPION).name
    pages = [tmp_path / "verdict.json", tmp_path / "verdict.html"]
    options = ["--store", str(store), "--data", str(small_data), "-o", str(pages[0]), "-o", str(pages[1])]
    result = CliRunner().invoke(app, [shipped, "--against", "small", *options])
    better = verdict.read(pages[0])
    assert better is not None and better.passed and result.exit_code == 0, result.output
    assert all(d.change > 0 for d in better.comparisons[0].differences if d.figure.startswith("macro_f1/"))
    mended, broken = (sum(len(getattr(flip, what)) for flip in better.flips) for what in ("mended", "broken"))
    assert mended > broken and f'{shipped}: <span class="good">passed' in pages[1].read_text()
    result = CliRunner().invoke(app, ["small", "--against", shipped, *options])
    worse = verdict.read(pages[0])
    assert worse is not None and not worse.passed and result.exit_code == judging.REFUSED
    assert {"labels/test", "macro/test", "marks/test"} <= {rule.name for rule in worse.refusals}
    held = verdict.kept(store, "small")
    assert held is not None and held.refusals == worse.refusals and not held.flips
    shutil.rmtree(store / verdict.KEPT)
    assert {flip.passage: flip.mended for flip in worse.flips} == {f.passage: f.broken for f in better.flips}
    assert ">refused</span>" in pages[1].read_text()


def test_the_store_is_that_of_the_setting(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANDOUR_STORE", str(store))
    app = typer.Typer()
    app.command()(judging.main)
    assert f"no model 'nobodys' in {store}" in str(CliRunner().invoke(app, ["nobodys"]).exception)


def test_text_is_escaped_on_the_page(store: Path, small_data: Path) -> None:
    small = classifier.load("small", store)
    examples = dataset.load([small_data], judging.taxonomy.load())[-100:]
    found = judging.compare(small, small, store, {"test": examples}, [], Floors())
    sharp = verdict.Flip(
        set="test", passage="p", text="<script>alert(1)</script>", due=(), before=(), after=(), mended=(), broken=()
    )
    assert found.passed and not found.flips
    assert "<script>" not in judging.page(found.model_copy(update={"flips": (sharp,)}))


def test_a_figure_below_its_floor_refuses(store: Path, small_data: Path) -> None:
    small = classifier.load("small", store)
    examples = dataset.load([small_data], judging.taxonomy.load())[-100:]
    floors = {f"f1/{KEYS[0]}": 1.0}
    held = Floors(sets={"own": Set(data_sha256=dataset.digest(examples), model="x", figures=floors, floors=floors)})
    (rule,) = judging.floor_rules(small, small, {"own": examples}, held)
    assert not rule.passed and "below its floor of 1.0000" in rule.detail
    (rule,) = judging.floor_rules(small, small, {"test": examples}, held)
    assert rule.passed and "none are kept" in rule.detail


def test_a_label_that_the_champion_lacks_has_its_floor(store: Path, small_data: Path) -> None:
    small = classifier.load("small", store)
    lacking = small.manifest.model_copy(update={"outputs": small.manifest.outputs[1:]})
    before = Classifier(lacking, small.network)
    examples = dataset.load([small_data], judging.taxonomy.load())[-100:]
    reached = gate.figures(evaluate.report(judging.outcome_of(small, examples, judging.all_labels(small))))
    assert reached[f"f1/{small.manifest.outputs[0].key}"] > 0
    for off, passed in ((-0.001, True), (0.001, False)):
        floors = {figure: value + off for figure, value in reached.items()}
        held = Floors(sets={"own": Set(data_sha256=dataset.digest(examples), model="x", figures={}, floors=floors)})
        (rule,) = judging.floor_rules(before, small, {"own": examples}, held)
        assert rule.passed is passed, rule.detail
    # A label that is new to both is none that the passages were labelled with: what it takes from others is not held.
    without = {figure: 1.0 for figure in reached if figure.startswith("f1/") and figure != f"f1/{KEYS[0]}"}
    held = Floors(sets={"own": Set(data_sha256=dataset.digest(examples), model="x", figures={}, floors=without)})
    lacking = small.manifest.model_copy(
        update={"outputs": tuple(output for output in small.manifest.outputs if output.key != KEYS[0])}
    )
    (rule,) = judging.floor_rules(Classifier(lacking, small.network), small, {"own": examples}, held)
    assert KEYS[0] not in rule.detail and not rule.passed


def test_a_model_that_invents_labels_on_corrections_is_refused(store: Path, small_data: Path) -> None:
    """People take labels away more often than they add any, and F1 is of labels that are due."""
    small, shipped = (classifier.load(name, store) for name in ("small", Registry().resolve(CHAMPION).name))
    examples = dataset.load([small_data], judging.taxonomy.load())[-200:]
    given = judging.outcome_of(shipped, examples, judging.all_labels(shipped))
    nothing = {"themes": (), "stances": (), "primary_stance": None}
    taken = [e.model_copy(update=nothing) for e, flags in zip(examples, given.flags, strict=True) if flags.any()]
    assert len(taken) >= 40
    found = judging.compare(small, shipped, store, {"test": examples}, taken, Floors())
    more = [r for r in found.refusals if r.name.startswith("not due/corrections/")]
    assert more and not found.passed
    same = judging.compare(shipped, shipped, store, {"test": examples}, taken, Floors())
    assert not [r for r in same.refusals if r.name.startswith("not due/")]


def test_floors_hold_on_other_passages_where_the_champion_reaches_them(store: Path, small_data: Path) -> None:
    small, shipped = (classifier.load(name, store) for name in ("small", Registry().resolve(CHAMPION).name))
    examples = dataset.load([small_data], judging.taxonomy.load())[-100:]
    held = Floors(sets={"own": Set(data_sha256="0" * 64, model="x", figures={}, floors={"macro_f1/stance": 0.5})})
    (rule,) = judging.floor_rules(shipped, small, {"own": examples}, held)
    assert not rule.passed and "macro_f1/stance" in rule.detail
    (rule,) = judging.floor_rules(small, small, {"own": examples}, held)
    assert rule.passed and "on other passages" in rule.detail


def test_floors_are_there_in_an_installed_copy() -> None:
    assert gate.FLOORS.parent == Path(judging.__file__).parent and gate.read().sets.keys() == {gate.WRITTEN, gate.ALL}


def test_a_verdict_is_kept_without_texts_and_remembers_the_best(store: Path, small_data: Path) -> None:
    small = classifier.load("small", store)
    examples = dataset.load([small_data], judging.taxonomy.load())[-100:]
    first = judging.compare(small, small, store, {"test": examples}, examples[:5], Floors())
    assert [c.name for c in first.comparisons] == ["test", judging.CORRECTIONS]
    assert any("5 passages alone" in rule.detail for rule in first.rules)
    digest = judging.digest_of(dataset.digest(examples), *sorted(d.figure for d in first.comparisons[0].differences))
    assert not any(figure.startswith("f1/") for figure in first.best[digest])  # of so few passages none has a mark
    higher = {name: value + 0.2 for name, value in first.best[digest].items()}
    flip = verdict.Flip(set="test", passage="p", text="secret", due=(), before=(), after=(), mended=(), broken=())
    verdict.keep(store, first.model_copy(update={"best": {digest: higher}, "flips": (flip,)}))
    try:
        assert "secret" not in (store / verdict.KEPT / "small.json").read_text()
        second = judging.compare(small, small, store, {"test": examples}, [], Floors())
        assert second.best[digest] == higher
        assert [rule.name for rule in second.refusals] == ["marks/test"]
        assert "small" in Registry(store).versions() and verdict.KEPT not in Registry(store).versions()
    finally:
        shutil.rmtree(store / verdict.KEPT)


def test_what_holds_no_verdict_says_so(tmp_path: Path) -> None:
    assert verdict.read(tmp_path / "none.json") is None
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(ArtefactError, match="holds no verdict"):
        verdict.read(tmp_path / "bad.json")
