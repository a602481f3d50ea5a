"""The table of ideas, and that each idea is what it says."""

import json
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner

from training import ablation
from training.train import RecipeTrainer, Settings


def line(idea: str, seed: int, mean_ap: float) -> dict[str, object]:
    return {"idea": idea, "seed": seed, "mean_ap": mean_ap, "themes": 0.8, "stances": 0.7}


def test_the_table_gives_the_gain_over_the_same_seed_with_its_spread() -> None:
    runs = [line("plain", 1, 0.70), line("plain", 2, 0.80), line("R-Drop", 1, 0.72), line("R-Drop", 2, 0.81)]
    rows = ablation.markdown([*runs, line("R-Drop", 3, 0.99)]).splitlines()  # seed 3 has nothing to be compared with
    assert rows[2] == "| plain | 2 | 75.0 | 80.0 | 70.0 |"
    assert rows[3] == "| R-Drop | 2 | +1.5 [+1.0, +2.0] | +0.0 [+0.0, +0.0] | +0.0 [+0.0, +0.0] |"


def test_without_the_plain_recipe_there_is_nothing_to_compare_with() -> None:
    with pytest.raises(typer.BadParameter, match="no run of the plain recipe"):
        ablation.markdown([line("R-Drop", 1, 0.7)])


def test_the_asymmetric_loss_without_gamma_and_margin_is_cross_entropy() -> None:
    logits, wanted = torch.randn(64, 8), torch.rand(64, 8)
    trainer = RecipeTrainer.__new__(RecipeTrainer)
    trainer.settings = Settings(gamma=0.0, margin=0.0)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    assert torch.equal(trainer.of_labels(logits, wanted), expected)


def test_the_asymmetric_loss_counts_easy_negatives_for_less_and_positives_in_full() -> None:
    trainer = RecipeTrainer.__new__(RecipeTrainer)
    trainer.settings = Settings()
    off, on = torch.zeros(1, 1), torch.ones(1, 1)
    easy, hard = torch.full((1, 1), -3.0), torch.full((1, 1), 3.0)
    assert trainer.of_labels(easy, off) < 1e-4 < trainer.of_labels(hard, off)
    assert torch.allclose(trainer.of_labels(hard, on), torch.nn.functional.softplus(-hard))
    assert trainer.of_labels(torch.full((1, 1), 90.0), off).isfinite()


def test_a_run_is_added_to_the_file_and_not_run_twice(small_data: Path, tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(ablation.ablate)
    file = tmp_path / "runs.jsonl"
    options = [
        str(file),
        "--idea",
        "plain",
        "--data",
        str(small_data),
        "--seeds",
        "1",
        "--epochs",
        "1",
        "--share",
        "0.2",
    ]
    assert CliRunner().invoke(app, options).exit_code == 0
    (run,) = map(json.loads, file.read_text().splitlines())
    assert run["idea"] == "plain" and 0 < run["mean_ap"] < 1 and run["train"] < 100
    assert CliRunner().invoke(app, options).exit_code == 0
    assert len(file.read_text().splitlines()) == 1
    table = CliRunner().invoke(app, [str(file), "--table"])
    assert "| plain | 1 |" in table.stdout
    other = CliRunner().invoke(app, [*options[:-1], "0.3"])
    assert other.exit_code == 2 and "another setting" in other.output
    wrong = CliRunner().invoke(app, [str(file), "--idea", "magic"])
    assert wrong.exit_code == 2


def test_the_table_of_the_readme_is_that_of_the_runs() -> None:
    folder = Path(ablation.__file__).parent
    runs = [json.loads(line) for line in (folder / "ablation.jsonl").read_text().splitlines()]
    readme = (folder / "README.md").read_text(encoding="utf-8")
    kept = readme.split("<!-- ablation -->\n")[1].split("<!-- end of ablation -->")[0]
    assert kept.strip() == ablation.markdown(runs)
