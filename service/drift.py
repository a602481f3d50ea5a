"""Is what comes in still what the model is known to do well on? Documents of today against a reference, by source.

Of each source the figures are the rates of the labels, the share of confident passages, their length, how far their
words are from those of the reference, and how far apart the means of their embeddings are. How far is too far follows
from the documents themselves: those of today and of the reference are put together and drawn apart at random, again and
again (a permutation test of the largest figure, Westfall and Young 1993).
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from labels.dataset import Kind
from labels.files import replacing
from models.classifier import Classifier
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
CONFIDENT, LENGTH, VOCABULARY, EMBEDDING = "confident", "words", "vocabulary", "embedding"
# Passages of a document that are embedded, spread evenly over it, and directions in which embeddings are compared.
EMBEDDED, DIRECTIONS = 10, 16
# In lower case: the names of councils and people differ from one to the next, and say nothing of the subject.
_WORD = re.compile(r"\b[a-z]+(?:['’-][a-z]+)*\b")

Array = NDArray[np.float64]
Scored = Document | ScoredDocument


class Profile(Result):
    """What is kept of a document: no text.

    sums: over its passages, of each figure, and then of each direction of the reference's embeddings.
    """

    kind: Kind | None
    council: str | None
    passages: int
    sums: tuple[float, ...]


class Reference(Result):
    """What documents were like when all was well. words: how often each stood in them.

    centre: the mean of the embeddings, shape (width,); directions: those in which they differ most, in which a step of
    one standard deviation counts 1, shape (directions, width).
    """

    model: str
    figures: tuple[str, ...]
    words: dict[str, int]
    centre: tuple[float, ...]
    directions: tuple[tuple[float, ...], ...]
    documents: tuple[Profile, ...]

    def profile(self, document: Scored, classifier: Classifier) -> Profile:
        """What is kept of a document of today. classifier: the model. Raises InvalidInput where it is another's."""
        if document.model != self.model:
            raise InvalidInput(
                f"{document.path or 'a document'} was labelled by {document.model}, the reference by {self.model}: "
                "what differs may be the model"
            )
        space = np.array(self.centre), np.array(self.directions).reshape(-1, len(self.centre))
        return _profile(
            document, self.figures, _Surprise(self.words, {}), _placed(_embedded(document, classifier), space)
        )


class Figure(Result):
    """A mean over passages. distance: between the two, in standard deviations of what chance makes of it."""

    name: str = Field(description="A label or confident: the share of passages; words: of a passage; vocabulary: bits "
                                  "a word, the more the further from the words of the reference; embedding: how far "
                                  "apart the means are, and (reference) would be by chance.")  # fmt: skip
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


def reference(documents: Iterable[Scored], classifier: Classifier) -> Reference:
    """A reference of documents that a model labelled, which are iterated over twice. Raises InvalidInput.

    How surprising a document's words are is told from the other documents, and not from those on the same council.
    """
    by_council: defaultdict[str, Counter[str]] = defaultdict(Counter)
    models: set[str] = set()
    figures: tuple[str, ...] = ()
    embedded: list[Array] = []
    for document in documents:
        models.add(document.model)
        for passage in document.passages:
            by_council[_owner(document)].update(_WORD.findall(passage.text))
            scores = passage.scores
            figures = (*(f"theme/{name}" for name in scores.themes), *(f"stance/{name}" for name in scores.stances))
        embedded.append(_embedded(document, classifier))
    if models != {classifier.version}:
        found = ", ".join(sorted(models)) or "none"
        raise InvalidInput(f"a reference is of documents that {classifier.version} labelled, not {found}")
    figures += (CONFIDENT, LENGTH, VOCABULARY)
    words: Counter[str] = Counter()
    for counted in by_council.values():
        words.update(counted)
    surprises = {owner: _Surprise(words, counted) for owner, counted in by_council.items()}
    space = _space(np.vstack(embedded))
    profiles = (
        _profile(document, figures, surprises[_owner(document)], _placed(vectors, space))
        for document, vectors in zip(documents, embedded, strict=True)
    )
    return Reference(
        model=classifier.version,
        figures=figures,
        words=dict(sorted(words.items())),
        centre=tuple(space[0].round(4).tolist()),
        directions=tuple(map(tuple, space[1].round(3).tolist())),
        documents=tuple(profiles),
    )


