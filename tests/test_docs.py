"""What the README says is what the code does."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from labels import taxonomy
from service.settings import Settings
from tests.service.serving import served

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def table(heading: str) -> dict[str, list[str]]:
    """The first table below a heading: first cell (without backticks) to the others."""
    section = README.split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    return {row[0].strip("`"): row[1:] for row in rows[2:]}


def test_every_setting_is_documented_with_its_default() -> None:
    documented = table("Settings")
    fields = Settings.model_fields
    assert set(documented) == {f"CANDOUR_{name.upper()}" for name in fields}
    for name, field in fields.items():
        if name != "store":  # a path of this machine
            value = list(field.default) if isinstance(field.default, tuple) else field.default
            default = "none" if value is None else f"`{value}`"
            assert documented[f"CANDOUR_{name.upper()}"][0] == default


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(Settings(database=f"sqlite:///{tmp_path_factory.mktemp('docs')}/candour.db")) as url:
        yield url


def example(language: str) -> str:
    """The first block after the comment that marks the examples of a language."""
    return README.split(f"<!-- {language} -->\n")[1].split("```")[1].split("\n", 1)[1]


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_shell_examples_answer(url: str, tmp_path: Path) -> None:
    (tmp_path / "samples").symlink_to(ROOT / "samples")
    commands = example("shell")
    ran = subprocess.run(
        ["bash", "-ec", f'curl() {{ command curl -S --fail-with-body "$@" && echo; }}\nset -o pipefail\n{commands}'],
        cwd=tmp_path, env=os.environ | {"URL": url}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert ran.returncode == 0, (ran.stdout, ran.stderr)
    # The ids of the batch and of the passage, and the file, are not printed.
    assert len(re.findall(r"^[{#]", ran.stdout, re.MULTILINE)) >= commands.count("curl -s") - 3
    assert (tmp_path / "rows.csv").stat().st_size


def test_the_three_tables_answer_the_same(tmp_path: Path) -> None:
    (tmp_path / "samples").symlink_to(ROOT / "samples")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    ran = subprocess.run(
        ["bash", "-ec", example("tables")], cwd=tmp_path, env=os.environ | {"PATH": path}, capture_output=True,
        text=True, timeout=120,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    found = re.findall(r"^\W*(Tarnholme)\W+(\d+)\W+([\d.]+)", ran.stdout, re.MULTILINE)
    assert len(found) == 3 and len({(council, count, round(float(share), 5)) for council, count, share in found}) == 1


def test_the_python_example_runs(url: str) -> None:
    code = example("python").replace("http://127.0.0.1:8000", url)
    assert url in code
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    printed = ran.stdout.splitlines()
    assert "apologetic" in printed[0] and printed[1].startswith("The report criticises")
    assert sum("error=" in line for line in printed) == 1


def test_every_label_is_in_the_table_of_labels_and_in_the_guide() -> None:
    names = [label.name for label in taxonomy.load().labels]
    assert list(table("The labels")) == names
    guide = (ROOT / "labels" / "GUIDE.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in guide for name in names)


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_every_make_target_that_the_readme_names_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"\bmake (\w+)", README)) - {"on"}:
        assert re.search(rf"^{target}:", makefile, re.M), target


def test_every_sample_that_the_readme_names_exists() -> None:
    for name in re.findall(r"samples/[\w.-]+\.\w+", README):
        assert (ROOT / name).is_file(), name
