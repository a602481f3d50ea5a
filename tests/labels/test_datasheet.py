"""The datasheet's figures are those of the data, and the set holds what the project promises of it."""

from pathlib import Path

import pytest
import typer

from labels import agreement, dataset, references, taxonomy
from training import datasheet

LABELLING = taxonomy.load()


def test_the_figures_are_current() -> None:
    with pytest.raises(typer.Exit) as done:
        datasheet.datasheet(check=True)
    assert done.value.exit_code == 0


def test_figures_that_are_not_current_are_found_and_mended(tmp_path: Path) -> None:
    copy = tmp_path / "DATA.md"
    copy.write_text(datasheet.DATASHEET.read_text(encoding="utf-8").replace("| passages |", "| passages | 1"))
    with pytest.raises(typer.Exit) as done:
        datasheet.datasheet(check=True, path=copy)
    assert done.value.exit_code == 1
    datasheet.datasheet(path=copy)
    assert copy.read_text(encoding="utf-8") == datasheet.DATASHEET.read_text(encoding="utf-8")


def test_enough_of_everything() -> None:
    written = dataset.load([dataset.WRITTEN], LABELLING)
    reports = references.read(references.REFERENCES, LABELLING)
    assert len({e.document for e in written}) >= 200 and len(written) >= 2500
    assert len({r.file for r in reports}) >= 200 and len(reports) >= 4000
    counts = {stance: sum(stance in e.stances for e in written) for stance in LABELLING.stances}
    assert counts["apologetic"] >= 350 and counts["defensive"] >= 350
    assert sum(not e.themes and not e.stances for e in written) >= 500
    for key, row in zip(LABELLING.keys, zip(*(e.vector(LABELLING) for e in written), strict=True), strict=True):
        assert sum(row) >= 60, key


@pytest.mark.parametrize("kind", ["written", "reports"])
def test_two_annotators_agree_on_every_label(kind: str) -> None:
    first, second = (
        agreement.read(datasheet.DOUBLES / f"{kind}-{side}.jsonl", LABELLING) for side in ("first", "second")
    )
    found = agreement.compare(first, second, LABELLING)
    assert found.passages >= 400
    assert all(label.kappa is None or label.kappa >= 0.75 for label in found.labels)
