"""Explanations of the shipped model: what they name is in the text, and carries the label."""

import pytest

from labels import dataset, splits, taxonomy
from models import explanation
from models.classifier import Classifier

MIXED = (
    "Tarnholme has a new logo. Plans for children in care drift for months. "
    "We are sorry that we let these children down."
)


def test_each_label_that_is_on_is_explained_by_a_sentence_and_words_of_the_text(champion: Classifier) -> None:
    (found,), (predicted,) = explanation.explain([MIXED], champion), champion.predict([MIXED])
    on = {f"theme/{name}" for name in predicted.themes} | {f"stance/{name}" for name in predicted.stances}
    assert {item.key for item in found} == on and "stance/apologetic" in on
    for item in found:
        assert item.probability == pytest.approx(predicted.scores[item.key])
        assert len(item.words) <= explanation.MOST_WORDS
        for span in (item.sentence, *item.words):
            assert MIXED[span.start : span.end] == span.text
        assert [word.effect for word in item.words] == sorted((w.effect for w in item.words), reverse=True)


def test_an_effect_is_what_the_removal_takes_from_the_probability(champion: Classifier) -> None:
    (found,) = explanation.explain([MIXED], champion)
    apology = next(item for item in found if item.key == "stance/apologetic")
    assert apology.sentence.text == "We are sorry that we let these children down."
    for span in (apology.sentence, apology.words[0]):
        (without,) = champion.predict([MIXED[: span.start] + MIXED[span.end :]])
        assert apology.probability - without.scores["stance/apologetic"] == pytest.approx(span.effect, abs=1e-6)


def test_many_texts_are_explained_as_each_alone(champion: Classifier) -> None:
    texts = [MIXED, "The library is closed.", "Leaders do not know how long children wait.", "Visits are late, always."]
    assert explanation.explain(texts, champion) == [explanation.explain([text], champion)[0] for text in texts]
    assert explanation.explain([], champion) == []


def test_a_text_too_long_to_explain_is_refused(champion: Classifier) -> None:
    with pytest.raises(ValueError, match="more than 500 words"):
        explanation.explain(["word " * 501], champion)


def test_without_the_named_sentence_the_label_is_less_sure_in_19_of_20_cases(champion: Classifier) -> None:
    dev = splits.divide(dataset.load([dataset.WRITTEN], taxonomy.load()))["dev"]
    texts = [e.text for e in dev if e.text.count(". ") >= 1][:150]
    lowered = []
    for text, found in zip(texts, explanation.explain(texts, champion), strict=True):
        for item in found:
            (without,) = champion.predict([text[: item.sentence.start] + text[item.sentence.end :]])
            lowered.append(without.scores[item.key] < item.probability)
    assert len(lowered) > 150
    assert sum(lowered) / len(lowered) >= 0.95
