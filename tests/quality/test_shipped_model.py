"""The shipped model against its floors, its behaviour, its calibration and its size."""

import numpy as np
import pytest

from labels import dataset, taxonomy
from labels.check import plain_words
from models import manifest, registry
from models.classifier import Classifier
from training import behaviour, evaluate, gate
from training.evaluate_cli import outcome_of

LABELLING = taxonomy.load()
CHANGES = list(behaviour.CHANGES)
RUN = 8
# Targets that the shipped model misses, and what is in the way (training/README.md says what was tried).
NOT_REACHED = {
    "macro_f1/theme": "0.870; the teacher has 0.879, and annotators differ most on themes (labels/data/DATA.md)",
    "f1/stance/defensive": "0.789 on 57 passages; the teacher has 0.870",
    "teacher/stance": "3.8 points behind a teacher that reads who speaks better than six layers do",
    "negation": "84% of the flips",
    "not_inadequate": "79% of the flips",
    "sorry": "68% of the flips",
    "speaker": "69% of the flips",
}


def target(name: str, *values: object) -> object:
    """Parameters of a test; one that no model has passed yet is marked, strictly, so that passing is noticed."""
    return pytest.param(
        name.rpartition("teacher/")[2],
        *values,
        marks=pytest.mark.xfail(reason=NOT_REACHED[name], strict=True) if name in NOT_REACHED else (),
    )


def test_no_figure_is_below_its_floor(champion: Classifier) -> None:
    floors = gate.read()
    assert {gate.WRITTEN, gate.ALL} == floors.sets.keys(), "python -m training.gate --write"
    assert {kept.model for kept in floors.sets.values()} == {champion.version}, "python -m training.gate --write"
    for name, examples in gate.held_out(LABELLING).items():
        assert floors.sets[name].data_sha256 == dataset.digest(examples), name
        report = evaluate.report(outcome_of(champion, examples, LABELLING))
        assert gate.breaches(report, floors.sets[name].floors) == []
        # What the file keeps is what this model measures: a floor is not lowered with an editor.
        assert gate.figures(report) == pytest.approx(floors.sets[name].figures, abs=gate.MARGIN)


def test_floors_are_kept_for_every_label() -> None:
    for name, examples in gate.held_out(LABELLING).items():
        kept, due = gate.read().sets[name], np.sum([e.vector(LABELLING) for e in examples], axis=0)
        margins = gate.margins(dict(zip(LABELLING.keys, due, strict=True)))
        assert margins.keys() <= kept.floors.keys() and len(margins) == len(LABELLING.keys) + 2
        for figure, floor in kept.floors.items():
            assert floor >= kept.figures[figure] - margins.get(figure, gate.MARGIN) - 1e-4, figure


def test_probabilities_are_calibrated(champion: Classifier) -> None:
    report = evaluate.report(outcome_of(champion, gate.held_out(LABELLING)[gate.WRITTEN], LABELLING))
    assert report.calibration_error <= 0.05
    assert report.confident_right is not None and report.confident_right > report.exactly_right


@pytest.mark.parametrize(
    ("name", "least"),
    [
        target("macro_f1/theme", 0.90),
        target("macro_f1/stance", 0.88),
        *(target(f"f1/{key}", 0.80) for key in LABELLING.keys),
    ],
)
def test_the_figures_on_test_reach_their_targets(champion: Classifier, name: str, least: float) -> None:
    assert champion.manifest.metrics[f"test/{name}"] >= least


@pytest.mark.parametrize("axis", ["theme", "stance"])
def test_int8_costs_at_most_half_a_point(champion: Classifier, axis: str) -> None:
    metrics = champion.manifest.metrics
    assert metrics[f"test/macro_f1/{axis}"] >= metrics[f"float32/macro_f1/{axis}"] - 0.005


@pytest.mark.parametrize("axis", [target("teacher/theme"), target("teacher/stance")])
def test_the_student_is_within_a_point_and_a_half_of_its_teacher(champion: Classifier, axis: str) -> None:
    metrics = champion.manifest.metrics
    assert metrics[f"test/macro_f1/{axis}"] >= metrics[f"teacher/test/macro_f1/{axis}"] - 0.015


def test_the_network_fits() -> None:
    folder = registry.Registry().resolve()
    assert (folder / manifest.MODEL).stat().st_size < 26e6


@pytest.fixture(scope="module")
def invariances(champion: Classifier) -> dict[str, behaviour.Invariance]:
    return {found.name: found for found in behaviour.invariances(behaviour.bases(), champion)}


@pytest.fixture(scope="module")
def directions(champion: Classifier) -> dict[str, behaviour.Direction]:
    return {found.name: found for found in behaviour.directions(behaviour.turns(LABELLING), champion)}


@pytest.mark.parametrize("change", CHANGES)
def test_what_means_nothing_flips_few_labels(invariances: dict[str, behaviour.Invariance], change: str) -> None:
    assert invariances[change].flipped <= behaviour.MOST_FLIPPED, invariances[change]


@pytest.mark.parametrize("kind", [target(kind) for kind in ("negation", "not_inadequate", "sorry", "speaker")])
def test_what_turns_the_meaning_turns_the_label(directions: dict[str, behaviour.Direction], kind: str) -> None:
    assert directions[kind].turned >= behaviour.LEAST_TURNED, directions[kind]


def test_no_behaviour_case_shares_words_with_a_labelled_passage() -> None:
    """Eight words in a row: what a sentence that was copied has, and two that say the same have not."""
    cases = [case.text for case in behaviour.bases()]
    cases += [text for turn in behaviour.turns(LABELLING) for text in (turn.before, turn.after)]
    held = {run for example in dataset.load([dataset.WRITTEN], LABELLING) for run in _runs(example.text)}
    assert not [case for case in cases if held & _runs(case)]


def _runs(text: str) -> set[tuple[str, ...]]:
    words = plain_words(text)
    return {tuple(words[n : n + RUN]) for n in range(len(words) - RUN + 1)}
