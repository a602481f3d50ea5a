"""The recipe: labelled passages to a published model. `candour train`, or `python -m training`."""

from __future__ import annotations

import hashlib
import subprocess
import time
from datetime import UTC, datetime
from importlib.metadata import version as package_version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.console import Console

from labels import dataset, splits, taxonomy
from labels.passages import SEGMENTATION
from labels.taxonomy import Taxonomy
from models import calibration, manifest, network, registry
from models.calibration import Array
from models.manifest import Lineage, Manifest, Output
from training.base import MINILM

if TYPE_CHECKING:
    from training.evaluate import Report

# torch and transformers are imported by the steps that need them, so that `candour --help` stays quick.

PACKAGES = ("torch", "transformers", "datasets", "tokenizers", "onnxruntime", "scikit-learn", "numpy")


def train(
    data: Annotated[
        list[Path] | None, typer.Option(help="Labelled passages (JSONL); may be repeated. Default: the written ones.")
    ] = None,
    base: Annotated[str, typer.Option(help="Base weights: all-MiniLM-L6-v2, a folder, or online a hub id.")] = MINILM,
    store: Annotated[Path, typer.Option(help="Where to publish.")] = registry.PACKAGED,
    work: Annotated[Path, typer.Option(help="Checkpoints; a run that was killed goes on from here.")] = Path("work"),
    version: Annotated[str | None, typer.Option(help="Name of the version. Default: date and data digest.")] = None,
    labels: Annotated[Path, typer.Option(help="The taxonomy.")] = taxonomy.PACKAGED,
    seed: Annotated[int, typer.Option(help="Seed of everything drawn at random.")] = 1,
    epochs: Annotated[int, typer.Option(help="Passes over the training split.", min=1)] = 6,
    promote: Annotated[bool, typer.Option(help="Serve it: make it the champion.")] = False,
) -> None:
    """Train a model from labelled passages and publish it to the store.

    Splits by authority, fine-tunes, calibrates on dev, exports to int8 ONNX, measures on test next to the baselines,
    and publishes the artefact with its card and hashes.

    Example: candour train --data labels/data/written.jsonl --promote
    """
    from training import base as bases
    from training import baselines, card, export
    from training.calibrate import outputs as calibrate
    from training.train import MAX_TOKENS, Settings, fit

    console = Console(stderr=True)
    started = time.monotonic()
    labelling = taxonomy.load(labels)
    examples = dataset.load(data or [dataset.WRITTEN], labelling)
    divided = splits.divide(examples)
    for split in splits.SPLITS:
        if not divided[split]:
            raise dataset.DatasetError([dataset.RowError("data", 0, f"no passage falls into the {split} split")])
        console.print(f"{split}: {len(divided[split])} passages")
    weights = bases.resolve(base)
    data_digest = dataset.digest(examples)
    version = version or f"{datetime.now(UTC):%Y%m%d}-{data_digest[:8]}"
    settings = Settings(seed=seed, epochs=epochs)
    store_registry = registry.Registry(store)
    store_registry.ensure_new(version)
    # Checkpoints that were made of anything else are those of another run.
    made_of = repr((data_digest, labelling.digest, weights.sha256, settings))
    checkpoints = work / f"{version}-{hashlib.sha256(made_of.encode()).hexdigest()[:8]}"

    fitted = fit(
        divided["train"], divided["dev"], labelling, weights, checkpoints, settings,
        report=lambda figures: console.print(
            "  ".join(f"{k} {v:.4g}" for k, v in figures.items() if isinstance(v, (int, float))), highlight=False
        ),
    )  # fmt: skip
    console.print(f"trained in {time.monotonic() - started:.0f} s")

    truth = {split: _truth(divided[split], labelling) for split in splits.SPLITS}
    texts = {split: [e.text for e in divided[split]] for split in splits.SPLITS}
    lineage = Lineage(
        base=weights.name,
        base_sha256=weights.sha256,
        data_sha256=data_digest,
        data_counts={split: len(divided[split]) for split in splits.SPLITS},
        taxonomy_version=labelling.version,
        taxonomy_sha256=labelling.digest,
        guide=max(e.guide for e in examples),
        seed=seed,
        commit=_commit(),
        packages={package: package_version(package) for package in PACKAGES},
    )
    with store_registry.publishing(version) as folder:
        export.write(fitted, folder)
        # Calibrated on what will be served: the int8 network, not the one in memory.
        served = network.load(folder, MAX_TOKENS)
        dev_logits = served.logits(texts["dev"])
        outputs = calibrate(dev_logits, truth["dev"], labelling.keys)
        parity = export.parity(fitted.logits(texts["dev"]), dev_logits, calibration.cuts(outputs))
        test_scores = calibration.probabilities(served.logits(texts["test"]), outputs)
        reports = {f"candour {version}": _report(divided["test"], truth["test"], test_scores, outputs)}
        for baseline, scores in baselines.scores(texts, truth, seed).items():
            tuned = baselines.outputs(scores["dev"], truth["dev"], labelling.keys)
            reports[baseline] = _report(divided["test"], truth["test"], scores["test"], tuned)
        size = (folder / manifest.MODEL).stat().st_size
        text = card.render(
            version=version, taxonomy=labelling, outputs=outputs, lineage=lineage, reports=reports, parity=parity,
            size=size, settings=vars(settings),
        )  # fmt: skip
        (folder / manifest.CARD).write_text(text, encoding="utf-8")
        metrics = reports[f"candour {version}"].flat("test") | {"dev/int8_agreement": parity.agreement}
        published = Manifest(
            version=version,
            created=datetime.now(UTC).replace(microsecond=0),
            outputs=outputs,
            max_tokens=MAX_TOKENS,
            segmentation=SEGMENTATION,
            sha256={file: manifest.sha256(folder / file) for file in manifest.FILES},
            lineage=lineage,
            metrics={metric: round(value, 6) for metric, value in metrics.items()},
        )
        (folder / manifest.MANIFEST).write_text(published.model_dump_json(indent=2) + "\n", encoding="utf-8")
    if promote or not store_registry.aliases():
        store_registry.promote(version)
    console.print(f"published {store / version} ({size / 1e6:.1f} MB) after {time.monotonic() - started:.0f} s")
    for name, report in reports.items():
        console.print(
            f"{name}: macro-F1 themes {report.macro_f1['theme']:.3f}, stances {report.macro_f1['stance']:.3f}"
        )


def _truth(examples: list[dataset.Example], labelling: Taxonomy) -> np.ndarray:
    return np.array([e.vector(labelling) for e in examples])


def _report(examples: list[dataset.Example], truth: Array, scores: Array, outputs: tuple[Output, ...]) -> Report:
    from training import evaluate

    return evaluate.report(
        tuple(o.key for o in outputs),
        truth.astype(bool),
        calibration.on(scores, outputs),
        scores,
        [e.primary_stance for e in examples],
        calibration.primary(scores, outputs),
    )


def _commit() -> str | None:
    """The commit of the code, where it runs from a checkout."""
    found = subprocess.run(
        ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or None


if __name__ == "__main__":
    typer.run(train)
