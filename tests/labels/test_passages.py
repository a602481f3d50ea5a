"""Blocks to passages."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from labels.passages import MAX_WORDS, Block, BlockKind, fingerprint, normalise, segment, sentences

SENTENCE = "The keeper of the light wrote down every ship that went by in the night. "


def only(text: str, kind: BlockKind = BlockKind.PARAGRAPH) -> list[str]:
    return [passage.text for passage in segment(text, [Block(kind, 0, len(text), 1)])]


def test_a_short_block_is_one_passage() -> None:
    assert only(f"  {SENTENCE}") == [SENTENCE.strip()]


def test_what_does_not_speak_gives_no_passage() -> None:
    for kind in (BlockKind.HEADING, BlockKind.TABLE, BlockKind.FURNITURE):
        assert only(SENTENCE, kind) == []
    assert only("The keepers said:") == []
    assert only("12 * 3") == []


def test_a_long_block_is_cut_evenly_between_sentences() -> None:
    runs = only(SENTENCE * 8)
    assert [run.count(".") for run in runs] == [4, 4]
    assert all(len(run.split()) <= MAX_WORDS for run in runs)


def test_a_note_in_brackets_stays_with_its_sentence() -> None:
    text = SENTENCE * 6 + "Nobody read what they wrote. (Recommendation)"
    assert [text[start:end] for start, end in sentences(text)][-1] == "Nobody read what they wrote. (Recommendation)"
    assert only(text)[-1].endswith("they wrote. (Recommendation)")


def test_one_sentence_beyond_the_limit_is_cut_at_a_clause() -> None:
    text = "the lamp was lit; " * 40
    assert all(run.endswith(";") and len(run.split()) <= MAX_WORDS for run in only(text))


@given(st.text(alphabet=st.sampled_from("ab .!?()\n\u2019A1,;"), max_size=400))
def test_passages_are_slices_in_order(text: str) -> None:
    position = 0
    for passage in segment(text, [Block(BlockKind.PARAGRAPH, 0, len(text))]):
        assert text[passage.start : passage.end] == passage.text == passage.text.strip()
        assert passage.start >= position
        position = passage.end


def test_the_fingerprint_ignores_how_quotes_hyphens_and_spaces_are_set() -> None:
    assert fingerprint("A \u2018high-\u00adquality\u2019\n service") == fingerprint("A 'high-quality' service")
    assert normalise("\ufb01ne \u2013  day") == "fine - day"


def test_sentences_before_a_lead_in_are_kept() -> None:
    assert only(f"{SENTENCE}Of these ships:") == [SENTENCE.strip()]


def test_each_piece_of_a_block_has_the_page_on_which_it_starts() -> None:
    text = SENTENCE * 8
    turn = len(SENTENCE) * 3 + 10  # within the fourth sentence
    block = Block(BlockKind.PARAGRAPH, 0, len(text), 4, ((turn, 5),))
    assert [passage.page for passage in segment(text, [block])] == [4, 5]
    assert [block.page_at(place) for place in (0, turn - 1, turn, len(text))] == [4, 4, 5, 5]
