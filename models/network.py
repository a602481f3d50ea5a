"""The network of a model: texts to logits and embeddings, on onnxruntime and tokenizers."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from models import encoding
from models.calibration import Array
from models.manifest import MODEL, TOKENIZER, ArtefactError

# Windows that a worker takes at a time, of like length. Each goes through the network by itself: the int8 network
# scales its activations over all that it is given at once, so that in one tensor a passage's neighbours would change
# its scores; and on a CPU one tensor of sixteen is no faster than sixteen of one (benchmarks/inference.py).
BATCH = 16
# The names of the network's outputs, the second as sentence-transformers has it.
LOGITS, EMBEDDING = "logits", "sentence_embedding"


@dataclass(frozen=True)
class Network:
    """Safe to share between threads. Micro-batches run side by side, one on each core that it may use.

    A text's logits depend on that text alone, not on what else is asked at the same time.
    """

    _session: onnxruntime.InferenceSession
    _tokenizer: Tokenizer
    _workers: ThreadPoolExecutor
    max_tokens: int
    labels: int
    width: int

    def logits(self, texts: Sequence[str]) -> Array:
        """Raw outputs, shape (texts, labels); for a text of several windows, the maximum over them."""
        merged = np.full((len(texts), self.labels), -np.inf)
        for owners, found in self._found(texts, LOGITS):
            np.maximum.at(merged, owners, found)
        return merged

    def embeddings(self, texts: Sequence[str]) -> Array:
        """The mean of a text's token vectors, which the labels are read from, at length 1; shape (texts, width).

        For a text of several windows, the mean over them.
        """
        summed = np.zeros((len(texts), self.width))
        for owners, found in self._found(texts, EMBEDDING):
            np.add.at(summed, owners, found)
        return np.asarray(summed / np.linalg.norm(summed, axis=1, keepdims=True))

    def tokens(self, texts: Sequence[str]) -> int:
        """How many tokens the network reads of texts."""
        return sum(len(w) for text in texts for w in encoding.windows(self._tokenizer, text, self.max_tokens))

    def _found(self, texts: Sequence[str], output: str) -> Iterator[tuple[list[int], Array]]:
        """An output of each window, by batches: the places of the texts that they are of, shape (windows, …)."""
        owners: list[int] = []
        windows: list[list[int]] = []
        for index, text in enumerate(texts):
            for window in encoding.windows(self._tokenizer, text, self.max_tokens):
                owners.append(index)
                windows.append(window)
        by_length = sorted(range(len(windows)), key=lambda n: len(windows[n]))
        batches = [by_length[first : first + BATCH] for first in range(0, len(by_length), BATCH)]
        runs = self._workers.map(lambda batch: self._run([windows[n] for n in batch], output), batches)
        for batch, found in zip(batches, runs, strict=True):
            yield [owners[n] for n in batch], found

    def _run(self, windows: list[list[int]], output: str) -> Array:
        rows = []
        for window in windows:
            ids = np.array([window], dtype=np.int64)
            rows.append(self._session.run([output], {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0])
        return np.concatenate(rows).astype(np.float64)


def load(folder: Path, max_tokens: int, threads: int = 0) -> Network:
    """The network of a model's folder, not verified. threads: 0 for one a core. Raises ArtefactError."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(folder / MODEL, options, providers=["CPUExecutionProvider"])
        tokenizer = encoding.load(folder / TOKENIZER)
    except Exception as error:  # neither onnxruntime's nor tokenizers' exceptions have a public base class
        raise ArtefactError(f"{folder} cannot be loaded: {error}") from error
    sizes = {output.name: output.shape[-1] for output in session.get_outputs()}
    if missing := {LOGITS, EMBEDDING} - sizes.keys():
        raise ArtefactError(f"{folder}: the network has no output {', '.join(sorted(missing))}")
    workers = ThreadPoolExecutor(threads or os.cpu_count() or 1, thread_name_prefix="network")
    return Network(session, tokenizer, workers, max_tokens, sizes[LOGITS], sizes[EMBEDDING])