def _embedded(document: Scored, classifier: Classifier) -> Array:
    """Embeddings of passages spread evenly over a document, shape (passages, width)."""
    texts = [passage.text for passage in document.passages]
    return classifier.network.embeddings(texts[:: max(1, math.ceil(len(texts) / EMBEDDED))])


def _space(embedded: Array) -> tuple[Array, Array]:
    """Centre and directions, by principal components."""
    centre = embedded.mean(axis=0)
    _, lengths, directions = np.linalg.svd(embedded - centre, full_matrices=False)
    spread = lengths / math.sqrt(len(embedded))
    kept = min(DIRECTIONS, int((spread > 1e-6).sum()))
    return centre, directions[:kept] / spread[:kept, None]


def _placed(embedded: Array, space: tuple[Array, Array]) -> Array:
    """The mean of embeddings in a space, shape (directions,)."""
    centre, directions = space
    return np.asarray((embedded - centre).mean(axis=0) @ directions.T)


def _owner(document: Scored) -> str:
    return document.council.casefold() if document.council else document.sha256


def _profile(document: Scored, figures: tuple[str, ...], surprise: _Surprise, place: Array) -> Profile:
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
        sums=tuple(round(float(value), 3) for value in (*sums, *place * len(document.passages))),
    )


def beside(store: Path, model: str) -> Path:
    """Where the reference of a model (a version or alias) stands in a store of models. Raises ArtefactError."""
    return Registry(store).resolve(model) / REFERENCE


def read(path: Path) -> Reference:
    """A reference that was written. Raises InvalidInput, and OSError."""
    try:
        return Reference.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise InvalidInput(f"there is no reference {path}: `candour models reference` makes one") from None
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
    compared = {place: _compared(*pair, before.figures, chance) for place, pair in enough.items()}
    largest = np.max([found.distances.max(axis=1) for found in compared.values()], axis=0) if compared else np.zeros(1)
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
                    for name, there, here, distance in zip(*compared[kind, council].figures(), strict=True)
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


def _can_tell(new: Sequence[Profile], old: Sequence[Profile]) -> bool:
    """Whether documents can be drawn apart in so many ways that what is seen could be rarer than a false alarm."""
    return math.comb(len(new) + len(old), len(new)) * FALSE_ALARMS >= 1


@dataclass(frozen=True)
class _Compared:
    """Two sets of documents: means of both, and distances as they are, and of documents drawn apart at random.

    distances: shape (1 + DRAWS, figures).
    """

    names: tuple[str, ...]
    reference: Array
    today: Array
    distances: Array

    def figures(self) -> tuple[tuple[str, ...], list[float], list[float], list[float]]:
        return self.names, self.reference.tolist(), self.today.tolist(), self.distances[0].tolist()


def _compared(
    new: Sequence[Profile], old: Sequence[Profile], names: tuple[str, ...], chance: np.random.Generator
) -> _Compared:
    passages = np.array([profile.passages for profile in (*new, *old)], dtype=float)
    sums = np.array([profile.sums for profile in (*new, *old)])
    all_passages, everything = passages.sum(), sums.sum(axis=0)
    differences = np.empty((1 + DRAWS, sums.shape[1]))
    for draw in range(1 + DRAWS):
        rows = chance.choice(len(passages), len(new), replace=False, shuffle=False) if draw else np.arange(len(new))
        here, part = passages[rows].sum(), sums[rows].sum(axis=0)
        differences[draw] = part / here - (everything - part) / (all_passages - here)
    today = sums[: len(new)].sum(axis=0) / passages[: len(new)].sum()
    reference = sums[len(new) :].sum(axis=0) / passages[len(new) :].sum()
    figures = len(names)
    distances = np.abs(differences[:, :figures]) / _spread(differences[:, :figures])
    if sums.shape[1] == figures:
        return _Compared(names, reference, today, distances)
    apart = np.linalg.norm(differences[:, figures:], axis=1, keepdims=True)
    beyond = np.maximum(apart - apart.mean(axis=0), 0) / _spread(apart)
    return _Compared(
        (*names, EMBEDDING),
        np.append(reference[:figures], apart[1:].mean()),
        np.append(today[:figures], apart[0]),
        np.hstack([distances, beyond]),
    )


def _spread(differences: Array) -> Array:
    """Standard deviations; infinite where there is none: what never changes differs by rounding alone."""
    spread = differences.std(axis=0)
    return np.asarray(np.where(spread > 1e-9, spread, np.inf))
