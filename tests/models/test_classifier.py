"""The shipped model on texts of every length."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labels import taxonomy
from models import encoding
from models.classifier import Classifier
from models.network import BATCH

CRITICAL = "Inspectors found serious failings: children do not always receive the help that they need, and plans drift."
NEUTRAL = "The library will be closed on Monday for repairs to the roof."


def test_every_label_of_the_taxonomy_has_a_score_and_labels_follow_the_thresholds(champion: Classifier) -> None:
    (found,) = champion.predict([CRITICAL])
    assert tuple(found.scores) == taxonomy.load().keys
    on = {o.key for o in champion.manifest.outputs if found.scores[o.key] >= o.threshold}
    assert on == {f"theme/{name}" for name in found.themes} | {f"stance/{name}" for name in found.stances}


def test_plain_cases(champion: Classifier) -> None:
    critical, neutral = champion.predict([CRITICAL, NEUTRAL])
    assert critical.primary_stance == "critical" and "care_planning" in critical.themes
    assert not neutral.themes and not neutral.stances and neutral.primary_stance is None


def test_order_is_kept_whatever_the_lengths(champion: Classifier) -> None:
    texts = [" ".join([CRITICAL, NEUTRAL][n % 2].split()[: 3 + n % 14]) for n in range(3 * BATCH)]
    alone = [champion.predict([text])[0].scores for text in texts]
    together = [found.scores for found in champion.predict(texts)]
    shuffled = random.Random(1).sample(range(len(texts)), len(texts))
    again = champion.predict([texts[n] for n in shuffled])
    for place, n in enumerate(shuffled):
        assert again[place].scores == together[n]
    assert np.allclose([list(s.values()) for s in alone], [list(s.values()) for s in together], atol=1e-6)


def test_a_passage_scores_the_same_whatever_it_is_batched_with(champion: Classifier) -> None:
    (alone,) = champion.predict([CRITICAL])
    crowd = champion.predict([CRITICAL, *(f"{NEUTRAL} {n} {'word ' * n}" for n in range(40))])
    assert crowd[0].scores == pytest.approx(alone.scores, abs=1e-6)


def test_texts_of_one_meaning_lie_close(champion: Classifier) -> None:
    late = ["Reviews of care plans were late for many children.", "Too often a plan was reviewed after its date."]
    long = " ".join([NEUTRAL] * 60)
    found = champion.network.embeddings([*late, NEUTRAL, long])
    assert found.shape == (4, champion.network.width)
    assert np.linalg.norm(found, axis=1) == pytest.approx(1)
    near = found @ found.T
    assert near[0, 1] > near[0, 2] + 0.2 and near[2, 3] > near[0, 3] + 0.2
    assert champion.network.embeddings([NEUTRAL])[0] == pytest.approx(found[2], abs=1e-6)
    assert champion.network.embeddings([]).shape == (0, champion.network.width)


def test_quotes_spaces_and_case_make_no_difference(champion: Classifier) -> None:
    plain, fancy = champion.predict(
        ['Leaders didn\'t know - "nobody told us".', "Leaders  didn\u2019t know \u2013 \u201cnobody\ntold us\u201d."]
    )
    assert plain.scores == fancy.scores
    assert champion.predict([CRITICAL.upper()])[0].scores == champion.predict([CRITICAL])[0].scores


def test_a_long_text_is_read_to_its_end(champion: Classifier) -> None:
    long, harsh = " ".join([NEUTRAL] * 60), " ".join([CRITICAL] * 5)
    without, with_end, with_start = champion.predict([long, f"{long} {harsh}", f"{harsh} {long}"])
    assert "critical" not in without.stances
    assert "critical" in with_end.stances and "critical" in with_start.stances


def test_windows_leave_no_token_out(champion: Classifier) -> None:
    tokenizer = champion.network._tokenizer
    text = " ".join(f"unheardof{n}" for n in range(90))  # one passage, and many more tokens
    size = 64
    windows = encoding.windows(tokenizer, text, size)
    assert len(windows) > 1 and all(len(window) <= size for window in windows)
    covered = {token for window in windows for token in window}
    assert set(tokenizer.encode(text).ids) <= covered
    joined = windows[0][1:-1]
    for window in windows[1:]:
        joined += window[1:-1][(size - 2) // 2 :]  # what the window before it did not hold
    assert joined == tokenizer.encode(text).ids[1:-1]


@given(st.text(min_size=1, max_size=400))
@settings(max_examples=60, deadline=None)
def test_any_text_gets_finite_probabilities(champion: Classifier, text: str) -> None:
    (found,) = champion.predict([text])
    assert all(0 <= p <= 1 for p in found.scores.values())


def test_nothing_gives_nothing(champion: Classifier) -> None:
    assert champion.predict([]) == []
