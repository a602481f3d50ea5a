"""What the README says is what the code does."""

import re
from pathlib import Path

from labels import taxonomy
from service.settings import Settings

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
            assert documented[f"CANDOUR_{name.upper()}"][0] == f"`{field.default}`"


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
