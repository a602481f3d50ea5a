"""Soft labels: kept without the passages, found again by them, and learned from."""

from pathlib import Path

import numpy as np
import pytest
import torch

from labels import dataset, splits, taxonomy
from labels.dataset import DatasetError, Unlabelled
from models import manifest
from training import distil
from training.__main__ import train
from training.base import resolve
from training.distil import SoftLabels, SoftLabelsError
from training.teach import teach
from training.train import RecipeTrainer, Settings, fit, targets

KEYS = taxonomy.load().keys
TEXTS = ["Visits are late.", "We are sorry, and we accept it.", "Agendas are online."]


@pytest.fixture
def soft() -> SoftLabels:
    probabilities = np.arange(24).reshape(3, 8) / 100
    names = np.array([distil.name_of(text) for text in TEXTS], dtype=np.uint64)
    learned = np.array([[0] * 8, [1] + [0] * 7, [distil.UNLABELLED] * 8], dtype=np.int8)
    return SoftLabels(
        KEYS, names, probabilities.astype(np.float16), learned, "a teacher", {"dev/mean_ap": 0.9}, "0" * 64
    )


def test_what_is_saved_is_read_again_and_holds_no_text(tmp_path: Path, soft: SoftLabels) -> None:
    soft.save(tmp_path / "soft.npz")
    found = distil.load(tmp_path / "soft.npz")
    assert found.digest == soft.digest and (found.teacher, found.scores, found.keys) == ("a teacher", soft.scores, KEYS)
    assert np.array_equal(found.of(TEXTS, KEYS), soft.of(TEXTS, KEYS))
    assert np.array_equal(found.learned, soft.learned)
    with np.load(tmp_path / "soft.npz") as held:
        kept = " ".join(str(held[name]) for name in held.files)
    assert "a teacher" in kept and "late" not in kept


def test_a_passage_is_found_whatever_its_quotes_and_spaces_and_a_new_one_is_not(soft: SoftLabels) -> None:
    found = soft.of(["Agendas  are online.", "Nobody has seen this."], KEYS)
    assert found[0] == pytest.approx(np.arange(16, 24) / 100, abs=1e-4)
    assert np.isnan(found[1]).all()


def test_of_a_label_that_the_teacher_lacks_it_says_nothing(soft: SoftLabels) -> None:
    found = soft.of(TEXTS[:1], ("theme/new", KEYS[3], KEYS[0]))
    assert np.isnan(found[0, 0]) and found[0, 1:] == pytest.approx([0.03, 0.0], abs=1e-4)


def test_of_a_passage_whose_labels_were_corrected_since_it_says_nothing(soft: SoftLabels) -> None:
    labels = np.zeros((3, 8))
    found = soft.beside(labels, TEXTS, KEYS)
    assert found[0] == pytest.approx(np.arange(8) / 100, abs=1e-4)
    assert np.isnan(found[1:]).all()  # a label taken away; labels for what had none
    labels[1, 0] = 1
    assert np.isnan(soft.beside(labels, TEXTS, KEYS)).all(axis=1).tolist() == [False, False, True]
    with_new = soft.beside(np.array([[1.0, 0.0]]), TEXTS[:1], ("theme/new", KEYS[3]))
    assert np.isnan(with_new[0, 0]) and with_new[0, 1] == pytest.approx(0.03, abs=1e-4)


def test_what_is_kept_was_learned_from_the_labels_of_today() -> None:
    """So that a model trained from the packaged passages learns from the teacher whatever it saw of them."""
    labelling, kept = taxonomy.load(), distil.load(distil.SOFT)
    train = splits.divide(dataset.load([dataset.WRITTEN], labelling))["train"]
    texts, labels = [e.text for e in train], np.array([e.vector(labelling) for e in train], dtype=float)
    beside = kept.beside(labels, texts, labelling.keys)
    assert np.array_equal(beside, kept.of(texts, labelling.keys), equal_nan=True)
    assert (~np.isnan(beside).all(axis=1)).sum() > len(train) / 2
    at = next(n for n in range(len(train)) if not np.isnan(beside[n]).any())
    labels[at, 0] = 1 - labels[at, 0]
    assert np.isnan(kept.beside(labels, texts, labelling.keys)[at]).all()


def test_the_texts_that_the_teacher_saw_are_told(soft: SoftLabels) -> None:
    assert soft.seen(["Nobody has seen this.", TEXTS[1]]) == [TEXTS[1]]


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 torn"])
def test_a_damaged_file_says_so(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "soft.npz").write_bytes(content)
    with pytest.raises(SoftLabelsError, match="holds no soft labels"):
        distil.load(tmp_path / "soft.npz")


def test_targets_hold_labels_and_what_the_teacher_says_each_where_there_is_one(soft: SoftLabels) -> None:
    labelling = taxonomy.load()
    train = splits.divide(dataset.load([dataset.WRITTEN], labelling))["train"][:2]
    seen = train[0].model_copy(update={"text": TEXTS[0], "themes": (), "stances": (), "primary_stance": None})
    texts, wanted = targets([seen, train[1]], labelling, soft, [TEXTS[2], "Unseen by the teacher."])
    assert texts == [TEXTS[0], train[1].text, TEXTS[2]] and wanted.shape == (3, 2, 8)
    assert wanted[0, 0].tolist() == seen.vector(labelling) and wanted[1, 0].tolist() == train[1].vector(labelling)
    assert wanted[0, 1] == pytest.approx(np.arange(8) / 100, abs=1e-4)
    assert np.isnan(wanted[1, 1]).all() and np.isnan(wanted[2, 0]).all()
    texts, wanted = targets([seen], labelling, None, [TEXTS[2]])
    assert len(texts) == 1 and np.isnan(wanted[0, 1]).all()


