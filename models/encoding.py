"""The one encoding of a passage, for training and for serving."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer

from labels.passages import Block, BlockKind, normalise, segment


def load(path: Path) -> Tokenizer:
    """A tokenizer.json as candour uses it: special tokens added, nothing cut and nothing padded."""
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def windows(tokenizer: Tokenizer, text: str, max_tokens: int) -> list[list[int]]:
    """Token ids of a text, special tokens included, in windows of at most max_tokens that leave nothing out.

    A passage gives one window. A longer text is cut as a document's paragraph is, at sentence ends; a run of text that
    is still too long in tokens is cut into windows that overlap by half.
    """
    plain = normalise(text)
    runs = [passage.text for passage in segment(plain, [Block(BlockKind.PARAGRAPH, 0, len(plain))])] or [plain]
    if len(runs) == 1:  # segment() leaves out lead-ins, which are passages here: the caller chose the text
        runs = [plain]
    return [window for run in runs for window in _slices(tokenizer.encode(run).ids, max_tokens)]


def _slices(ids: list[int], size: int) -> Iterator[list[int]]:
    if len(ids) <= size:
        yield ids
        return
    first, body, last = ids[:1], ids[1:-1], ids[-1:]
    room = size - 2
    for start in range(0, max(len(body) - room // 2, 1), room // 2):
        yield first + body[start : start + room] + last
