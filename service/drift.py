"""Is what comes in still what the model is known to do well on? Documents of today against a reference, by source.

Of each source the figures are the rates of the labels, the share of confident passages, their length, and how far their
words are from those of the reference. How far is too far follows from the documents themselves: those of today and of
the reference are put together and drawn apart at random, again and again (a permutation test of the largest figure,
Westfall and Young 1993).
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from labels.dataset import Kind
from labels.files import replacing
from models.registry import Registry
from service.errors import InvalidInput
from service.report import Result, ScoredDocument
from service.results import Document

# What stands beside a model's other files.
REFERENCE = "drift.json"
# Of runs on documents like those of the reference, the share in which any figure of any source drifts.
FALSE_ALARMS = 0.01
# Times that documents are drawn apart.
DRAWS = 2000
# What a document without a kind is called.
NONE = "none"
CONFIDENT, LENGTH, VOCABULARY = "confident", "words", "vocabulary"
# In lower case: the names of councils and people differ from one to the next, and say nothing of the subject.
_WORD = re.compile(r"\b[a-z]+(?:['’-][a-z]+)*\b")

Array = NDArray[np.float64]
Scored = Document | ScoredDocument


class Profile(Result):
    """What is kept of a document: no text. sums: of each figure over its passages."""

    kind: Kind | None
    council: str | None
    passages: int
    sums: tuple[float, ...]


class Reference(Result):
    """What documents were like when all was well. words: how often each stood in them."""

    model: str
    figures: tuple[str, ...]
    words: dict[str, int]
    documents: tuple[Profile, ...]

    def profile(self, document: Scored) -> Profile:
        """What is kept of a document of today. Raises InvalidInput where another model labelled it."""
        if document.model != self.model:
            raise InvalidInput(
                f"{document.path or 'a document'} was labelled by {document.model}, the reference by {self.model}: "
                "what differs may be the model"
            )
        return _profile(document, self.figures, _Surprise(self.words, {}))


class Figure(Result):
    """A mean over passages. distance: between the two, in standard deviations of what chance makes of it."""

    name: str = Field(description="A label or confident: the share of passages; words: of a passage; vocabulary: bits "
                                  "a word, the more the further from the words of the reference.")  # fmt: skip
    reference: float
    today: float
    distance: float
    drifted: bool


class Source(Result):
    """Documents of one kind, or of one kind and council, beside those of the reference.

    like: those of the reference are of the same kind; else they are of all kinds, and likely to differ.
    """

    kind: Kind | None
    council: str | None
    like: bool
    documents: int
    passages: int
    reference_documents: int
    figures: list[Figure]

    @property
    def name(self) -> str:
        return ", ".join(filter(None, (self.kind or NONE, self.council)))


class Drift(Result):
    """What has drifted. threshold: the distance that chance alone exceeds in a share `false_alarms` of runs.

    unknown: kinds with too few documents, today or in the reference, for anything to be told.
    """

    model: str
    false_alarms: float = FALSE_ALARMS
    threshold: float
    sources: list[Source]
    unknown: list[str]

    @property
    def drifted(self) -> bool:
        return any(figure.drifted for source in self.sources for figure in source.figures)


class _Surprise:
    """How surprising words are, from how often each was seen, leaving out some of these times (Laplace's rule)."""

    def __init__(self, seen: Mapping[str, int], left_out: Mapping[str, int]) -> None:
        self._seen = seen
        self._left_out = left_out
        self._all = sum(seen.values()) - sum(left_out.values()) + len(seen) + 1

    def bits(self, words: Sequence[str]) -> float:
        """The mean over some words; 0 of none."""
        times = (1 + self._seen.get(word, 0) - self._left_out.get(word, 0) for word in words)
        return sum(math.log2(self._all / n) for n in times) / max(len(words), 1)


def reference(documents: Iterable[Scored]) -> Reference:
    """A reference of documents that one model labelled, which are iterated over twice. Raises InvalidInput.

    How surprising a document's words are is told from the other documents, and not from those on the same council.
    """
    by_council: defaultdict[str, Counter[str]] = defaultdict(Counter)
    models: set[str] = set()
    figures: tuple[str, ...] = ()
    for document in documents:
        models.add(document.model)
        for passage in document.passages:
            by_council[_owner(document)].update(_WORD.findall(passage.text))
            scores = passage.scores
            figures = (*(f"theme/{name}" for name in scores.themes), *(f"stance/{name}" for name in scores.stances))
    if len(models) != 1:
        raise InvalidInput(f"a reference is of documents that one model labelled, not {', '.join(models) or 'of none'}")
    figures += (CONFIDENT, LENGTH, VOCABULARY)
    words: Counter[str] = Counter()
    for counted in by_council.values():
        words.update(counted)
    surprises = {owner: _Surprise(words, counted) for owner, counted in by_council.items()}
    return Reference(
        model=models.pop(),
        figures=figures,
        words=dict(sorted(words.items())),
        documents=tuple(_profile(document, figures, surprises[_owner(document)]) for document in documents),
    )


def _owner(document: Scored) -> str:
    return document.council.casefold() if document.council else document.sha256


def _profile(document: Scored, figures: tuple[str, ...], surprise: _Surprise) -> Profile:
    sums = np.zeros(len(figures))
    for passage in document.passages:
        found = {f"theme/{name}": 1.0 for name in passage.themes} | {f"stance/{name}": 1.0 for name in passage.stances}
        found[CONFIDENT] = float(passage.confident)
        found[LENGTH] = float(len(passage.text.split()))
        found[VOCABULARY] = surprise.bits(_WORD.findall(passage.text))
        sums += [found.get(name, 0.0) for name in figures]
    return Profile(
        kind=document.kind,
        council=document.council,
        passages=len(document.passages),
        sums=tuple(round(float(value), 3) for value in sums),
    )


def beside(store: Path, model: str) -> Path:
    """Where the reference of a model (a version or alias) stands in a store of models. Raises ArtefactError."""
    return Registry(store).resolve(model) / REFERENCE


def read(path: Path) -> Reference:
    """A reference that was written. Raises InvalidInput, and OSError."""
    try:
        return Reference.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise InvalidInput(f"there is no reference {path}: `candour drift --make-reference` makes one") from None
    except ValidationError as error:
        raise InvalidInput(f"{path} is no reference of `candour drift --make-reference`") from error


def write(path: Path, made: Reference) -> None:
    with replacing(path) as partial:
        partial.write_text(made.model_dump_json() + "\n", encoding="utf-8")


def compare(before: Reference, today: Sequence[Profile]) -> Drift:
    """Hold documents of today against a reference."""
    chance = np.random.default_rng(0)
    pairs = _pairs(before, today)
    enough = {place: pair for place, pair in pairs.items() if _can_tell(*pair)}
    distances = {place: _distances(*pair, chance) for place, pair in enough.items()}
    largest = np.max([found.max(axis=1) for found in distances.values()], axis=0) if distances else np.zeros(1)
    threshold = float(np.quantile(largest, 1 - FALSE_ALARMS, method="higher"))
    return Drift(
        model=before.model,
        threshold=threshold,
        sources=[
            Source(
                kind=kind,
                council=council,
                like=all(profile.kind == kind for profile in old),
                documents=len(new),
                passages=sum(profile.passages for profile in new),
                reference_documents=len(old),
                figures=[
                    Figure(
                        name=name, reference=there, today=here, distance=distance, drifted=bool(distance > threshold)
                    )
                    for name, there, here, distance in zip(
                        before.figures, _means(old), _means(new), distances[kind, council][0], strict=True
                    )
                ],
            )
            for (kind, council), (new, old) in enough.items()
        ],
        unknown=[kind or NONE for kind, council in pairs if council is None and (kind, council) not in enough],
    )


Pair = tuple[list[Profile], list[Profile]]


def _pairs(before: Reference, today: Sequence[Profile]) -> dict[tuple[Kind | None, str | None], Pair]:
    """Documents of today and of the reference by kind, and by kind and council where the reference knows both.

    Those of a kind that the reference does not know are beside all of it.
    """
    pairs: dict[tuple[Kind | None, str | None], Pair] = {}
    for kind in sorted({profile.kind for profile in today}, key=str):
        new = [profile for profile in today if profile.kind == kind]
        old = [profile for profile in before.documents if profile.kind == kind]
        pairs[kind, None] = new, old or list(before.documents)
        for council in sorted({profile.council.casefold() for profile in new if profile.council}):
            known = [profile for profile in old if (profile.council or "").casefold() == council]
            if known:
                here = [profile for profile in new if (profile.council or "").casefold() == council]
                pairs[kind, here[0].council] = here, known
    return pairs


def _means(profiles: Sequence[Profile]) -> list[float]:
    passages = sum(profile.passages for profile in profiles)
    return [sum(values) / passages for values in zip(*(profile.sums for profile in profiles), strict=True)]


def _can_tell(new: Sequence[Profile], old: Sequence[Profile]) -> bool:
    """Whether documents can be drawn apart in so many ways that what is seen could be rarer than a false alarm."""
    return math.comb(len(new) + len(old), len(new)) * FALSE_ALARMS >= 1


def _distances(new: Sequence[Profile], old: Sequence[Profile], chance: np.random.Generator) -> Array:
    """Distances of the means, shape (1 + DRAWS, figures): as they are, and of documents drawn apart at random."""
    passages = np.array([profile.passages for profile in (*new, *old)], dtype=float)
    sums = np.array([profile.sums for profile in (*new, *old)])
    all_passages, everything = passages.sum(), sums.sum(axis=0)
    differences = np.empty((1 + DRAWS, sums.shape[1]))
    for draw in range(1 + DRAWS):
        rows = chance.choice(len(passages), len(new), replace=False, shuffle=False) if draw else np.arange(len(new))
        here, part = passages[rows].sum(), sums[rows].sum(axis=0)
        differences[draw] = part / here - (everything - part) / (all_passages - here)
    spread = differences.std(axis=0)
    # What never changes differs by rounding alone.
    return np.asarray(np.abs(differences) / np.where(spread > 1e-9, spread, np.inf))
