"""Ideas tried against the plain recipe on dev: `python -m training.ablation RUNS.jsonl`, then the same with --table.

Each run is small (few passages, few epochs), so that all of them, over several seeds, take a morning of two cores: the
question is which ideas help, not how good a model gets.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from sklearn.metrics import average_precision_score, f1_score
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    Trainer,
    TrainingArguments,
    set_seed,
)

from labels import dataset, splits, taxonomy
from labels.dataset import Example
from labels.passages import normalise
from labels.taxonomy import Taxonomy
from models import calibration
from models.calibration import Array
from training import base as bases
from training import calibrate, distil
from training.base import Base
from training.console import console_script
from training.train import MAX_TOKENS, RecipeTrainer, Settings, fit

PLAIN = "plain"
FIGURES = ("mean_ap", "themes", "stances")
console = Console(stderr=True, highlight=False)


class Focal(RecipeTrainer):
    """Focal loss, gamma 2 (Lin et al. 2017)."""

    def of_labels(self, logits: Tensor, labels: Tensor) -> Tensor:
        off = torch.sigmoid(logits) * (1 - labels) + torch.sigmoid(-logits) * labels
        return off**2 * binary_cross_entropy_with_logits(logits, labels, reduction="none")


class Smoothed(RecipeTrainer):
    """Targets drawn 5% of the way to one half."""

    def of_labels(self, logits: Tensor, labels: Tensor) -> Tensor:
        return super().of_labels(logits, labels * 0.95 + 0.025)


class Layerwise(RecipeTrainer):
    """A learning rate that falls by a fifth with each layer further from the head."""

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        optimizer = super().create_optimizer(model)
        network: Any = self.model
        names = {id(parameter): name for name, parameter in network.named_parameters()}
        layers: int = network.config.encoder.num_hidden_layers
        groups = []
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                name = names[id(parameter)]
                depth = layers - 1 - int(name.split(".layer.")[1].split(".")[0]) if ".layer." in name else layers
                decay = 1.0 if name.startswith("classifier.") else 0.8**depth
                groups.append({"params": [parameter], "lr": group["lr"] * decay, "weight_decay": group["weight_decay"]})
        self.optimizer = torch.optim.AdamW(groups)
        return self.optimizer


def masked(base: Base, texts: Sequence[str], folder: Path, seed: int) -> Base:
    """Continued masked-language pre-training on passages without labels, one epoch."""
    set_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(base.source)
    ids = tokenizer([normalise(t) for t in texts], truncation=True, max_length=MAX_TOKENS)["input_ids"]
    trainer = Trainer(
        model=AutoModelForMaskedLM.from_pretrained(base.source),
        args=TrainingArguments(
            output_dir=str(folder / "mlm"), num_train_epochs=1, per_device_train_batch_size=32, learning_rate=1e-4,
            warmup_steps=0.05, bf16=True, use_cpu=not torch.cuda.is_available(), save_strategy="no", report_to=[],
            disable_tqdm=True, seed=seed, dataloader_pin_memory=False,
        ),
        train_dataset=[{"input_ids": row} for row in ids],
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.2),
    )  # fmt: skip
    trainer.train()
    return _saved(trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False).base_model, base, folder)


def shallow(base: Base, folder: Path, layers: int = 4) -> Base:
    """The first layers of the base alone."""
    model = AutoModel.from_pretrained(base.source)
    model.encoder.layer = model.encoder.layer[:layers]
    model.config.num_hidden_layers = layers
    return _saved(model, base, folder)


def contrastive(base: Base, train: Sequence[Example], labelling: Taxonomy, folder: Path, seed: int) -> Base:
    """A warm-up in the manner of SetFit: 3,000 pairs, their similarity drawn to the share of labels that they share."""
    set_seed(seed)
    vectors = np.array([e.vector(labelling) for e in train])
    pairs = np.random.default_rng(seed).integers(0, len(train), (3_000, 2))
    shared = (vectors[pairs[:, 0]] & vectors[pairs[:, 1]]).sum(1)
    either = (vectors[pairs[:, 0]] | vectors[pairs[:, 1]]).sum(1)
    wanted = torch.tensor(np.where(either, shared / np.maximum(either, 1), 1.0), dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(base.source)
    model = AutoModel.from_pretrained(base.source).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5)
    for first in range(0, len(pairs), 32):
        rows = pairs[first : first + 32]
        texts = [normalise(train[n].text) for n in (*rows[:, 0], *rows[:, 1])]
        encoded = tokenizer(texts, truncation=True, max_length=MAX_TOKENS, padding=True, return_tensors="pt")
        with torch.autocast("cpu", torch.bfloat16):
            states = model(**encoded).last_hidden_state
        weights = encoded["attention_mask"].unsqueeze(-1)
        means = (states * weights).sum(1).float() / weights.sum(1)
        near = torch.cosine_similarity(means[: len(rows)], means[len(rows) :])
        loss = (near - wanted[first : first + 32]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return _saved(model, base, folder)


def _saved(model: Any, base: Base, folder: Path) -> Base:
    target = folder / "base"
    model.float().save_pretrained(target)
    AutoTokenizer.from_pretrained(base.source).save_pretrained(target)
    return bases.resolve(str(target))


def titled(examples: Sequence[Example]) -> list[Example]:
    """The title of the document before each passage."""
    return [e.model_copy(update={"text": f"{e.title}. {e.text}"}) for e in examples]


LOSSES: dict[str, type[RecipeTrainer]] = {
    "focal loss": Focal,
    "label smoothing 0.05": Smoothed,
    "layer-wise learning rates": Layerwise,
}
# With the asymmetric loss, as in the recipe.
TEACHER = ("asymmetric loss, teacher on the labelled passages", "asymmetric loss, teacher on unlabelled passages too")
SETTINGS: dict[str, Callable[[Settings], Settings]] = {
    "asymmetric loss": lambda s: replace(s, gamma=4.0, margin=0.05),
    "R-Drop": lambda s: replace(s, consistency=1.0),
    "asymmetric loss and R-Drop": lambda s: replace(s, gamma=4.0, margin=0.05, consistency=1.0),
    "asymmetric loss, gamma 2": lambda s: replace(s, gamma=2.0, margin=0.05),
    "one learning rate for head and encoder": lambda s: replace(s, head_learning_rate=s.learning_rate),
    "learning rate 4e-4": lambda s: replace(s, learning_rate=4e-4),
    "batches of 16": lambda s: replace(s, batch=16),
    **dict.fromkeys(TEACHER, lambda s: replace(s, gamma=4.0, margin=0.05)),
}
BASES = ("masked pre-training on reports", "contrastive warm-up", "four layers of six")
IDEAS = (*SETTINGS, *LOSSES, *BASES, "title before the passage")


def ablate(
    output: Annotated[Path, typer.Argument(metavar="RUNS.jsonl", help="A line a run is added here.")],
    idea: Annotated[list[str] | None, typer.Option(help="May be repeated. Default: plain and all ideas.")] = None,
    data: Annotated[
        list[Path] | None, typer.Option(help="Labelled passages (JSONL). Default: the written ones.")
    ] = None,
    passages: Annotated[
        Path, typer.Option(help="Passages without labels, from `labels hydrate`.")
    ] = dataset.UNLABELLED,
    soft: Annotated[Path, typer.Option(help="Soft labels of the teacher.")] = distil.SOFT,
    base: Annotated[str, typer.Option(help="Base weights.")] = bases.MINILM,
    seeds: Annotated[int, typer.Option(help="Runs of each idea.", min=1)] = 3,
    epochs: Annotated[int, typer.Option(min=1)] = 4,
    share: Annotated[float, typer.Option(help="Share of the training passages, drawn at random.", max=1.0)] = 1.0,
    table: Annotated[bool, typer.Option("--table", help="Run nothing; print the table of the runs.")] = False,
) -> None:
    """Try each idea against the plain recipe, over several seeds, on dev. A run that is in the file is not run again.

    Example: python -m training.ablation runs.jsonl --idea plain --idea R-Drop
    """
    done = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()] if output.exists() else []
    if table:
        typer.echo(markdown(done))
        return
    wanted = idea or [PLAIN, *IDEAS]
    if strange := sorted(set(wanted) - {PLAIN, *IDEAS}):
        raise typer.BadParameter(f"{', '.join(strange)}: not one of {', '.join((PLAIN, *IDEAS))}")
    labelling = taxonomy.load()
    examples = dataset.load(data or [dataset.WRITTEN], labelling)
    digest = dataset.digest(examples)[:8]
    setting = {"data": digest, "epochs": epochs, "share": share, "base": base}
    if strange := [run for run in done if {name: run[name] for name in setting} != setting]:
        raise typer.BadParameter(f"{output} holds runs of another setting, which cannot be compared: {strange[0]}")
    held = {(run["idea"], run["seed"]) for run in done}
    for seed in range(1, seeds + 1):
        for name in wanted:
            if (name, seed) in held:
                continue
            divided = splits.divide(examples)
            drawn = np.random.default_rng(seed).permutation(len(divided["train"]))[: int(share * len(divided["train"]))]
            train = [divided["train"][n] for n in drawn]
            started = time.monotonic()
            found = run(name, train, divided["dev"], labelling, bases.resolve(base), passages, soft, seed, epochs)
            line = {
                "idea": name, "seed": seed, **found, "seconds": round(time.monotonic() - started),
                "train": len(train), **setting,
            }  # fmt: skip
            console.print(json.dumps(line))
            with output.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


def run(
    idea: str,
    train: Sequence[Example],
    dev: Sequence[Example],
    labelling: Taxonomy,
    base: Base,
    passages: Path,
    soft: Path,
    seed: int,
    epochs: int,
) -> dict[str, float]:
    """The figures on dev of one run of one idea; its checkpoints are thrown away."""
    settings = SETTINGS.get(idea, lambda s: s)(
        Settings(seed=seed, epochs=epochs, consistency=0.0, gamma=0.0, margin=0.0)
    )
    texts: list[str] = []
    taught = None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if idea == "masked pre-training on reports":
            base = masked(base, _drawn(distil.unlabelled(passages), seed), folder, seed)
        elif idea == "four layers of six":
            base = shallow(base, folder)
        elif idea == "contrastive warm-up":
            base = contrastive(base, train, labelling, folder, seed)
        elif idea == "title before the passage":
            train, dev = titled(train), titled(dev)
        elif idea in TEACHER:
            taught = distil.load(soft)
            texts = _drawn(taught.seen(distil.unlabelled(passages)), seed) if idea == TEACHER[1] else []
        fitted = fit(
            train, dev, labelling, base, folder / "checkpoints", settings,
            soft=taught, unlabelled=texts, trainer=LOSSES.get(idea),
        )  # fmt: skip
    return figures(fitted.logits([e.text for e in dev]), dev, labelling)


def _drawn(texts: Sequence[str], seed: int, most: int = 4_000) -> list[str]:
    return [texts[n] for n in np.random.default_rng(seed).permutation(len(texts))[:most]]


def figures(logits: Array, examples: Sequence[Example], labelling: Taxonomy) -> dict[str, float]:
    """Mean average precision, and macro-F1 of each axis at thresholds chosen on these same examples."""
    truth = np.array([e.vector(labelling) for e in examples])
    outputs = calibrate.outputs(logits, truth, labelling.keys)
    flags = calibration.on(calibration.probabilities(logits, outputs), outputs)
    f1 = f1_score(truth, flags, average=None, zero_division=0.0)
    themes = len(labelling.themes)
    return {
        "mean_ap": round(float(average_precision_score(truth, logits, average="macro")), 4),
        "themes": round(float(f1[:themes].mean()), 4),
        "stances": round(float(f1[themes:].mean()), 4),
        **{key: round(float(value), 4) for key, value in zip(labelling.keys, f1, strict=True)},
    }


def markdown(runs: Sequence[dict[str, Any]]) -> str:
    """The table: gain of each idea over the plain recipe of the same seed, mean and [lowest, highest], in points."""
    by_idea: dict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
    for found in runs:
        by_idea[found["idea"]][found["seed"]] = found
    plain = by_idea.get(PLAIN)
    if not plain:
        raise typer.BadParameter("the file has no run of the plain recipe to compare with")
    rows = ["| idea | seeds | mean AP | macro-F1 themes | macro-F1 stances |", "|---|---|---|---|---|"]
    level = [f"{100 * np.mean([r[f] for r in plain.values()]):.1f}" for f in FIGURES]
    rows.append(f"| {PLAIN} | {len(plain)} | {' | '.join(level)} |")
    for idea, tried in by_idea.items():
        both = sorted(set(tried) & set(plain))
        if idea == PLAIN or not both:
            continue
        cells = [_gain([100 * (tried[s][f] - plain[s][f]) for s in both]) for f in FIGURES]
        rows.append(f"| {idea} | {len(both)} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _gain(points: list[float]) -> str:
    return f"{np.mean(points):+.1f} [{min(points):+.1f}, {max(points):+.1f}]"


if __name__ == "__main__":
    console_script(ablate)
