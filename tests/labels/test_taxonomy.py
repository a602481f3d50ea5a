"""The taxonomy file: what it must hold, and what is said when it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from labels import taxonomy
from labels.taxonomy import PACKAGED, TaxonomyError

SOUND = PACKAGED.read_text(encoding="utf-8")


def load(path: Path, text: str) -> taxonomy.Taxonomy:
    path.write_text(text, encoding="utf-8")
    return taxonomy.load(path)


def test_the_packaged_one_has_four_themes_and_four_stances() -> None:
    packaged = taxonomy.load()
    assert packaged.themes == ("thresholds", "care_planning", "missing_children", "leadership")
    assert packaged.stances == ("critical", "defensive", "apologetic", "supportive")
    assert packaged.keys[0] == "theme/thresholds"
    assert packaged.keys[-1] == "stance/supportive"


def test_the_digest_changes_with_what_a_label_means(tmp_path: Path) -> None:
    changed = load(tmp_path / "t.yaml", SOUND.replace("flat that she had left", "home that she had left"))
    assert changed.keys == taxonomy.load().keys
    assert changed.digest != taxonomy.load().digest


def test_a_label_is_added_by_an_entry(tmp_path: Path) -> None:
    entry = "      - {name: housing, title: Housing, definition: Homes., not_when: Never., examples: [A home.]}\n"
    stances = SOUND.index("  stance:")
    grown = load(tmp_path / "t.yaml", SOUND[:stances] + entry + SOUND[stances:])
    assert grown.themes == (*taxonomy.load().themes, "housing")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('version: "1.0"', "version: 1", "needs a 'version'"),
        ("name: thresholds", "name: care_planning", "named twice: theme/care_planning"),
        ("name: thresholds", "name: Thresholds", "theme label 1: name 'Thresholds' must be lower case"),
        ("title: Thresholds", "title: ''", "theme label 1: title is missing"),
        ("  stance:", "  mood:", "axes must be theme, stance"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in SOUND
    with pytest.raises(TaxonomyError, match=said):
        load(tmp_path / "t.yaml", SOUND.replace(old, new, 1))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TaxonomyError, match="cannot be read"):
        taxonomy.load(tmp_path / "none.yaml")
