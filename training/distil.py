"""What a teacher says of passages, kept so that a student can learn from it without the teacher.

Passages are named by a hash of their text: those of public reports are not ours to keep.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from labels import dataset, splits
from labels.dataset import Example, Unlabelled
from labels.files import replacing
from labels.passages import fingerprint, normalise
from models.manifest import ArtefactError

# Kept with the code: whoever has no teacher learns from it all the same.
SOFT = Path(__file__).with_name("soft.npz")
# In place of the labels of a passage that the teacher saw without.
UNLABELLED = -1


class SoftLabelsError(ArtefactError):
    """A file that holds no soft labels."""


@dataclass(frozen=True)
class SoftLabels:
    """Probabilities of a teacher, shape (passages, labels), columns in the order of keys, rows in that of names.

    names: the first eight bytes of each passage's fingerprint. learned: of the same shape, the labels that the teacher
    learned from, 1 or 0; UNLABELLED in the rows of passages that it saw without. teacher: what the teacher was, in
    words. scores: its figures on dev and test, by name; test_sha256: of the test passages that those are of.
    """

    keys: tuple[str, ...]
    names: NDArray[np.uint64]
    probabilities: NDArray[np.float16]
    learned: NDArray[np.int8]
    teacher: str
    scores: dict[str, float]
    test_sha256: str

    def of(self, texts: Sequence[str], keys: tuple[str, ...]) -> NDArray[np.float64]:
        """The teacher's probabilities, shape (texts, labels); NaN for a text that it never saw, or a label it lacks."""
        return self._of(self.probabilities, texts, keys)

    def beside(self, labels: NDArray[np.float64], texts: Sequence[str], keys: tuple[str, ...]) -> NDArray[np.float64]:
        """The same, and NaN for a text whose labels, shape (texts, labels), are not those that the teacher learned.

        Who was taught a label that has been corrected since goes on saying it.
        """
        learned = self._of(self.learned, texts, keys)
        corrected = (~np.isnan(learned) & (learned != labels)).any(axis=1)
        return np.where(corrected[:, None], np.nan, self.of(texts, keys))

    def _of(self, held: NDArray[Any], texts: Sequence[str], keys: tuple[str, ...]) -> NDArray[np.float64]:
        known = [(column, self.keys.index(key)) for column, key in enumerate(keys) if key in self.keys]
        columns, theirs = [column for column, _ in known], [at for _, at in known]
        found = np.full((len(texts), len(keys)), np.nan)
        for row, text in enumerate(texts):
            if (at := self._place.get(name_of(text))) is not None:
                found[row, columns] = held[at, theirs]
        return found

    def seen(self, texts: Sequence[str]) -> list[str]:
        """Those of some texts that the teacher saw."""
        return [text for text in texts if name_of(text) in self._place]

    @cached_property
    def _place(self) -> dict[int, int]:
        return {int(name): row for row, name in enumerate(self.names)}

    @property
    def digest(self) -> str:
        """sha256 of what the teacher said of which passages."""
        return hashlib.sha256(self.names.tobytes() + self.probabilities.tobytes()).hexdigest()

    def save(self, path: Path) -> None:
        """Write an npz file, whole or not at all."""
        with replacing(path) as partial, partial.open("wb") as file:
            np.savez_compressed(
                file,
                keys=np.array(self.keys),
                names=self.names,
                probabilities=self.probabilities,
                learned=self.learned,
                teacher=np.array(self.teacher),
                test_sha256=np.array(self.test_sha256),
                score_names=np.array(list(self.scores)),
                scores=np.array(list(self.scores.values())),
            )


def load(path: Path) -> SoftLabels:
    """Read what save() wrote; nothing in the file is unpickled. Raises SoftLabelsError."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as found:
            return SoftLabels(
                keys=tuple(map(str, found["keys"])),
                names=found["names"],
                probabilities=found["probabilities"],
                learned=found["learned"],
                teacher=str(found["teacher"]),
                test_sha256=str(found["test_sha256"]),
                scores=dict(zip(map(str, found["score_names"]), map(float, found["scores"]), strict=True)),
            )
    except KeyError as error:
        raise SoftLabelsError(f"{path} holds no soft labels of today, which `make teacher` makes: {error}") from error
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise SoftLabelsError(f"{path} holds no soft labels: {error}") from error


def unlabelled(path: Path, labelled: Iterable[Example] = ()) -> list[str]:
    """The passages of a file of dataset.Unlabelled whose authority is of the training split: each once, in order.

    None of the labelled texts is among them, whatever authority they are about: some stand in many reports, and of
    some people have said the labels since.
    """
    found: dict[str, str] = {}
    never = {normalise(example.text) for example in labelled}
    for row in dataset.models(path, Unlabelled):
        if splits.split_of(row.group) == "train" and (text := normalise(row.text)) not in never:
            found.setdefault(text, row.text)
    return list(found.values())


def name_of(text: str) -> int:
    """The first eight bytes of a passage's fingerprint, as a number."""
    return int(fingerprint(text)[:16], 16)
