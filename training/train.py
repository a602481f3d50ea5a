"""Fine-tune a sequence classifier with one named output a label."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid
from transformers import (
    AutoTokenizer,
    DataCollatorWithPadding,
    EvalPrediction,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import get_last_checkpoint

from labels.dataset import DatasetError, Example, RowError, digest
from labels.passages import fingerprint, normalise
from labels.taxonomy import Taxonomy
from training.base import Base
from training.classifier import MeanPooledClassifier
from training.distil import SoftLabels

# A passage of 90 English words takes about 120 word pieces; the few longer ones are windowed when served.
MAX_TOKENS = 192


@dataclass(frozen=True)
class Settings:
    """What a run of training is set to: the values that measured best on dev (training/README.md).

    head_learning_rate: of the linear head, which begins at nothing and has far to go while the encoder has not.
    consistency: weight of the divergence between two passes of a passage under dropout (R-Drop, Wu et al. 2021); at 0
    there is one pass. gamma, margin: of the asymmetric loss; both at 0, it is binary cross-entropy. soft_weight: the
    teacher's share in the loss of a labelled passage; the labels have the rest.
    """

    seed: int = 1
    epochs: int = 5
    batch: int = 32
    learning_rate: float = 1e-4
    head_learning_rate: float = 3e-3
    warmup: float = 0.1
    weight_decay: float = 0.01
    consistency: float = 0.0
    gamma: float = 4.0
    margin: float = 0.05
    soft_weight: float = 0.5


@dataclass(frozen=True)
class Fitted:
    """A fine-tuned network in memory, with its tokenizer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    def logits(self, texts: Sequence[str], batch: int = 64, half: bool = False) -> NDArray[np.float64]:
        """Outputs of the network, shape (texts, labels), each text in one window.

        half: compute in bfloat16, which is two or three times as fast and a little off.
        """
        order = sorted(range(len(texts)), key=lambda n: len(texts[n]))
        found = np.zeros((len(texts), len(self.model.config.id2label or ())))
        self.model.eval()
        for first in range(0, len(order), batch):
            rows = order[first : first + batch]
            encoded = self.tokenizer(
                [normalise(texts[n]) for n in rows],
                truncation=True, max_length=MAX_TOKENS, padding=True, return_tensors="pt",
            ).to(self.model.device)  # fmt: skip
            with torch.inference_mode(), torch.autocast(self.model.device.type, torch.bfloat16, enabled=half):
                found[rows] = self.model(**encoded).logits.float().cpu().numpy()
        return found


def fit(
    train: Sequence[Example],
    dev: Sequence[Example],
    taxonomy: Taxonomy,
    base: Base,
    folder: Path,
    settings: Settings,
    *,
    soft: SoftLabels | None = None,
    unlabelled: Sequence[str] = (),
    trainer: type[RecipeTrainer] | None = None,
    report: Callable[[dict[str, float]], None] = lambda _: None,
) -> Fitted:
    """Fine-tune `base`, keeping the epoch with the best mean average precision on `dev`.

    soft: a teacher's probabilities, learned from beside the labels, and alone for those of the `unlabelled` passages
    that the teacher has seen (Hinton et al. 2015).
    folder: for checkpoints, one an epoch; a run that was killed goes on from the last of them. trainer: to try another
    loss. report: is given the trainer's figures as they come. Seeded: two runs on one machine predict the same.
    """
    if not _truth(dev, taxonomy).any():
        raise DatasetError([RowError("dev", 0, "no passage of dev has a label: no epoch can be chosen")])
    set_seed(settings.seed)
    tokenizer = AutoTokenizer.from_pretrained(base.source)
    cuda = torch.cuda.is_available()
    runner = (trainer or RecipeTrainer)(
        settings=settings,
        model=MeanPooledClassifier.from_base(base, taxonomy.keys),
        args=TrainingArguments(
            output_dir=str(folder),
            seed=settings.seed,
            num_train_epochs=settings.epochs,
            per_device_train_batch_size=settings.batch,
            per_device_eval_batch_size=64,
            learning_rate=settings.learning_rate,
            warmup_steps=settings.warmup,
            weight_decay=settings.weight_decay,
            lr_scheduler_type="cosine",
            train_sampling_strategy="group_by_length",
            bf16=True,
            use_cpu=not cuda,
            eval_strategy="epoch",
            save_strategy="epoch",
            save_total_limit=2,
            load_best_model_at_end=True,
            metric_for_best_model="mean_ap",
            greater_is_better=True,
            logging_strategy="epoch",
            disable_tqdm=not os.isatty(2),
            report_to=[],
            label_names=["labels"],  # the network does not ask for them: the loss is not its own
            dataloader_pin_memory=cuda,
        ),
        train_dataset=encode(*targets(train, taxonomy, soft, unlabelled), tokenizer),
        eval_dataset=encode(*targets(dev, taxonomy, None, ()), tokenizer),
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=_mean_ap,
        callbacks=[_Report(report)],
    )
    runner.train(resume_from_checkpoint=last_checkpoint(folder))
    # Without its wrapper, which would run (and export) the forward pass under autocast.
    trained = runner.accelerator.unwrap_model(runner.model, keep_fp32_wrapper=False)
    return Fitted(trained.cpu().float(), tokenizer)


