"""Why a label is on: the sentence and the words without which the network is less sure of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from labels.passages import sentences
from models.calibration import Array
from models.classifier import Classifier

# The words named for a label: as many as a reader takes in.
MOST_WORDS = 5
# The longest text, in words: the passes that a text costs grow with the square of its length.
LONGEST = 500
_WORD = re.compile(r"\w+(?:['’.-]\w+)*")


@dataclass(frozen=True)
class Span:
    """Part of a text, from start to end (characters). effect: what its removal takes from the label's probability."""

    text: str
    start: int
    end: int
    effect: float


@dataclass(frozen=True)
class Explanation:
    """What carries one label that is on.

    sentence: the sentence whose removal lowers the probability most; words: those whose removal, one at a time, lowers
    it, the strongest first, MOST_WORDS at most. An effect says what the network rests on, not what is true.
    """

    key: str
    probability: float
    sentence: Span
    words: tuple[Span, ...]


def explain(texts: Sequence[str], classifier: Classifier) -> list[list[Explanation]]:
    """For each text, an explanation of each label that is on, in the order of the outputs.

    By occlusion (Zeiler and Fergus 2014): each sentence and each word is taken out, one at a time, and the network
    asked again, so that a text costs as many passes as it has words and sentences. All texts go in one batch.
    Raises ValueError for a text of more than LONGEST words.
    """
    if any(words(text) > LONGEST for text in texts):
        raise ValueError(f"a text of more than {LONGEST} words is not explained")
    cuts = [(_spans(text, sentences(text)), _spans(text, (m.span() for m in _WORD.finditer(text)))) for text in texts]
    asked = [
        text[:start] + text[end:]
        for text, pair in zip(texts, cuts, strict=True)
        for part in pair
        for start, end in part
    ]
    scores = classifier.scores([*texts, *asked])
    whole, without = scores[: len(texts)], scores[len(texts) :]
    explained, first = [], 0
    for text, row, (long, short) in zip(texts, whole, cuts, strict=True):
        effects = row - without[first : first + len(long) + len(short)]
        first += len(effects)
        explained.append(
            [
                _explanation(
                    text, output.key, float(row[n]), long, effects[: len(long), n], short, effects[len(long) :, n]
                )
                for n, output in enumerate(classifier.manifest.outputs)
                if row[n] >= output.threshold and long
            ]
        )
    return explained


def words(text: str) -> int:
    """How many words an explanation would take out, one at a time."""
    return sum(1 for _ in _WORD.finditer(text))


def _explanation(
    text: str, key: str, probability: float,
    long: Sequence[tuple[int, int]], by_sentence: Array, short: Sequence[tuple[int, int]], by_word: Array,
) -> Explanation:  # fmt: skip
    strongest = int(np.argmax(by_sentence))
    carrying = [n for n in np.argsort(-by_word, kind="stable")[:MOST_WORDS] if by_word[n] > 0]
    return Explanation(
        key=key,
        probability=probability,
        sentence=_span(text, long[strongest], by_sentence[strongest]),
        words=tuple(_span(text, short[n], by_word[n]) for n in carrying),
    )


def _span(text: str, place: tuple[int, int], effect: float) -> Span:
    return Span(text[slice(*place)], *place, float(effect))


def _spans(text: str, found: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    return [(start, end) for start, end in found if text[start:end].strip()]
