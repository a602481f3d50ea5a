"""Floors: what falls below one is named, and none sinks without a flag and a reason."""

from datetime import date
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from labels import dataset, taxonomy
from training import gate
from training.evaluate import LabelScores, Report
from training.gate import Floors, GateError, Set

NAME = "f1/stance/critical"
TODAY = date(2026, 11, 22)


def report(f1: float) -> Report:
    label = LabelScores("stance/critical", 0.9, 0.9, f1, 0.9, (0.8, 0.95), 40, 0.02)
    return Report((label,), {"stance": f1}, {"stance": (0.8, 0.95)}, 0.9, 0.7, 0.02, 0.6, 0.9, 100)


def held(floor: float) -> Floors:
    return Floors(sets={"written": Set(data_sha256="0" * 64, model="one", figures={NAME: floor}, floors={NAME: floor})})


def measured(f1: float) -> Set:
    return Set(data_sha256="0" * 64, model="two", figures={NAME: f1}, floors={NAME: f1 - 0.02})


def test_a_floor_lies_a_margin_below_the_figure_and_that_of_a_label_of_few_passages_a_wider_one() -> None:
    found = gate.measured(report(0.8), "0" * 64, "two")
    assert found.figures[NAME] == found.figures["macro_f1/stance"] == 0.8
    assert found.floors["primary_accuracy"] == pytest.approx(0.9 - gate.MARGIN)
    assert found.floors[NAME] == pytest.approx(0.8 - gate.margin(40), abs=1e-4)
    assert gate.margin(40) == pytest.approx(2 * gate.margin(160)) and gate.margin(10_000) == gate.MARGIN


def test_the_margin_of_macro_f1_is_that_of_a_mean() -> None:
    """By simulation: labels that differ by chance alone, as they do from run to run."""
    supports, runs = (121, 57, 58, 85), np.random.default_rng(1).normal(size=(100_000, 4))
    apart = (runs * gate.RUNS / np.sqrt(supports)).mean(axis=1)
    assert (apart < -gate.margin(*supports)).mean() == pytest.approx(0.023, abs=0.003)
    found = gate.margins({"theme/a": 50, "theme/gone": 0, "stance/b": 60, "stance/c": 70})
    assert found.keys() == {"f1/theme/a", "f1/stance/b", "f1/stance/c", "macro_f1/theme", "macro_f1/stance"}
    assert found["macro_f1/stance"] == gate.margin(60, 70) and found["macro_f1/theme"] == gate.margin(50)


def test_a_figure_below_its_floor_is_named_and_one_at_it_is_not() -> None:
    floors = gate.figures(report(0.8))
    assert gate.breaches(report(0.8), floors) == []
    assert gate.breaches(report(0.79), floors) == [
        "f1/stance/critical is 0.7900, below its floor of 0.8000",
        "macro_f1/stance is 0.7900, below its floor of 0.8000",
    ]


def test_a_label_that_is_gone_is_below_its_floor() -> None:
    assert gate.breaches(report(0.9), {"f1/theme/gone": 0.5}) == ["f1/theme/gone is 0.0000, below its floor of 0.5000"]


def test_a_floor_rises_without_a_word_and_stays_where_the_figure_is_a_little_over_it() -> None:
    assert gate.raised(held(0.7), "written", measured(0.8), False, "", TODAY).sets["written"].floors == {NAME: 0.78}
    found = gate.raised(held(0.7), "written", measured(0.71), False, "", TODAY)
    assert found.sets["written"].floors == {NAME: 0.7} and found.sets["written"].figures == {NAME: 0.71}
    assert found.lowered == ()


@pytest.mark.parametrize(("lower", "reason"), [(False, ""), (False, "because"), (True, " ")])
def test_a_floor_does_not_sink_without_the_flag_and_a_reason(lower: bool, reason: str) -> None:
    with pytest.raises(GateError, match=r"f1/stance/critical is 0\.6000, not 0\.7000.*--lower and --reason"):
        gate.raised(held(0.7), "written", measured(0.6), lower, reason, TODAY)


def test_a_lowered_floor_keeps_its_reason_and_those_before_it() -> None:
    once = gate.raised(held(0.7), "written", measured(0.6), True, "harder test passages", TODAY)
    twice = gate.raised(once, "written", measured(0.5), True, "again", TODAY)
    assert [(x.before, x.after, x.reason) for x in twice.lowered] == [
        (0.7, 0.58, "harder test passages"),
        (0.58, 0.48, "again"),
    ]
    assert Floors.model_validate_json(twice.model_dump_json()) == twice


def test_floors_sink_to_a_wider_margin_with_a_reason_alone() -> None:
    wider = measured(0.71).model_copy(update={"floors": {NAME: 0.6}})
    assert gate.raised(held(0.7), "written", wider, False, "wider", TODAY).sets["written"].floors == {NAME: 0.7}
    assert gate.raised(held(0.7), "written", wider, True, " ", TODAY).sets["written"].floors == {NAME: 0.7}
    found = gate.raised(held(0.7), "written", wider, True, "wider", TODAY)
    assert found.sets["written"].floors == {NAME: 0.6}
    assert [(x.before, x.after, x.reason) for x in found.lowered] == [(0.7, 0.6, "wider")]


def test_test_passages_are_named_by_the_files_that_they_are_of(small_data: Path) -> None:
    labelling = taxonomy.load()
    assert list(gate.held_out(labelling, [dataset.WRITTEN])) == [gate.WRITTEN]
    assert list(gate.held_out(labelling, [small_data])) == [gate.OTHER]
    both = gate.held_out(labelling, [small_data, dataset.WRITTEN])
    assert list(both) == [gate.WRITTEN, gate.OTHER] and len(both[gate.OTHER]) > len(both[gate.WRITTEN])


def test_a_file_that_holds_no_floors_says_so(tmp_path: Path) -> None:
    assert gate.read(tmp_path / "none.json") == Floors()
    (tmp_path / "floors.json").write_text('{"sets": {"written": {"figures": {}}}}')
    with pytest.raises(GateError, match=r"does not hold floors: sets\.written\.data_sha256"):
        gate.read(tmp_path / "floors.json")


def test_the_command_sets_floors_holds_a_model_against_them_and_refuses_to_lower(
    small_store: Path, tmp_path: Path
) -> None:
    app = typer.Typer()
    app.command()(gate.main)
    file = tmp_path / "floors.json"
    options = ["small", "--store", str(small_store), "--floors", str(file)]
    runner = CliRunner()
    assert isinstance(runner.invoke(app, options).exception, GateError)  # nothing to hold it against
    assert runner.invoke(app, [*options, "--write"]).exit_code == 0
    assert runner.invoke(app, options).exit_code == 0
    raised = gate.read(file)
    written = raised.sets["written"]
    above = written.model_copy(update={"floors": dict.fromkeys(written.figures, 0.99)})
    file.write_text(raised.model_copy(update={"sets": {**raised.sets, "written": above}}).model_dump_json())
    assert runner.invoke(app, options).exit_code == 1
    assert isinstance(runner.invoke(app, [*options, "--write"]).exception, GateError)
    assert runner.invoke(app, [*options, "--write", "--lower", "--reason", "a test"]).exit_code == 0
    assert {told.reason for told in gate.read(file).lowered} == {"a test"}
