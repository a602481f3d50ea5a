"""The store on disk: published whole or not at all, verified, promoted and rolled back."""

import json
import shutil
from pathlib import Path

import pytest

from models import classifier, manifest
from models.manifest import ArtefactError
from models.registry import Registry


@pytest.fixture
def store(small_store: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_store, tmp_path / "store"))


def add(store: Path, version: str) -> None:
    """Publish a copy of `small` under another name."""
    with Registry(store).publishing(version) as folder:
        for name in manifest.FILES:
            shutil.copy(store / "small" / name, folder / name)
        found = json.loads((store / "small" / manifest.MANIFEST).read_text())
        (folder / manifest.MANIFEST).write_text(json.dumps(found | {"version": version}))


def test_the_first_version_is_the_champion(store: Path) -> None:
    assert Registry(store).aliases() == {"champion": "small"}
    assert classifier.load(root=store).version == "small"


def test_promote_and_roll_back(store: Path) -> None:
    registry = Registry(store)
    add(store, "second")
    registry.promote("second")
    assert registry.aliases() == {"champion": "second", "previous": "small"}
    assert classifier.load(root=store).version == "second"
    registry.rollback()
    assert classifier.load(root=store).version == "small"
    assert registry.versions() == ["second", "small"]


def test_rollback_without_a_previous_champion_is_refused(store: Path) -> None:
    with pytest.raises(ArtefactError, match="no previous champion"):
        Registry(store).rollback()


@pytest.mark.parametrize("name", manifest.FILES)
def test_a_file_that_changed_since_it_was_published_is_refused(store: Path, name: str) -> None:
    with (store / "small" / name).open("ab") as file:
        file.write(b"\n")
    with pytest.raises(ArtefactError, match="not the published file"):
        classifier.load(root=store)
    with pytest.raises(ArtefactError):
        Registry(store).promote("small")


def test_a_missing_file_is_refused(store: Path) -> None:
    (store / "small" / manifest.TOKENIZER).unlink()
    with pytest.raises(ArtefactError, match="cannot be read"):
        classifier.load(root=store)


def test_a_version_is_never_overwritten(store: Path) -> None:
    with pytest.raises(ArtefactError, match="exists already"):
        add(store, "small")


def test_a_publication_that_fails_leaves_nothing(store: Path) -> None:
    with pytest.raises(RuntimeError), Registry(store).publishing("broken") as folder:
        (folder / manifest.MODEL).write_bytes(b"half")
        raise RuntimeError
    assert Registry(store).versions() == ["small"]
    assert sorted(path.name for path in store.iterdir()) == ["aliases.json", "small"]


@pytest.mark.parametrize("name", ["none", "../small", ".", ""])
def test_an_unknown_name_says_what_there_is(store: Path, name: str) -> None:
    with pytest.raises(ArtefactError, match=r"there is: champion, small"):
        Registry(store).resolve(name)


@pytest.mark.parametrize("content", ["{", "[]", '{"champion": 1}'])
def test_damaged_aliases_are_said_to_be(store: Path, content: str) -> None:
    (store / "aliases.json").write_text(content)
    with pytest.raises(ArtefactError, match="damaged"):
        Registry(store).resolve()


@pytest.mark.parametrize(
    ("field", "value"),
    [("schema_version", 99), ("outputs", []), ("version", "../x"), ("sha256", {}), ("surprise", 1)],
)
def test_a_manifest_that_does_not_fit_is_refused(store: Path, field: str, value: object) -> None:
    path = store / "small" / manifest.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(
        ArtefactError, match="cannot be used" if field != "schema_version" else "another version of candour"
    ):
        classifier.load(root=store)


def test_a_manifest_that_names_other_outputs_than_the_network_has_is_refused(store: Path) -> None:
    path = store / "small" / manifest.MANIFEST
    found = json.loads(path.read_text())
    path.write_text(json.dumps(found | {"outputs": found["outputs"][:-1]}))
    with pytest.raises(ArtefactError, match="8 outputs"):
        classifier.load(root=store)


def test_a_model_of_another_segmentation_is_refused(store: Path) -> None:
    path = store / "small" / manifest.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | {"segmentation": "0"}))
    with pytest.raises(ArtefactError, match="segmentation 0"):
        classifier.load(root=store)
