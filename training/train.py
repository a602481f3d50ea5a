"""Fine-tune a sequence classifier with one named output a label."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score
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
from transformers.trainer_utils import get_last_checkpoint

from labels.dataset import Example
from labels.passages import normalise
from labels.taxonomy import Taxonomy
from training.base import Base
from training.classifier import MeanPooledClassifier

# A passage of 90 English words takes about 120 word pieces; the few longer ones are windowed when served.
MAX_TOKENS = 192


@dataclass(frozen=True)
class Settings:
    """What a run of training is set to: the values that measured best on dev (training/README.md).

    head_learning_rate: of the linear head, which begins at nothing and has far to go while the encoder has not.
    consistency: weight of the divergence between two passes of a passage under dropout (R-Drop, Wu et al. 2021).
    """

    seed: int = 1
    epochs: int = 6
    batch: int = 32
    learning_rate: float = 1e-4
    head_learning_rate: float = 3e-3
    warmup: float = 0.1
    weight_decay: float = 0.01
    consistency: float = 1.0


@dataclass(frozen=True)
class Fitted:
    """A fine-tuned network in memory, with its tokenizer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    def logits(self, texts: Sequence[str], batch: int = 64) -> NDArray[np.float64]:
        """Outputs of the network in float32, shape (texts, labels), each text in one window."""
        order = sorted(range(len(texts)), key=lambda n: len(texts[n]))
        found = np.zeros((len(texts), len(self.model.config.id2label or ())))
        self.model.eval()
        for first in range(0, len(order), batch):
            rows = order[first : first + batch]
            encoded = self.tokenizer(
                [normalise(texts[n]) for n in rows],
                truncation=True, max_length=MAX_TOKENS, padding=True, return_tensors="pt",
            ).to(self.model.device)  # fmt: skip
            with torch.inference_mode():
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
    report: Callable[[dict[str, float]], None] = lambda _: None,
) -> Fitted:
    """Fine-tune `base`, keeping the epoch with the best mean average precision on `dev`.

    folder: for checkpoints, one an epoch; a run that was killed goes on from the last of them. report: is given the
    trainer's figures as they come. Seeded: two runs on one machine give the same predictions.
    """
    set_seed(settings.seed)
    tokenizer = AutoTokenizer.from_pretrained(base.source)
    cuda = torch.cuda.is_available()
    trainer = _Trainer(
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
            dataloader_pin_memory=cuda,
        ),
        train_dataset=encode([e.text for e in train], _truth(train, taxonomy), tokenizer),
        eval_dataset=encode([e.text for e in dev], _truth(dev, taxonomy), tokenizer),
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=_mean_ap,
        callbacks=[_Report(report)],
    )
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(folder)) if folder.is_dir() else None)
    # Without its wrapper, which would run (and export) the forward pass under autocast.
    trained = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    return Fitted(trained.cpu().float(), tokenizer)


def encode(texts: Sequence[str], targets: NDArray[np.float64], tokenizer: PreTrainedTokenizerBase) -> Dataset:
    """Token ids, lengths and targets, shape (texts, labels), 0 to 1, as a datasets.Dataset."""
    encoded = tokenizer([normalise(text) for text in texts], truncation=True, max_length=MAX_TOKENS)
    return Dataset.from_dict(
        {
            "input_ids": encoded["input_ids"],
            "attention_mask": encoded["attention_mask"],
            "length": [len(ids) for ids in encoded["input_ids"]],
            "labels": targets.astype(np.float32).tolist(),
        }
    )


def _truth(examples: Sequence[Example], taxonomy: Taxonomy) -> NDArray[np.float64]:
    return np.array([e.vector(taxonomy) for e in examples], dtype=np.float64)


def _mean_ap(found: EvalPrediction) -> dict[str, float]:
    truth, logits = np.asarray(found.label_ids), np.asarray(found.predictions)
    present = truth.sum(axis=0) > 0
    return {"mean_ap": float(average_precision_score(truth[:, present], logits[:, present], average="macro"))}


class _Trainer(Trainer):  # type: ignore[misc]
    """Trainer with R-Drop, a learning rate of its own for the head, and weight decay on matrices alone."""

    def __init__(self, *, settings: Settings, **kwargs: Any) -> None:
        self._settings = settings
        super().__init__(**kwargs)

    def compute_loss(
        self,
        model: Any,
        inputs: Any,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,  # noqa: ARG002
    ) -> Any:
        first = model(**inputs)
        loss = first.loss
        if model.training:
            second = model(**inputs)
            p, q = first.logits.float(), second.logits.float()
            # The symmetric Kullback-Leibler divergence of two Bernoulli variables, from their logits.
            apart = ((torch.sigmoid(p) - torch.sigmoid(q)) * (p - q)).mean()
            loss = (first.loss + second.loss) / 2 + self._settings.consistency * apart
        return (loss, first) if return_outputs else loss

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
                    {"params": head, "lr": self._settings.head_learning_rate, "weight_decay": 0.0},
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
