"""Fixtures: one small real model a session, trained by the recipe itself on part of the packaged set."""

from __future__ import annotations

from pathlib import Path

import pytest

from labels import dataset, splits, taxonomy
from models import classifier
from models.classifier import Classifier

pytest_plugins = ["tests.service.databases"]
REPORTS = Path(__file__).parents[2] / "shared" / "reports"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not (REPORTS / "manifest.csv").is_file():
        for item in items:
            if "reports" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="needs ../shared/reports"))


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with whole documents of each split: about 500 passages."""
    divided = splits.divide(dataset.load([dataset.WRITTEN], taxonomy.load()))
    taken = []
    for split, share in (("train", 300), ("dev", 100), ("test", 100)):
        documents = sorted({e.document for e in divided[split]})[:: 1 if split != "train" else 5]
        chosen: list[dataset.Example] = []
        for document in documents:
            if len(chosen) < share:
                chosen += [e for e in divided[split] if e.document == document]
        taken += chosen
    path = tmp_path_factory.mktemp("data") / "small.jsonl"
    dataset.write(path, taken)
    return path


@pytest.fixture(scope="session")
def small_store(tmp_path_factory: pytest.TempPathFactory, small_data: Path) -> Path:
    """A model store with one version, `small`, trained on small_data for one epoch."""
    from training.__main__ import train

    store = tmp_path_factory.mktemp("store")
    work = tmp_path_factory.mktemp("work")
    train(data=[small_data], store=store, work=work, teacher=False, version="small", epochs=1, baselines=False)
    return store


@pytest.fixture(scope="session")
def champion() -> Classifier:
    """The shipped model."""
    return classifier.load()
