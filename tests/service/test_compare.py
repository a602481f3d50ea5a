"""What a response answers: the rules, by hand-made labels."""

import pytest

from labels import taxonomy
from service import compare, report
from service.errors import InvalidInput
from service.report import ScoredDocument, ScoredPassage, Scores

TAXONOMY = taxonomy.load()


def document(*passages: tuple[str, str], model: str = "m") -> ScoredDocument:
    """A document of passages, each of themes and stances, by their first letters."""
    themes, stances = {t[0]: t for t in TAXONOMY.themes}, {s[0]: s for s in TAXONOMY.stances}
    made = [
        ScoredPassage(
            text=f"Passage {n}.", start=11 * n, end=11 * n + 10, page=n + 1, model=model, confident=True,
            themes=[themes[t] for t in ts], stances=[stances[s] for s in ss],
            primary_stance=stances[ss[0]] if ss else None,
            scores=Scores(themes={}, stances={}),
        )
        for n, (ts, ss) in enumerate(passages)
    ]  # fmt: skip
    return ScoredDocument(
        id="x", path="x", title="T", published=None, media_type="text/plain", pages=None, sha256="0" * 64, model=model,
        segmentation="1", passages=made, summary=report.summarise(made),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("said", "answered", "verdict"),
    [
        ([("t", "s")], [("t", "a")], "not_criticised"),
        ([("t", "c")], [], "unanswered"),
        ([("t", "c")], [("", "a"), ("", "d")], "unanswered"),  # an apology that names no theme answers none
        ([("t", "c")], [("c", "a")], "unanswered"),  # nor does one for another theme
        ([("t", "c")], [("t", "s")], "unanswered"),  # nor praise of what was criticised
        ([("t", "c")], [("t", "")], "acknowledged"),
        ([("t", "c")], [("t", "c")], "acknowledged"),
        ([("t", "c")], [("t", "c"), ("t", "d")], "defended"),
        ([("t", "sc")], [("t", "d"), ("t", "a")], "apologised"),
        ([("t", "c")], [("t", "da")], "apologised"),
    ],
)
def test_verdicts(said: list[tuple[str, str]], answered: list[tuple[str, str]], verdict: str) -> None:
    found = compare.compare(document(*said), document(*answered), TAXONOMY)
    assert [theme.theme for theme in found.themes] == list(TAXONOMY.themes)
    assert found.themes[0].verdict == verdict
    assert all(theme.verdict == "not_criticised" for theme in found.themes[1:])


def test_the_passages_that_show_it_keep_their_places() -> None:
    said = document(("l", "s"), ("l", "c"), ("t", "c"), ("l", "sc"))
    answer = document(("", "a"), ("l", "d"), ("l", ""))
    found = {theme.theme: theme for theme in compare.compare(said, answer, TAXONOMY).themes}
    leadership = found["leadership"]
    assert (leadership.report.critical, leadership.report.supportive) == (2, 2)
    assert [p.position for p in leadership.report.passages] == [1, 3]
    assert [p.position for p in leadership.response.passages] == [1, 2]
    assert leadership.response.stances == {"defensive": 1, "none": 1}
    assert leadership.report.passages[0].page == 2


def test_the_sentence_names_what_was_criticised_and_what_became_of_it() -> None:
    said = document(("t", "c"), ("l", "c"), ("m", "c"))
    found = compare.compare(said, document(("l", "a"), ("t", "d")), TAXONOMY)
    assert found.sentence == (
        "The report criticises thresholds, missing children and leadership; the response apologises for leadership, "
        "defends thresholds and leaves missing children unanswered."
    )
    assert compare.compare(document(("t", "s")), said, TAXONOMY).sentence == "The report criticises none of the themes."


def test_two_models_cannot_be_compared() -> None:
    with pytest.raises(InvalidInput, match="scored by model m, the response by n"):
        compare.compare(document(), document(model="n"), TAXONOMY)