def test_the_loss_of_a_passage_is_of_its_label_of_the_teacher_or_of_both() -> None:
    trainer = RecipeTrainer.__new__(RecipeTrainer)
    trainer.settings = Settings(soft_weight=0.25)
    logits, nothing = torch.tensor([[0.7, -1.2]]), torch.full((1, 2), torch.nan)
    labels, taught = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.9, 0.3]])
    hard = trainer.of_labels(logits, labels).mean()
    soft = torch.nn.functional.binary_cross_entropy_with_logits(logits, taught)
    assert torch.allclose(trainer.loss(logits, torch.stack([labels, nothing], 1)), hard)
    assert torch.allclose(trainer.loss(logits, torch.stack([nothing, taught], 1)), soft)
    assert torch.allclose(trainer.loss(logits, torch.stack([labels, taught], 1)), 0.75 * hard + 0.25 * soft)
    assert trainer.loss(logits, torch.stack([nothing, nothing], 1)) == 0


def test_the_student_comes_near_its_teacher(tmp_path: Path, small_data: Path) -> None:
    """Where the teacher says the opposite of every label, the student that listens to it says so too."""
    labelling = taxonomy.load()
    divided = splits.divide(dataset.load([small_data], labelling))
    train, dev = divided["train"][:64], divided["dev"][:32]
    truth = np.array([e.vector(labelling) for e in train])
    names = np.array([distil.name_of(e.text) for e in train], dtype=np.uint64)
    opposite = (0.02 + 0.96 * (1 - truth)).astype(np.float16)
    contrary = SoftLabels(KEYS, names, opposite, truth.astype(np.int8), "contrary", {}, "0" * 64)
    settings = Settings(epochs=4, soft_weight=1.0)
    texts = [e.text for e in train]
    alone = fit(train, dev, labelling, resolve(), tmp_path / "alone", settings).logits(texts)
    taught = fit(train, dev, labelling, resolve(), tmp_path / "taught", settings, soft=contrary).logits(texts)
    moved = taught - alone
    assert moved[truth == 0].mean() > moved[truth == 1].mean() + 0.2


def test_teaching_keeps_nothing_of_dev_and_test_and_the_recipe_learns_from_it(tmp_path: Path, small_data: Path) -> None:
    held = splits.read(splits.FIXED)
    rows = [
        Unlabelled(
            authority=next(g for g, of in held.items() if of == split), text=f"A passage of {split}, unlabelled."
        )
        for split in splits.SPLITS
    ]
    dataset.write(tmp_path / "unlabelled.jsonl", rows)
    file, others = tmp_path / "soft.npz", tmp_path / "unlabelled.jsonl"
    teach([small_data], passages=others, base=["all-MiniLM-L6-v2"], output=file, work=tmp_path / "work", epochs=1)
    soft = distil.load(file)
    divided = splits.divide(dataset.load([small_data], taxonomy.load()))
    assert set(soft.seen([e.text for e in divided["train"]])) == {e.text for e in divided["train"]}
    assert not soft.seen([e.text for split in ("dev", "test") for e in divided[split]])
    assert soft.seen([row.text for row in rows]) == ["A passage of train, unlabelled."]
    truth = np.array([e.vector(taxonomy.load()) for e in divided["train"]])
    assert np.array_equal(soft.learned, [*truth, [distil.UNLABELLED] * 8])
    assert {"dev/macro_f1/theme", "test/f1/stance/critical"} <= soft.scores.keys()

    train([small_data], soft=file, passages=others, store=tmp_path / "store", work=tmp_path / "work", version="taught",
          epochs=1, baselines=False)  # fmt: skip
    published = manifest.read(tmp_path / "store" / "taught")
    assert published.lineage.teacher_sha256 == soft.digest and published.lineage.data_counts["unlabelled"] == 1
    assert published.metrics["teacher/test/macro_f1/theme"] == pytest.approx(
        soft.scores["test/macro_f1/theme"], abs=1e-6
    )
    assert "its teacher (all-MiniLM-L6-v2, 1 epochs" in (tmp_path / "store" / "taught" / manifest.CARD).read_text()


def test_passages_without_labels_are_those_of_training_authorities_each_once(tmp_path: Path) -> None:
    held = splits.read(splits.FIXED)
    one = {split: next(group for group, of in held.items() if of == split) for split in splits.SPLITS}
    rows = [Unlabelled(authority=one[split], text=f"A passage of {split}.") for split in splits.SPLITS]
    dataset.write(
        tmp_path / "rows.jsonl", [*rows, rows[0], rows[0].model_copy(update={"text": " A passage of train. "})]
    )
    assert distil.unlabelled(tmp_path / "rows.jsonl") == ["A passage of train."]
    (example, *_) = dataset.load([dataset.WRITTEN], taxonomy.load())
    labelled = example.model_copy(update={"text": "A  passage of train."})
    assert distil.unlabelled(tmp_path / "rows.jsonl", [labelled]) == []
    (tmp_path / "bad.jsonl").write_text('{"authority": "x"}\n{torn\n')
    with pytest.raises(DatasetError, match=r"bad\.jsonl:1: text.*\n.*bad\.jsonl:2: not JSON"):
        distil.unlabelled(tmp_path / "bad.jsonl")
