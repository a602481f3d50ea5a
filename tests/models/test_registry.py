"""The store on disk: published whole or not at all, verified, promoted and rolled back."""

import json
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier

import pytest

from models import classifier, manifest, verdict
from models.manifest import ArtefactError
from models.registry import Registry
from models.verdict import Verdict
from tests.models import variants


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


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six versions: `now` is the champion, `base` the one before, `next` the candidate; the others have no alias."""
    store = variants.store(tmp_path_factory.mktemp("several"), "now", "next", "spare", "older", "oldest")
    Registry(store).promote("now")
    Registry(store).nominate("next")
    for version, created in (("spare", 3), ("older", 2), ("oldest", 1)):
        path = store / version / manifest.MANIFEST
        found = json.loads(path.read_text())
        path.write_text(json.dumps(found | {"created": f"2020-01-0{created}T00:00:00Z"}))
    return store


def visible(store: Path) -> set[str]:
    return {path.name for path in store.iterdir()}


def test_the_candidate_that_is_promoted_is_no_candidate_any_more(several: Path, tmp_path: Path) -> None:
    registry = Registry(variants.linked(several, tmp_path / "store"))
    assert registry.aliases() == {"champion": "now", "previous": "base", "candidate": "next"}
    registry.nominate("spare")
    registry.promote("next")
    assert registry.aliases() == {"champion": "next", "previous": "now", "candidate": "spare"}
    registry.promote("candidate")
    assert registry.aliases() == {"champion": "spare", "previous": "next"}
    registry.rollback()
    registry.rollback()
    assert registry.aliases() == {"champion": "spare", "previous": "next"}


def test_pruning_leaves_what_an_alias_names(several: Path, tmp_path: Path) -> None:
    registry = Registry(variants.linked(several, tmp_path / "store"))
    assert registry.unnamed() == ["oldest", "older", "spare"]
    registry.prune(["oldest", "older"])
    assert registry.versions() == ["base", "next", "now", "spare"]
    for name in ("now", "champion", "previous", "next"):
        with pytest.raises(ArtefactError, match="is not removed"):
            registry.prune(["spare", name])
    with pytest.raises(ArtefactError, match="no model"):
        registry.prune(["spare", "../store"])
    assert visible(registry.root) == {"aliases.json", "base", "next", "now", "spare"}


def test_a_version_that_cannot_be_read_counts_as_the_oldest(several: Path, tmp_path: Path) -> None:
    registry = Registry(variants.linked(several, tmp_path / "store"))
    (registry.root / "spare" / manifest.MANIFEST).unlink()
    (registry.root / "spare" / manifest.MANIFEST).write_text("{")
    assert registry.unnamed() == ["spare", "oldest", "older"]


def test_pruning_leaves_a_version_that_is_being_published(several: Path, tmp_path: Path) -> None:
    registry = Registry(variants.linked(several, tmp_path / "store"))
    (registry.root / ".publishing-dead").mkdir()
    with registry.publishing("new") as folder:
        registry.prune([])
        assert visible(registry.root) & {folder.name, ".publishing-dead"} == {folder.name}
        for file in (*manifest.FILES, manifest.MANIFEST):
            shutil.copy(several / "base" / file, folder / file)
        found = json.loads((folder / manifest.MANIFEST).read_text())
        (folder / manifest.MANIFEST).write_text(json.dumps(found | {"version": "new"}))
    assert registry.verify("new").version == "new"


def test_of_two_publications_of_one_name_the_second_is_refused(several: Path, tmp_path: Path) -> None:
    registry = Registry(variants.linked(several, tmp_path / "store"))
    with pytest.raises(ArtefactError, match="exists already"), registry.publishing("new") as folder:
        variants.publish(registry.root, "new")
        shutil.copytree(registry.root / "new", folder, dirs_exist_ok=True)
    assert registry.verify("new").version == "new"


def test_an_alias_of_a_version_that_is_gone_says_so(several: Path, tmp_path: Path) -> None:
    registry = Registry(variants.linked(several, tmp_path / "store"))
    shutil.rmtree(registry.root / "now")
    with pytest.raises(ArtefactError, match=r"champion is 'now' in .*, and there is no model of that name"):
        registry.resolve()


def test_what_was_said_of_a_version_that_was_removed_by_hand_is_not_said_of_another(
    several: Path, tmp_path: Path
) -> None:
    registry = Registry(variants.linked(several, tmp_path / "store"))
    said = Verdict(
        candidate="spare", champion="now", created=datetime.now(UTC), passed=True, rules=(), comparisons=(), new={},
        best={},
    )  # fmt: skip
    verdict.keep(registry.root, said)
    shutil.rmtree(registry.root / "spare")
    variants.publish(registry.root, "spare")
    assert verdict.kept(registry.root, "spare") is None


TAKEN = ["champion", "candidate", "previous", "verdicts", "manifest", "aliases.json", "../x", ".x", ""]


@pytest.mark.parametrize("name", TAKEN)
def test_a_version_cannot_have_the_name_of_an_alias_or_of_the_stores_own_files_or_none(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(ArtefactError, match="is no name for a version"):
        Registry(tmp_path).ensure_new(name)


def test_a_folder_that_holds_another_version_than_its_name_says_is_not_promoted(several: Path, tmp_path: Path) -> None:
    registry = Registry(variants.linked(several, tmp_path / "store"))
    variants.linked(registry.root / "spare", registry.root / "renamed")
    with pytest.raises(ArtefactError, match="its manifest says 'spare'"):
        registry.promote("renamed")
    assert registry.aliases()["champion"] == "now"


def test_who_changes_the_aliases_at_the_same_time_loses_nothing(several: Path, tmp_path: Path) -> None:
    store = variants.linked(several, tmp_path / "store")
    lost = []
    with ThreadPoolExecutor(1) as pool:
        promoting = pool.submit(lambda: [Registry(store).promote(("now", "base")[n % 2]) for n in range(60)])
        while not promoting.done():
            for version in ("spare", "older"):
                Registry(store).nominate(version)
                lost += [version] if Registry(store).aliases()["candidate"] != version else []
        promoting.result()
    assert not lost
    assert Registry(store).aliases() == {"champion": "base", "previous": "now", "candidate": "older"}


def test_what_was_held_against_another_champion_changes_nothing(several: Path, tmp_path: Path) -> None:
    registry = Registry(variants.linked(several, tmp_path / "store"))
    before = (registry.root / "aliases.json").stat().st_ino
    why = "^base, which spare was held against, is no longer the champion$"
    for name_it in (registry.promote, registry.nominate):
        with pytest.raises(ArtefactError, match=why):
            name_it("spare", over="base")
    assert (registry.root / "aliases.json").stat().st_ino == before
    registry.nominate("spare", over="now")
    assert registry.aliases() == {"champion": "now", "previous": "base", "candidate": "spare"}
    registry.promote("candidate", over="now")
    assert registry.aliases() == {"champion": "spare", "previous": "now"}
    registry.promote("spare", over="now")  # as one does who was cut off, and knows not whether it was done
    assert registry.aliases() == {"champion": "spare", "previous": "now"}
    with pytest.raises(ArtefactError, match="is no longer the champion"):
        registry.nominate("older", over="now")


def test_of_two_that_follow_the_same_champion_at_the_same_time_one_does(several: Path, tmp_path: Path) -> None:
    store = variants.linked(several, tmp_path / "store")

    def promoted(version: str) -> bool:
        together.wait()
        try:
            Registry(store).promote(version, over="now")
        except ArtefactError as error:
            assert str(error) == f"now, which {version} was held against, is no longer the champion"
            return False
        return True

    together = Barrier(2)
    with ThreadPoolExecutor(2) as pool:
        for _ in range(30):
            Registry(store).promote("now")
            followed = dict(zip(("spare", "older"), pool.map(promoted, ("spare", "older")), strict=True))
            assert sorted(followed.values()) == [False, True]
            found = Registry(store).aliases()
            assert followed[found["champion"]] and found["previous"] == "now"


AFTER = {
    "publish": {"champion": "now", "previous": "base", "candidate": "next"},
    "nominate": {"champion": "now", "previous": "base", "candidate": "spare"},
    "promote": {"champion": "next", "previous": "now"},
    "rollback": {"champion": "base", "previous": "now", "candidate": "next"},
    "prune": {"champion": "now", "previous": "base", "candidate": "next"},
}


@pytest.mark.parametrize("action", AFTER)
def test_who_is_killed_at_any_step_leaves_a_whole_champion(several: Path, tmp_path: Path, action: str) -> None:
    before = Registry(several).aliases()
    step, status = 0, -signal.SIGKILL
    while status == -signal.SIGKILL:
        step += 1
        store = variants.linked(several, tmp_path / str(step))
        ran = subprocess.run(
            [sys.executable, "-m", "tests.models.killed", store, action, str(step)],
            cwd=Path(__file__).parents[2], capture_output=True, text=True,
        )  # fmt: skip
        status = ran.returncode
        assert status in (0, -signal.SIGKILL), ran.stderr
        registry = Registry(store)
        assert registry.aliases() in (before, AFTER[action])
        if status == 0:
            assert registry.aliases() == AFTER[action]
        for name in [*registry.aliases(), *registry.versions()]:
            registry.verify(name)
        # Nothing is in the way of whoever comes next, and what was left is swept up.
        registry.promote("base")
        registry.prune(registry.unnamed())
        assert visible(store) == {"aliases.json", *registry.aliases().values()}
    assert step > 3


def test_the_file_of_aliases_can_be_read_by_others(several: Path, tmp_path: Path) -> None:
    store = variants.linked(several, tmp_path / "store")
    umask = os.umask(0o022)
    try:
        Registry(store).rollback()
        variants.publish(store, "new")
    finally:
        os.umask(umask)
    assert (store / "aliases.json").stat().st_mode & 0o777 == 0o644
    assert (store / "new").stat().st_mode & 0o777 == 0o755
