"""The review queue: the passages that are most worth a person's minute."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import cycle, islice

import numpy as np

from models import calibration
from models.manifest import Manifest
from service.corrections import Candidate, Labelled, Reason, ReviewItem
from service.errors import NotFound
from service.report import Scores
from service.store import Store

# Whose turn it is, place by place: one in five is drawn at random. Where nothing is disputed, an uncertain one comes.
TURNS = (Reason.UNCERTAIN, Reason.DISAGREEMENT, Reason.DISPUTED, Reason.DISAGREEMENT, Reason.RANDOM)


def review(store: Store, who: str, limit: int, manifest: Manifest) -> list[ReviewItem]:
    """The next passages, at most `limit`, for a person: by turns uncertain, disagreed on, disputed and random ones.

    Uncertain are those that their model is not confident of; disagreements those that the model before labelled
    differently; disputed those that people label differently, and this person has not yet. They come by the chance that
    one of the labels is wrong, which is the chance that an answer changes something: highest first, in rounds, a
    passage a council in each, and a council's documents take turns (without a council, each document is one). What
    anybody has corrected, and nobody disputes, is not asked again, and counts in the rounds.

    Random ones come in the order of the texts' fingerprints, as shuffled as sha256 is, and the same for everybody: all
    label the same sample, which shows how far they agree, and the corrected texts up to the first that is not are a
    random sample of all texts, so that what is estimated on them is unbiased. What this person has corrected is left
    out, and moves the turns on, so that the order stands while the queue is worked through, however few are asked for
    at a time.
    """
    done, own = store.corrected_texts(), store.corrected_texts(who)
    by_doubt = _by_doubt(store.candidates())
    doubtful = [one for one in by_doubt if not one.confident]
    differing = [one for one in by_doubt if one.former is not None]
    disputed = _by_doubt(store.disputed())
    sources = {
        Reason.UNCERTAIN: (one for one in diverse(doubtful) if one.fingerprint not in done),
        Reason.DISAGREEMENT: (one for one in diverse(differing) if one.fingerprint not in done),
        Reason.DISPUTED: (one for one in diverse(disputed) if one.fingerprint not in own),
        Reason.RANDOM: iter(store.drawn(own, limit)),
    }
    items: list[ReviewItem] = []
    for reason, one in islice(_by_turns(sources, len(own)), limit):
        with suppress(NotFound):  # deleted since
            passage = store.passage(f"{one.document}-{one.position}")
            former = None if one.former is None else Labelled.model_validate(one.former)
            uncertainty = _risk(passage.scores, manifest) if passage.model == manifest.version else None
            items.append(ReviewItem(**dict(passage), reason=reason, uncertainty=uncertainty, former=former))
    return items


def _by_doubt(candidates: Iterable[Candidate]) -> list[Candidate]:
    return sorted(candidates, key=lambda one: (-one.doubt, one.fingerprint, one.document, one.position))


def diverse(ranked: Sequence[Candidate]) -> list[Candidate]:
    """In rounds, a passage a council in each; the documents of a council take turns."""
    by_document = _in_rounds(ranked, lambda one: one.document)
    return _in_rounds(by_document, lambda one: one.council or (one.document,))


def _in_rounds(ranked: Sequence[Candidate], group: Callable[[Candidate], Hashable]) -> list[Candidate]:
    """First the first of each group, in the order that they have, then the second, and so on."""
    seen: Counter[Hashable] = Counter()
    rounds = []
    for one in ranked:
        rounds.append((seen[group(one)], one))
        seen[group(one)] += 1
    return [one for _, one in sorted(rounds, key=lambda pair: pair[0])]


def _by_turns(sources: dict[Reason, Iterator[Candidate]], place: int) -> Iterator[tuple[Reason, Candidate]]:
    """From a place on, each turn's next one, no text twice; where a turn has none left, another's."""
    seen: set[str] = set()
    for turn in islice(cycle(TURNS), place % len(TURNS), None):
        for reason in (turn, *sources):
            one = next((one for one in sources[reason] if one.fingerprint not in seen), None)
            if one is not None:
                seen.add(one.fingerprint)
                yield reason, one
                break
        else:
            return


def _risk(scores: Scores, manifest: Manifest) -> float:
    """The calibrated chance that one of the labels is wrong, as this model has it. What has no score counts as off."""
    axes = {"theme": scores.themes, "stance": scores.stances}
    row = np.array([[axes[output.axis].get(output.name, 0.0) for output in manifest.outputs]])
    return round(float(calibration.risk(row, manifest.outputs, manifest.abstention)[0]), 4)
