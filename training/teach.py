"""Teachers: large networks fine-tuned on the training split, and what they say of every passage kept for a student.

`python -m training.teach`, or `make teacher`. The student's recipe (`candour train`) reads the file that this writes.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from labels import dataset, splits, taxonomy
from models import calibration
from models.calibration import Array
from training import base as bases
from training import calibrate, distil, evaluate
from training.console import console_script
from training.train import Settings, fit, run_name

console = Console(stderr=True, highlight=False, soft_wrap=True)


def teach(
    data: Annotated[
        list[Path] | None, typer.Option(help="Labelled passages (JSONL); may be repeated. Default: the written ones.")
    ] = None,
    passages: Annotated[
        Path | None, typer.Option("--unlabelled", help="Passages without labels, from `candour labels hydrate`.")
    ] = None,
    base: Annotated[
        list[str] | None, typer.Option(help="Base weights of a teacher; may be repeated: their mean logit teaches.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to keep the soft labels.")] = distil.SOFT,
    work: Annotated[Path, typer.Option(help="Checkpoints; a run that was killed goes on from here.")] = Path("work"),
    epochs: Annotated[int, typer.Option(min=1)] = 3,
    learning_rate: Annotated[float, typer.Option(help="Of the encoder.")] = 4e-5,
    batch: Annotated[int, typer.Option(min=1)] = 16,
    most: Annotated[int, typer.Option(help="How many of the passages without labels to speak of.", min=0)] = 8_000,
) -> None:
    """Fine-tune teachers and keep their probabilities of the training passages and of passages without labels.

    Nothing of dev's or test's authorities is learned from or kept. Dev chooses each teacher's epoch and calibrates
    their mean; the figures on dev and test are kept with the soft labels.

    Example: python -m training.teach --data labels/data/written.jsonl --data labels/data/hydrated.jsonl
    """
    labelling = taxonomy.load()
    examples = dataset.load(data or [dataset.WRITTEN], labelling)
    divided = splits.divide(examples)
    texts = [e.text for e in divided["train"]]
    learned = [e.vector(labelling) for e in divided["train"]]
    if passages:
        others = distil.unlabelled(passages, examples)
        drawn = np.random.default_rng(0).permutation(len(others))[:most]
        texts += [others[n] for n in sorted(drawn)]
        learned += [[distil.UNLABELLED] * len(labelling.keys)] * len(drawn)
    held_out = {split: [e.text for e in divided[split]] for split in ("dev", "test")}
    digest = dataset.digest(examples)
    logits: dict[str, list[Array]] = {"dev": [], "test": [], "kept": []}
    names = base or [bases.MPNET]
    for seed, name in enumerate(names, 1):
        started = time.monotonic()
        weights = bases.resolve(name)
        settings = Settings(seed=seed, epochs=epochs, learning_rate=learning_rate, batch=batch)
        folder = work / run_name("teacher", divided["train"], divided["dev"], labelling, weights, settings)
        fitted = fit(
            divided["train"], divided["dev"], labelling, weights, folder, settings,
            report=lambda found: console.print("  ".join(f"{k} {v}" for k, v in found.items())),
        )  # fmt: skip
        for kept, asked in {**held_out, "kept": texts}.items():
            logits[kept].append(fitted.logits(asked, half=True))
        console.print(f"{name}: {time.monotonic() - started:.0f} s, on dev {logits['dev'][-1].shape[0]} passages")
    mean = {kept: np.mean(found, axis=0) for kept, found in logits.items()}
    # Calibrated like a model that is served: the student learns from probabilities, not from what a loss bent them to.
    outputs = calibrate.outputs(mean["dev"], np.array([e.vector(labelling) for e in divided["dev"]]), labelling.keys)
    scores: dict[str, float] = {}
    for split in ("dev", "test"):
        probabilities = calibration.probabilities(mean[split], outputs)
        scores |= evaluate.report(evaluate.outcome(divided[split], labelling, probabilities, outputs)).flat(split)
        macro = {name: value for name, value in scores.items() if name.startswith(f"{split}/macro_f1")}
        console.print(f"macro-F1: {macro}")
    distil.SoftLabels(
        keys=labelling.keys,
        names=np.array([distil.name_of(text) for text in texts], dtype=np.uint64),
        probabilities=calibration.probabilities(mean["kept"], outputs).astype(np.float16),
        learned=np.array(learned, dtype=np.int8),
        teacher=f"{' + '.join(names)}, {epochs} epochs, on {digest[:8]}",
        scores=scores,
        test_sha256=dataset.digest(divided["test"]),
    ).save(output)
    console.print(f"{len(texts)} passages: {output}")


if __name__ == "__main__":
    console_script(teach)
