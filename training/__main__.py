"""The recipe: labelled passages to a published model. `candour train`, or `python -m training`."""

from __future__ import annotations

import re
import subprocess
import time
from datetime import UTC, datetime
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from labels import dataset, splits, taxonomy
from labels.passages import SEGMENTATION
from models import calibration, manifest, network, registry
from models.manifest import Lineage, Manifest
from training.base import MINILM
from training.console import StoreOption, console_script

# torch and transformers are imported by the steps that need them, so that `candour --help` stays quick.

PACKAGES = ("torch", "transformers", "datasets", "tokenizers", "onnxruntime", "scikit-learn", "numpy")


def train(
    data: Annotated[
        list[Path] | None, typer.Option(help="Labelled passages (JSONL); may be repeated. Default: the written ones.")
    ] = None,
    base: Annotated[str, typer.Option(help="Base weights: all-MiniLM-L6-v2, a folder, or online a hub id.")] = MINILM,
    store: StoreOption = registry.PACKAGED,
    work: Annotated[Path, typer.Option(help="Checkpoints; a run that was killed goes on from here.")] = Path("work"),
    version: Annotated[str | None, typer.Option(help="Name of the version. Default: date and data digest.")] = None,
    labels: Annotated[Path, typer.Option(help="The taxonomy.")] = taxonomy.PACKAGED,
    seed: Annotated[int, typer.Option(help="Seed of everything drawn at random.")] = 1,
    epochs: Annotated[int, typer.Option(help="Passes over the training split.", min=1)] = 5,
    soft: Annotated[
        Path | None, typer.Option(help="A teacher's soft labels, from `python -m training.teach`. Default: those kept.")
    ] = None,
    passages: Annotated[
        Path | None,
        typer.Option("--unlabelled", help="Passages without labels, from `labels hydrate`. Default: what it wrote."),
    ] = None,
    teacher: Annotated[bool, typer.Option(help="Learn from a teacher's soft labels, too.")] = True,
    baselines: Annotated[bool, typer.Option(help="Train and measure the baselines, too, for the card.")] = True,
    parent: Annotated[str | None, typer.Option(help="Version that it is to follow. Default: the champion.")] = None,
    promote: Annotated[bool, typer.Option(help="Serve it: make it the champion.")] = False,
) -> None:
    """Train a model from labelled passages and publish it to the store.

    Splits by authority, fine-tunes, calibrates on dev, exports to int8 ONNX, measures on test next to the baselines,
    and publishes the artefact with its card and hashes.

    Example: candour train --data labels/data/written.jsonl --promote
    """
    from training import base as bases
    from training import calibrate, card, distil, evaluate, export, plots
    from training.train import MAX_TOKENS, Settings, fit, run_name

    console = Console(stderr=True)
    started, commit = time.monotonic(), _commit()
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
    taught = distil.load(soft or distil.SOFT) if teacher and (soft or distil.SOFT.is_file()) else None
    others: list[str] = []
    if taught and (passages or dataset.UNLABELLED.is_file()):
        others = taught.seen(distil.unlabelled(passages or dataset.UNLABELLED, examples))
    if taught:
        truth = np.array([e.vector(labelling) for e in divided["train"]], dtype=np.float64)
        said = taught.beside(truth, [e.text for e in divided["train"]], labelling.keys)
        known = int((~np.isnan(said).all(axis=1)).sum())
        console.print(
            f"taught by {taught.teacher}: {known} of {len(divided['train'])} passages, and {len(others)} more"
        )
    else:
        console.print("no teacher")
    learned = (divided["train"], divided["dev"], labelling, weights, settings, taught, others)
    checkpoints = work / run_name("train", *learned)

    fitted = fit(
        divided["train"], divided["dev"], labelling, weights, checkpoints, settings,
        soft=taught, unlabelled=others,
        report=lambda figures: console.print(
            "  ".join(f"{k} {v:.4g}" for k, v in figures.items() if isinstance(v, (int, float))), highlight=False
        ),
    )  # fmt: skip
    console.print(f"trained in {time.monotonic() - started:.0f} s")

    texts = {split: [e.text for e in divided[split]] for split in splits.SPLITS}
    dev_truth = np.array([e.vector(labelling) for e in divided["dev"]])
    lineage = Lineage(
        base=weights.name,
        base_sha256=weights.sha256,
        data_sha256=data_digest,
        data_counts={split: len(divided[split]) for split in splits.SPLITS} | {"unlabelled": len(others)},
        teacher=taught.teacher if taught else None,
        teacher_sha256=taught.digest if taught else None,
        taxonomy_version=labelling.version,
        taxonomy_sha256=labelling.digest,
        guide=max((e.guide for e in examples), key=lambda guide: [int(part) for part in re.findall(r"\d+", guide)]),
        seed=seed,
        parent=parent or store_registry.aliases().get(registry.CHAMPION),
        commit=commit,
        packages={package: package_version(package) for package in PACKAGES},
    )
    compared = {}
    if baselines:
        from training import baselines as others_of

        compared = others_of.outcomes(divided, divided["test"], labelling, seed, console.print)
    with store_registry.publishing(version) as folder:
        export.write(fitted, folder)
        # Calibrated on what will be served: the int8 network, not the one in memory.
        served = network.load(folder, MAX_TOKENS)
        dev_logits = served.logits(texts["dev"])
        outputs = calibrate.outputs(dev_logits, dev_truth, labelling.keys)
        abstention = calibrate.abstention(calibration.probabilities(dev_logits, outputs), dev_truth, outputs)
        full_dev, full_test = fitted.logits(texts["dev"]), fitted.logits(texts["test"])
        parity = export.parity(full_dev, dev_logits, calibration.cuts(outputs))
        test_scores = calibration.probabilities(served.logits(texts["test"]), outputs)
        found = evaluate.outcome(divided["test"], labelling, test_scores, outputs, abstention)
        # The float32 network has its own thresholds: what int8 costs is not hidden by thresholds that suit it better.
        full_outputs = calibrate.outputs(full_dev, dev_truth, labelling.keys)
        full_scores = calibration.probabilities(full_test, full_outputs)
        outcomes = {
            f"candour {version}": found,
            "the same in float32": evaluate.outcome(divided["test"], labelling, full_scores, full_outputs),
        }
        outcomes |= compared
        reports = {name: evaluate.report(outcome, seed) for name, outcome in outcomes.items()}
        (folder / manifest.RELIABILITY).write_text(plots.reliability(found), encoding="utf-8")
        (folder / manifest.RISK_COVERAGE).write_text(plots.risk_coverage(found), encoding="utf-8")
        size = (folder / manifest.MODEL).stat().st_size
        teachers = taught.scores if taught and taught.test_sha256 == dataset.digest(divided["test"]) else {}
        text = card.render(
            version=version, taxonomy=labelling, outputs=outputs, abstention=abstention, lineage=lineage,
            reports=reports, parity=parity, size=size, settings=vars(settings),
            teacher=teachers,
        )  # fmt: skip
        (folder / manifest.CARD).write_text(text, encoding="utf-8")
        metrics = reports[f"candour {version}"].flat("test") | reports["the same in float32"].flat("float32")
        metrics |= {f"teacher/{name}": value for name, value in teachers.items()}
        metrics["dev/int8_agreement"] = parity.agreement
        published = Manifest(
            version=version,
            created=datetime.now(UTC).replace(microsecond=0),
            outputs=outputs,
            abstention=abstention,
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
            f"{name}: macro-F1 {', '.join(f'{axis}s {value:.3f}' for axis, value in report.macro_f1.items())}"
        )


def _commit() -> str | None:
    """The commit of the code, where it runs from a checkout; marked where the code was changed since."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parents[1]), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", "labels", "models/*.py", "training")
    return (git("rev-parse", "HEAD") + ("-dirty" if changed else "")) or None


if __name__ == "__main__":
    console_script(train)