def targets(
    train: Sequence[Example], taxonomy: Taxonomy, soft: SoftLabels | None, unlabelled: Sequence[str]
) -> tuple[list[str], NDArray[np.float64]]:
    """What is learned from: texts, and for each its labels and the teacher's probabilities, shape (texts, 2, labels).

    NaN where there is no label, or the teacher has not seen the passage, learned other labels of it, or does not know
    the label.
    """
    texts, labels = [e.text for e in train], _truth(train, taxonomy)
    if soft is None:
        return texts, np.stack([labels, np.full_like(labels, np.nan)], axis=1)
    more = soft.of(unlabelled, taxonomy.keys)
    seen = np.asarray(~np.isnan(more).all(axis=1))
    texts += [text for text, flag in zip(unlabelled, seen, strict=True) if flag]
    labels = np.vstack([labels, np.full_like(more[seen], np.nan)])
    taught = np.vstack([soft.beside(_truth(train, taxonomy), [e.text for e in train], taxonomy.keys), more[seen]])
    return texts, np.stack([labels, taught], axis=1)


def encode(texts: Sequence[str], targets: NDArray[np.float64], tokenizer: PreTrainedTokenizerBase) -> Dataset:
    """Token ids, lengths and targets, shape (texts, 2, labels), as a datasets.Dataset."""
    encoded = tokenizer([normalise(text) for text in texts], truncation=True, max_length=MAX_TOKENS)
    return Dataset.from_dict(
        {
            "input_ids": encoded["input_ids"],
            "attention_mask": encoded["attention_mask"],
            "length": [len(ids) for ids in encoded["input_ids"]],
            "labels": targets.astype(np.float32).tolist(),
        }
    )


def last_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that was written whole; one that a kill left half written is removed.

    The trainer writes the state last.
    """
    while folder.is_dir() and (found := get_last_checkpoint(str(folder))):
        if (Path(found) / TRAINER_STATE_NAME).is_file():
            return str(found)
        shutil.rmtree(found)
    return None


def run_name(
    kind: str,
    train: Sequence[Example],
    dev: Sequence[Example],
    taxonomy: Taxonomy,
    base: Base,
    settings: Settings,
    soft: SoftLabels | None = None,
    unlabelled: Sequence[str] = (),
) -> str:
    """What a run's checkpoints are called: the same name for the same ingredients, so that a killed run goes on."""
    ingredients = (
        digest(train), digest(dev), taxonomy.digest, base.sha256, settings,
        soft and (soft.digest, soft.learned.tobytes()),
        sorted(map(fingerprint, unlabelled)),
    )  # fmt: skip
    return f"{kind}-{hashlib.sha256(repr(ingredients).encode()).hexdigest()[:12]}"


