"""Passages a second: candour's network against the transformers pipeline, the same passages and the same weights.

    python benchmarks/inference.py --checkpoint work/<version>/checkpoint-N --model <version>

The checkpoint is the float32 network from which the version was exported (candour train leaves it in --work). Rows:
the pipeline as documented (one passage at a time), the pipeline with batches of like length, candour, and candour's
network given sixteen passages in one padded tensor. Each run interleaves all of them; a row gives the median over the
runs and, in brackets, the lowest and highest. The last column is the ratio of medians to the pipeline's better row.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

import training.classifier  # noqa: F401  registers the architecture
from labels import dataset, taxonomy
from labels.passages import normalise
from models import classifier, encoding


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--model", default="champion")
    parser.add_argument("--store", type=Path, default=classifier.PACKAGED)
    parser.add_argument("--passages", type=int, default=400)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()

    rows = dataset.load([dataset.WRITTEN], taxonomy.load())
    texts = [normalise(row.text) for row in rows[:: max(1, len(rows) // options.passages)]][: options.passages]
    loaded = classifier.load(options.model, options.store)
    model = AutoModelForSequenceClassification.from_pretrained(options.checkpoint)
    tokenizer = AutoTokenizer.from_pretrained(options.checkpoint)
    pipe = pipeline("text-classification", model=model, tokenizer=tokenizer, top_k=None, device="cpu")
    by_length = sorted(texts, key=len)
    session, words = loaded.network._session, loaded.network._tokenizer

    def padded() -> None:
        windows = [encoding.windows(words, text, loaded.manifest.max_tokens)[0] for text in by_length]
        for first in range(0, len(windows), 16):
            batch = windows[first : first + 16]
            ids = np.zeros((len(batch), max(map(len, batch))), dtype=np.int64)
            mask = np.zeros_like(ids)
            for row, window in enumerate(batch):
                ids[row, : len(window)], mask[row, : len(window)] = window, 1
            session.run(None, {"input_ids": ids, "attention_mask": mask})

    contestants: dict[str, Callable[[], object]] = {
        "transformers pipeline": lambda: pipe(texts),
        "transformers pipeline, batches of 16 by length": lambda: pipe(by_length, batch_size=16),
        "candour": lambda: loaded.predict(texts),
        "candour's network, padded tensors of 16, one core": padded,
    }
    with torch.inference_mode():
        for run in contestants.values():
            run()
        seconds: dict[str, list[float]] = {name: [] for name in contestants}
        for _ in range(options.runs):
            for name, run in contestants.items():
                started = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - started)
    rates = {name: [len(texts) / s for s in taken] for name, taken in seconds.items()}
    best = max(statistics.median(rate) for name, rate in rates.items() if "pipeline" in name)
    print(
        f"{len(texts)} passages, {options.runs} runs, {torch.get_num_threads()} torch threads, model {loaded.version}"
    )
    for name, rate in rates.items():
        middle = statistics.median(rate)
        print(f"{name:50s} {middle:7.0f}/s  [{min(rate):.0f}–{max(rate):.0f}]  x{middle / best:.2f}")


if __name__ == "__main__":
    main()
