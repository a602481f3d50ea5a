"""Groups go one way and stay there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from labels import dataset, splits, taxonomy
from labels.dataset import DatasetError


def test_the_hash_rule_does_not_move() -> None:
    """Changing these changes what every model was tested on."""
    assert [splits.hashed(name) for name in ("barnsley", "camden", "devon", "lancashire")] == [
        "train", "train", "dev", "dev",
    ]  # fmt: skip


def test_the_file_decides_before_the_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "splits.json"
    file.write_text(json.dumps({"barnsley": "test"}))
    monkeypatch.setattr(splits, "FIXED", file)
    splits.fixed.cache_clear()
    try:
        assert splits.split_of("barnsley") == "test"
        assert splits.split_of("devon") == "dev"
    finally:
        splits.fixed.cache_clear()


def test_fixing_adds_and_never_moves(tmp_path: Path) -> None:
    file = tmp_path / "splits.json"
    assert splits.fix(file, ["devon", "barnsley"]) == ["barnsley", "devon"]
    file.write_text(json.dumps({"barnsley": "test", "devon": "dev"}))
    assert splits.fix(file, ["barnsley", "camden"]) == ["camden"]
    assert splits.read(file) == {"barnsley": "test", "devon": "dev", "camden": "train"}
    splits.fixed.cache_clear()


@pytest.mark.parametrize("content", ["{", "[]", '{"barnsley": "validation"}'])
def test_a_file_that_is_none(tmp_path: Path, content: str) -> None:
    file = tmp_path / "splits.json"
    file.write_text(content)
    with pytest.raises(DatasetError, match=r"splits\.json:1"):
        splits.read(file)


def test_no_authority_and_no_document_stands_in_two_splits() -> None:
    divided = splits.divide(dataset.load([dataset.WRITTEN], taxonomy.load()))
    assert all(divided.values())
    for name in ("group", "document"):
        held = [{getattr(example, name) for example in examples} for examples in divided.values()]
        assert len(set.union(*held)) == sum(map(len, held)), name


def test_the_packaged_file_was_made_by_the_rule() -> None:
    for group, split in splits.read(splits.FIXED).items():
        assert splits.split_of(group) == split