def _truth(examples: Sequence[Example], taxonomy: Taxonomy) -> NDArray[np.float64]:
    return np.array([e.vector(taxonomy) for e in examples], dtype=np.float64)


def _mean_ap(found: EvalPrediction) -> dict[str, float]:
    truth, logits = np.asarray(found.label_ids)[:, 0], np.asarray(found.predictions)
    present = truth.sum(axis=0) > 0
    return {"mean_ap": float(average_precision_score(truth[:, present], logits[:, present], average="macro"))}


class RecipeTrainer(Trainer):  # type: ignore[misc]
    """Trainer with the recipe's losses, a learning rate of its own for the head, and weight decay on matrices alone."""

    def __init__(self, *, settings: Settings, **kwargs: Any) -> None:
        self.settings = settings
        super().__init__(**kwargs)

    def compute_loss(
        self,
        model: Any,
        inputs: Any,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,  # noqa: ARG002
    ) -> Any:
        wanted = inputs.pop("labels")
        outputs = model(**inputs)
        p = outputs.logits.float()
        loss = self.loss(p, wanted)
        if model.training and self.settings.consistency:
            q = model(**inputs).logits.float()
            # The symmetric Kullback-Leibler divergence of two Bernoulli variables, from their logits.
            apart = ((torch.sigmoid(p) - torch.sigmoid(q)) * (p - q)).mean()
            loss = (loss + self.loss(q, wanted)) / 2 + self.settings.consistency * apart
        return (loss, outputs) if return_outputs else loss

    def loss(self, logits: Tensor, wanted: Tensor) -> Tensor:
        """Of labels and of the teacher's probabilities, each where there is one. wanted: shape (batch, 2, labels)."""
        labels, taught = wanted.unbind(dim=1)
        share = torch.where(labels.isnan(), 1.0, self.settings.soft_weight) * ~taught.isnan()
        hard = self.of_labels(logits, labels.nan_to_num())
        soft = binary_cross_entropy_with_logits(logits, taught.nan_to_num(), reduction="none")
        return ((1 - share) * ~labels.isnan() * hard + share * soft).mean()

    def of_labels(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The asymmetric loss of Ridnik et al. 2021, an element a label: easy negatives count for little.

        Most labels are off in most passages, and most of those are easily seen to be; with cross-entropy they are what
        the network spends itself on. For labels alone: at a probability between 0 and 1 its minimum lies elsewhere.
        """
        if not self.settings.gamma and not self.settings.margin:
            return binary_cross_entropy_with_logits(logits, labels, reduction="none")
        off = (torch.sigmoid(logits) - self.settings.margin).clamp(min=0)
        negative = off**self.settings.gamma * torch.log1p(-off.clamp(max=1 - 1e-6))
        return -(labels * logsigmoid(logits) + (1 - labels) * negative)

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:  # noqa: ARG002
        if self.optimizer is None:
            assert self.model is not None
            named = list(self.model.named_parameters())
            head = [parameter for name, parameter in named if name.startswith("classifier.")]
            matrices = [p for name, p in named if p.ndim > 1 and not name.startswith("classifier.")]
            vectors = [p for name, p in named if p.ndim == 1 and not name.startswith("classifier.")]
            rate, decay = self.args.learning_rate, self.args.weight_decay
            self.optimizer = torch.optim.AdamW(
                [
                    {"params": head, "lr": self.settings.head_learning_rate, "weight_decay": 0.0},
                    {"params": matrices, "lr": rate, "weight_decay": decay},
                    {"params": vectors, "lr": rate, "weight_decay": 0.0},
                ]
            )
        return self.optimizer


class _Report(TrainerCallback):  # type: ignore[misc]
    def __init__(self, report: Callable[[dict[str, float]], None]) -> None:
        self._report = report

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:  # noqa: ARG002
        if logs:
            self._report(dict(logs))
