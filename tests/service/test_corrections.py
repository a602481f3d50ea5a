"""Corrections, on each database: kept in every version, chosen for by the review queue, pulled through the checks."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable
from datetime import date
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from labels import check, dataset, references, splits, taxonomy
from labels.dataset import Example
from labels.passages import fingerprint
from models import calibration
from models.classifier import Classifier
from service import analysis, corrections, labels_cli, report
from service.corrections import Candidate, Corrected, Correction, Pulled, Reason, Said
from service.errors import InvalidInput, NotFound
from service.labels_cli import CORRECTIONS, labels_app
from service.report import Metadata, ScoredDocument, ScoredPassage, Scores
from service.review import TURNS, diverse, review
from service.store import DocumentFilter, Store
from tests.service.test_store import document, passage

ROOT = Path(__file__).parents[2]
LABELLING = taxonomy.load()
CRITICAL = ("care_planning",), ("critical",), "critical"
DEFENSIVE = ("care_planning",), ("defensive",), "defensive"
NOTHING = (), (), None
runner = CliRunner()


def said(labels: Any = CRITICAL, who: str = "Nerys Quill", why: str | None = None, guide: str = "1.0") -> Said:
    themes, stances, primary = labels
    return Said(themes=themes, stances=stances, primary_stance=primary, who=who, why=why, guide=guide)


def scored(text: str, probability: float, confident: bool = False) -> ScoredPassage:
    """A passage of which each label that is on has a probability, the others none at all."""
    base = passage(text, themes=["care_planning"], stances=["critical"], confident=confident)
    scores = Scores(
        themes={name: probability if name == "care_planning" else 0.001 for name in LABELLING.themes},
        stances={name: probability if name == "critical" else 0.001 for name in LABELLING.stances},
    )
    return base.model_copy(update={"scores": scores})


def by_model(put: ScoredDocument, model: str, **labels: Any) -> ScoredDocument:
    """The document with other labels, which another model gave each of its passages."""
    passages = [one.model_copy(update={"model": model, **labels}) for one in put.passages]
    return put.model_copy(update={"model": model, "passages": passages, "summary": report.summarise(passages)})


def words(number: int) -> str:
    """A text that shares next to nothing with that of another number, and with the packaged set."""
    some = random.Random(number)
    return " ".join("".join(some.choices("aeioubdfgklmnprstvz", k=8)) for _ in range(20)).capitalize() + "."


@pytest.fixture
def database(store: Store, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("CANDOUR_DATABASE", database_url)
    return store


def run(*arguments: str) -> tuple[int, str]:
    result = runner.invoke(labels_app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, " ".join(result.output.split())


# Kept


def test_every_version_is_kept_and_the_last_of_each_person_is_present(store: Store) -> None:
    put = store.put(document("A letter.", passage("Plans drift.", themes=["leadership"])))
    first = store.correct(f"{put.id}-0", said(CRITICAL, "Nerys Quill", "It finds fault."))
    second = store.correct(f"{put.id}-0", said(NOTHING, " Bo Tarn "))
    assert (first.text, first.position, first.why, first.guide) == ("Plans drift.", 0, "It finds fault.", "1.0")
    assert (first.given.themes, first.given.model) == (["leadership"], put.model) and second.who == "Bo Tarn"
    found = corrections.overview(store.corrections(f"{put.id}-0"))
    assert found.disagree and found.present == found.versions == [second, first]
    third = store.correct(f"{put.id}-0", said(NOTHING, "Nerys Quill"))
    found = corrections.overview(store.corrections(f"{put.id}-0"))
    assert not found.disagree
    assert found.present == [third, second] and found.versions == [third, second, first]


def test_a_person_is_the_same_however_the_name_is_written(store: Store) -> None:
    put = store.put(document("A letter.", passage("Plans drift.")))
    first = store.correct(f"{put.id}-0", said(CRITICAL, "Nerys Quill"))
    again = store.correct(f"{put.id}-0", said(DEFENSIVE, "  nerys \t QUILL "))
    found = corrections.overview(store.corrections(f"{put.id}-0"))
    assert found.present == [again] and found.versions == [again, first] and not found.disagree
    assert (first.who, again.who) == ("Nerys Quill", "nerys \t QUILL")
    for who in ("Nerys Quill", "NERYS QUILL", "nerys\n quill"):
        assert store.corrected_texts(who) == {fingerprint("Plans drift.")}
    assert store.corrected_texts("NerysQuill") == set()


def test_the_key_by_which_a_correction_came_is_kept_with_it(store: Store) -> None:
    put = store.put(document())
    kept = [store.correct(f"{put.id}-0", said(), "c0ffee"), store.correct(f"{put.id}-0", said())]
    assert [one.key for one in kept] == ["c0ffee", None]
    assert sorted(store.corrections(f"{put.id}-0"), key=lambda one: one.id) == kept


def test_the_order_of_labels_is_no_disagreement_and_the_primary_stance_is_one(store: Store) -> None:
    put = store.put(document())
    both = ("critical", "apologetic")
    store.correct(f"{put.id}-0", said(((), both, "critical"), "Nerys Quill"))
    store.correct(f"{put.id}-0", said(((), both[::-1], "critical"), "Bo Tarn"))
    assert not corrections.overview(store.corrections(f"{put.id}-0")).disagree
    store.correct(f"{put.id}-0", said(((), both, "apologetic"), "Bo Tarn"))
    assert corrections.overview(store.corrections(f"{put.id}-0")).disagree


def test_a_correction_leaves_the_models_labels_and_outlives_a_rescoring(store: Store) -> None:
    put = store.put(document("A letter.", passage("Plans drift."), passage("Bins.")))
    kept = store.correct(f"{put.id}-0", said())
    assert store.get(put.id) == put
    cut_otherwise = document("A letter.", passage("Dear reader."), passage("Plans  drift."))
    store.put(by_model(cut_otherwise, "20260202-bbbbbbbb"))
    assert store.corrections(f"{put.id}-0") == [] and store.corrections(f"{put.id}-1") == [kept]


def test_a_correction_holds_wherever_its_text_stands_and_goes_with_its_document(store: Store) -> None:
    here, there = (store.put(document(name, passage("Plans drift."))) for name in ("One.", "Two."))
    kept = store.correct(f"{here.id}-0", said())
    assert store.corrections(f"{there.id}-0") == [kept]
    store.delete(here.id)
    assert store.corrections(f"{there.id}-0") == [] and store.corrected() == [] and store.corrected_texts() == set()


@pytest.mark.parametrize("id_", ["", "x", "-", "-0", "{}", "{}-", "{}-1", "{}-x", "{}-999999999999", "{}--1", "a\0-0"])
def test_what_is_not_there_cannot_be_corrected(store: Store, id_: str) -> None:
    put = store.put(document())
    for call in (store.passage, store.corrections, lambda id_: store.correct(id_, said())):
        with pytest.raises(NotFound):
            call(id_.format(put.id))


def test_text_that_no_database_holds_is_corrected_too(store: Store) -> None:
    put = store.put(document("A letter.", passage("Plans \0 drift \ud800.")))
    kept = store.correct(f"{put.id}-0", said(who="Nerys\0Quill", why="\ud800"))
    assert kept.text == "Plans \ufffd drift \ufffd." and kept.who == "Nerys\ufffdQuill"
    assert store.corrections(f"{put.id}-0") == [kept]
    assert store.corrected_texts() == {fingerprint(kept.text)}


@pytest.mark.parametrize(
    ("labels", "who", "faults"),
    [
        ((("poems",), ("rude",), "rude"), "Bo", ["unknown theme 'poems'", "unknown stance 'rude'"]),
        (((), ("critical",), None), "Bo", ["stances without a primary_stance"]),
        (((), ("critical",), "defensive"), "Bo", ["primary_stance 'defensive' is not one of the stances"]),
        (((), (), "critical"), " ", ["primary_stance without a stance", "nobody is named"]),
        ((("leadership", "leadership"), (), None), "Bo", ["a theme is named twice"]),
        (NOTHING, "\u200b", ["nobody is named"]),
        (NOTHING, "Bo\nTarn", ["one line"]),
        (NOTHING, "Bo\x1b[31m", ["one line"]),
        (NOTHING, "Bo\u2028Tarn", ["one line"]),
        (NOTHING, "B" * 201, ["at most 200 characters"]),
    ],
)
def test_labels_that_are_none_are_refused_fault_by_fault(labels: Any, who: str, faults: list[str]) -> None:
    with pytest.raises(InvalidInput) as refused:
        said(labels, who).checked(LABELLING)
    assert all(fault in str(refused.value) for fault in faults)


# The review queue


def queue(store: Store, champion: Classifier, who: str = "Nerys Quill", limit: int = 20) -> list[Any]:
    return review(store, who, limit, champion.manifest)


def test_uncertain_passages_come_by_the_chance_that_a_label_is_wrong(store: Store, champion: Classifier) -> None:
    chances = (0.61, 0.97, 0.75, 0.88)
    for chance in chances:
        put = document(f"{chance}", scored(f"Chance {chance}.", chance), council=f"Council {chance}")
        store.put(by_model(put, champion.version))
    found = [item for item in queue(store, champion) if item.reason is Reason.UNCERTAIN]
    assert len(found) >= 3 and [item.uncertainty for item in found] == sorted(
        (item.uncertainty for item in found), reverse=True
    )
    manifest = champion.manifest
    for item in found:
        scores = {"theme": item.scores.themes, "stance": item.scores.stances}
        row = np.array([[scores[output.axis][output.name] for output in manifest.outputs]])
        risk = calibration.risk(row, manifest.outputs, manifest.abstention)[0]
        assert item.uncertainty == pytest.approx(risk, abs=1e-4)


def test_nothing_is_reckoned_of_a_passage_that_another_model_labelled(store: Store, champion: Classifier) -> None:
    store.put(document("A.", scored("Plans drift.", 0.7)))
    store.put(by_model(document("B.", scored("Bins.", 0.7)), champion.version))
    found = {item.text: item.uncertainty for item in queue(store, champion)}
    assert found["Plans drift."] is None and found["Bins."] > 0


def test_what_people_disagree_on_is_asked_of_those_who_have_not_labelled_it(store: Store, champion: Classifier) -> None:
    put = store.put(document("Rooms.", *(scored(f"Room {n} is red.", 0.7) for n in range(12))))
    for who, labels in (("Nerys Quill", CRITICAL), ("Bo Tarn", DEFENSIVE)):
        store.correct(f"{put.id}-3", said(labels, who))
        store.correct(f"{put.id}-4", said(CRITICAL, who))
    reasons = {item.text: item.reason for item in queue(store, champion, "Ash Vale")}
    assert [text for text, reason in reasons.items() if reason is Reason.DISPUTED] == ["Room 3 is red."]
    assert reasons["Room 4 is red."] is Reason.RANDOM  # on which they agree
    turn = TURNS.index(Reason.DISPUTED)
    assert list(reasons)[turn] == "Room 3 is red."
    for who in ("bo tarn", "NERYS  QUILL"):
        assert Reason.DISPUTED not in {item.reason for item in queue(store, champion, who)}
    store.correct(f"{put.id}-3", said(CRITICAL, "Bo Tarn"))  # who thinks again
    assert Reason.DISPUTED not in {item.reason for item in queue(store, champion, "Ash Vale")}


def test_confident_passages_are_asked_for_at_random_alone(store: Store, champion: Classifier) -> None:
    put = store.put(document("Sure.", *(scored(f"Room {n} is blue.", 0.99, confident=True) for n in range(12))))
    found = queue(store, champion, limit=12)
    assert {item.reason for item in found} == {Reason.RANDOM} and len(found) == 12
    order = sorted(fingerprint(one.text) for one in put.passages)
    assert [fingerprint(item.text) for item in found] == order


def test_a_passage_that_the_model_before_labelled_otherwise_is_a_disagreement(
    store: Store, champion: Classifier
) -> None:
    put = store.put(document("A.", passage("Plans drift.", ["care_planning"]), passage("Bins.", ["care_planning"])))
    rescored = by_model(put, "20260202-bbbbbbbb", themes=["leadership"], confident=True)
    same = rescored.passages[1].model_copy(update={"themes": ["care_planning"]})
    rescored = rescored.model_copy(update={"passages": [rescored.passages[0], same]})
    for _ in range(2):  # put again by the same model, it is as it was
        store.put(rescored)
        found = {item.text: item for item in queue(store, champion)}
        assert found["Plans drift."].reason is Reason.DISAGREEMENT and found["Bins."].reason is Reason.RANDOM
        former = found["Plans drift."].former
        assert former is not None and (former.themes, former.model) == (["care_planning"], put.model)
        assert found["Bins."].former is None
    store.put(by_model(rescored, "20260303-cccccccc"))  # which agrees with the second
    assert {item.former for item in queue(store, champion)} == {None}


def test_no_council_fills_the_queue(store: Store, champion: Classifier) -> None:
    for name, worst in (("Tarnholme", 0.60), ("Quillborough", 0.85), (None, 0.9)):
        for letter in "ab":
            passages = [scored(f"{name} {letter} {n}.", worst + n / 1000) for n in range(10)]
            store.put(document(f"{name} {letter}", *passages, council=name))
    chosen = [item for item in queue(store, champion, limit=20) if item.reason is not Reason.RANDOM]
    # Two councils, and two documents of none, each of which is one.
    groups = Counter((item.council or item.document) for item in chosen)
    assert len(groups) == 4 and max(groups.values()) - min(groups.values()) <= 2
    of_one = Counter(item.document for item in chosen if item.council == "Tarnholme")
    assert len(of_one) == 2 and max(of_one.values()) - min(of_one.values()) <= 1


def test_rounds_take_each_council_and_each_of_its_documents_in_turn() -> None:
    def candidate(council: str | None, document: str, position: int) -> Candidate:
        return Candidate(document, position, f"{document}{position}", council, 0.5, False, None)

    ranked = [candidate("a", "1", n) for n in range(3)] + [candidate("a", "2", 0), candidate("b", "3", 0)]
    ranked += [candidate(None, "4", 0), candidate(None, "5", 0), candidate(None, "5", 1)]
    assert [one.fingerprint for one in diverse(ranked)] == ["10", "30", "40", "50", "20", "51", "11", "12"]


def test_one_in_five_is_drawn_at_random_wherever_the_person_stands(store: Store, champion: Classifier) -> None:
    passages = [scored(f"Room {n} is green.", 0.6 + n / 1000, confident=n % 2 == 0) for n in range(60)]
    store.put(document("Rooms.", *passages))
    whole = [(item.text, item.reason) for item in queue(store, champion, limit=20)]
    assert sum(reason is Reason.RANDOM for _, reason in whole) == 20 // len(TURNS)
    assert len({text for text, _ in whole}) == 20
    # One at a time, with an answer to each: the same texts in the same order, but for those that came up both ways.
    worked = []
    for _ in range(20):
        (item,) = queue(store, champion, limit=1)
        worked.append((item.text, item.reason))
        store.correct(item.id, said())
    assert worked == whole


def test_what_one_has_answered_is_left_to_others_at_random_alone(store: Store, champion: Classifier) -> None:
    put = store.put(document("Rooms.", *(scored(f"Room {n} is red.", 0.7) for n in range(4))))
    for n in range(2):
        store.correct(f"{put.id}-{n}", said(who="Nerys Quill"))
    own = {item.text for item in queue(store, champion, "Nerys Quill")}
    others = {item.text: item.reason for item in queue(store, champion, "Bo Tarn")}
    assert own == {"Room 2 is red.", "Room 3 is red."}
    assert len(others) == 4 and others["Room 0 is red."] is others["Room 1 is red."] is Reason.RANDOM


def test_the_same_text_is_asked_for_once(store: Store, champion: Classifier) -> None:
    for name in ("One.", "Two.", "Three."):
        store.put(document(name, scored("Plans drift.", 0.7), scored("\u2018Plans\u2019", 0.7)))
    store.put(document("Four.", scored("Plans   drift.", 0.7), scored("'Plans'", 0.7)))
    assert len(queue(store, champion)) == 2
    store.correct(queue(store, champion)[0].id, said())
    assert len(queue(store, champion)) == 1


def test_texts_are_drawn_in_one_order_past_all_that_were_answered(store: Store) -> None:
    one = passage()
    texts = [f"Room {n // 2} is white." for n in range(2_400)]
    store.put(document("Rooms.", *(one.model_copy(update={"text": text}) for text in texts)))
    order = sorted({fingerprint(text) for text in texts})
    assert [drawn.fingerprint for drawn in store.drawn((), 2_000)] == order and len(order) == 1_200
    answered = {*order[:900], *order[905:1_000]}
    assert [drawn.fingerprint for drawn in store.drawn(answered, 7)] == [*order[900:905], *order[1_000:1_002]]
    assert store.drawn(order, 1) == []


def test_an_empty_store_asks_for_nothing(store: Store, champion: Classifier) -> None:
    assert queue(store, champion) == []


def test_the_random_share_is_a_random_sample_of_texts(store: Store, champion: Classifier) -> None:
    rare = {f"Rare {n}." for n in range(100)}
    texts = [*rare, *(f"Common {n}." for n in range(300))]
    store.put(document("All.", *(scored(text, 0.99, confident=True) for text in texts)))
    found = [item.text in rare for item in queue(store, champion, limit=100)]
    assert 10 <= sum(found) <= 40  # of 25 expected; five standard deviations are about 19


# Labelled anew


def test_a_document_is_labelled_anew_with_all_else_as_it_was(store: Store) -> None:
    put = store.put(document("A.", passage("Plans drift.", ["care_planning"]), passage("Bins."), council="Tarnholme"))
    kept = store.correct(f"{put.id}-0", said())
    anew = by_model(put, "20260202-bbbbbbbb", themes=["leadership"]).model_copy(update={"council": "Elsewhere"})
    assert store.relabel(anew)
    assert store.get(put.id) == anew.model_copy(update={"council": "Tarnholme"})
    assert store.corrections(f"{put.id}-0") == [kept]
    former = {one.position: one.former for one in store.candidates()}
    assert former[0] == {**former[1], "themes": ["care_planning"]} and former[1]["model"] == put.model
    assert not store.relabel(anew)  # done
    assert not store.relabel(by_model(put, "20260303-cccccccc").model_copy(update={"segmentation": "0"}))
    store.delete(put.id)
    assert not store.relabel(by_model(put, "20260303-cccccccc")) and store.by_others("x") == []


def test_what_another_model_labelled_is_labelled_anew_the_newest_first(database: Store, champion: Classifier) -> None:
    texts = ["Plans for children drift.", "The lift is out of order."]
    putting = [document(f"{n}", *map(passage, texts)) for n in range(4)]
    put = [database.put(one) for one in putting]
    labels = analysis.classify(texts, champion)
    expected = [analysis.relabelled(one, labels, champion.version) for one in put]
    assert database.by_others(champion.version) == [one.id for one in reversed(put)]
    assert database.relabel(expected[3])  # as a run that was cut off after this one
    code, printed = run("relabel")
    differing = sum(bool(label.themes or label.stances) for label in labels)
    assert code == 0 and differing == 1
    assert f"3 documents labelled by {champion.version}, {3 * differing} passages changed labels" in printed
    assert [database.get(one.id) for one in put] == expected
    updated = {one.id: one.updated for one in database.documents(DocumentFilter(), None, 10).items}
    assert sorted(updated, key=lambda name: updated[name]) == [put[n].id for n in (3, 2, 1, 0)]
    former = {item.text: item.former for item in queue(database, champion)}
    assert former[texts[0]] is not None and former[texts[0]].model == put[0].model and former[texts[1]] is None
    code, printed = run("relabel")
    assert code == 0 and f"0 documents labelled by {champion.version}, 0 passages changed labels" in printed


# Pulled


def kept(number: int, text: str, labels: Any = CRITICAL, who: str = "Nerys Quill", **more: Any) -> Correction:
    themes, stances, primary = labels
    sha256 = hashlib.sha256(more.pop("content", "A letter.").encode()).hexdigest()
    return Correction.model_validate(
        {
            "id": number, "document": sha256[:16], "position": 0, "text": text, "themes": themes, "stances": stances,
            "primary_stance": primary, "who": who, "key": None, "why": None, "guide": "1.0",
            "created": "2026-05-04T10:00:00Z",
            "given": {"themes": [], "stances": [], "primary_stance": None, "model": "m"}, **more,
        }
    )  # fmt: skip


def of(correction: Correction, metadata: Metadata | None = None, others: Iterable[str] = ()) -> Corrected:
    """A correction of a document that has other passages, too."""
    texts = frozenset(map(fingerprint, (correction.text, *others)))
    return Corrected(correction, metadata or Metadata(), texts)


def pulled(*corrected: Correction | tuple[Correction, Metadata] | Corrected, beside: Any = None) -> Pulled:
    found = [
        one if isinstance(one, Corrected) else of(*one) if isinstance(one, tuple) else of(one) for one in corrected
    ]
    return corrections.pull(found, LABELLING, beside or check.packaged())


@pytest.fixture(scope="module", autouse=True)
def small_set(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """In place of the packaged set, which takes seconds to check, a file of three rows."""
    path = tmp_path_factory.mktemp("set") / "packaged.jsonl"
    test = next(group for group, split in splits.fixed().items() if split == "test" and "council" in group)
    rows = [
        packaged(test, words(1), CRITICAL),
        packaged(test, words(2), NOTHING),
        packaged(next(group for group, split in splits.fixed().items() if split == "train"), words(3), CRITICAL),
    ]
    dataset.write(path, rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(check, "packaged", lambda: [path])
        yield rows


def packaged(authority: str, text: str, labels: Any) -> Example:
    themes, stances, primary = labels
    return Example(
        id=fingerprint(text)[:12], document=f"{authority}-1", kind="blog", title="T", authority=authority,
        published=None, text=text, themes=themes, stances=stances, primary_stance=primary, annotator="x", guide="1.0",
    )  # fmt: skip


def test_people_who_agree_make_one_example() -> None:
    known = Metadata(title="Our response", council="Tarnholme", published=date(2026, 5, 4), kind="council_release")
    first, again = kept(1, "Plans drift.", DEFENSIVE), kept(3, "Plans drift.", CRITICAL, guide="1.1")
    other = kept(2, "Plans drift.", CRITICAL, "Bo Tarn", content="Elsewhere.")
    found = pulled((again, known), (other, Metadata()), (first, known))
    assert (found.refused, found.disputed) == ([], [])
    (example,) = found.examples
    assert example.id == f"{first.document}/{fingerprint('Plans drift.')[:12]}" and example.document == first.document
    assert (example.annotator, example.guide) == ("Bo Tarn, Nerys Quill", "1.1")
    assert (example.themes, example.stances, example.primary_stance) == CRITICAL
    assert (example.title, example.authority, example.kind) == ("Our response", "tarnholme", "council_release")
    assert example.published == date(2026, 5, 4) and example.text == "Plans drift."


def test_of_a_document_of_which_nothing_is_known_an_example_is_made_too() -> None:
    (example,) = pulled(kept(1, "Plans drift.")).examples
    assert (example.kind, example.title, example.authority, example.published) == ("other", "", "", None)


def test_where_people_disagree_nobodys_labels_are_taken() -> None:
    found = pulled(kept(1, "Plans drift.", CRITICAL, "Nerys Quill"), kept(2, "Plans drift.", DEFENSIVE, "Bo Tarn"))
    assert found.examples == [] and [[one.who for one in disputed] for disputed in found.disputed] == [
        ["Bo Tarn", "Nerys Quill"]
    ]
    settled = pulled(*found.disputed[0], kept(3, "Plans drift.", DEFENSIVE, "Nerys Quill"))
    assert settled.disputed == [] and settled.examples[0].stances == ("defensive",)


def test_what_a_check_finds_wrong_is_refused_and_the_rest_taken(small_set: list[Any]) -> None:
    (test, _, train) = small_set
    in_train = Metadata(council=train.authority)
    nearly = (kept(3, test.text.replace(".", " too.")), in_train)
    unknown = (kept(4, words(4), (("poems",), (), None)), in_train)
    unknown_too = (kept(6, train.text, (("poems",), (), None)), in_train)
    good = (kept(5, words(5)), in_train)
    found = pulled(nearly, unknown, good, unknown_too)
    assert [example.text for example in found.examples] == [words(5)]
    assert {example.text: fault.check for example, fault in found.refused} == {
        nearly[0].text: "near-duplicate",
        words(4): "schema",
        train.text: "schema",
    }
    (detail,) = (fault.detail for _, fault in found.refused if fault.check == "near-duplicate")
    assert f"{check.packaged()[0]}:1 ({test.id})" in detail  # where it stands, and not a copy of it
    assert found.superseded == [] and {row.text for row in found.merged} == {row.text for row in small_set} | {words(5)}


def test_a_correction_takes_the_place_of_the_same_passage_and_stays_in_its_split(small_set: list[Any]) -> None:
    train, test = small_set[2], small_set[0]
    spaced = train.text.replace(" ", "  ")
    given = (kept(1, spaced, DEFENSIVE), Metadata(council=test.authority))  # which is of another split
    near = (kept(2, train.text.replace(".", " too.")), Metadata(council=test.authority))
    found = pulled(given, near)
    (example,) = found.examples
    assert example == train.model_copy(
        update={"stances": ("defensive",), "primary_stance": "defensive", "annotator": "Nerys Quill"}
    )
    assert [(row.id, row.line) for row in found.superseded] == [(train.id, 3)]
    assert sorted(found.merged, key=lambda row: row.id) == sorted([*small_set[:2], example], key=lambda row: row.id)
    # What is refused beside it is so by where the passage stands.
    (refused,) = found.refused
    assert refused[0].text == near[0].text and refused[1].check == "near-duplicate"


def test_all_rows_of_a_text_are_superseded_by_one_correction(small_set: list[Any], tmp_path: Path) -> None:
    train = small_set[2]
    twice = [train, train.model_copy(update={"id": "again", "document": "another"}), small_set[0]]
    paths = [tmp_path / "first.jsonl", tmp_path / "second.jsonl"]
    dataset.write(paths[0], twice[:1])
    dataset.write(paths[1], twice[1:])
    found = pulled(kept(1, train.text, DEFENSIVE), beside=paths)
    assert [row.place for row in found.superseded] == [f"{paths[0]}:1", f"{paths[1]}:1"]
    assert [(row.id, row.stances) for row in found.merged] == [
        (small_set[0].id, ("critical",)), (train.id, ("defensive",)),
    ]  # fmt: skip


def test_the_frozen_test_passages_are_never_changed(small_set: list[Any], tmp_path: Path) -> None:
    test, nothing, train = small_set
    given = [kept(1, test.text, DEFENSIVE), kept(2, nothing.text, NOTHING, content="Elsewhere.")]
    found = pulled(*given)
    assert found.examples == found.superseded == [] and found.merged == small_set
    assert [fault.check for _, fault in found.refused] == ["frozen"] * 2
    assert all("of the test split" in fault.detail for _, fault in found.refused)
    dataset.write(tmp_path / "own.jsonl", [train])
    beside = pulled(of(given[0], Metadata(council="Northern Vale")), beside=[tmp_path / "own.jsonl"])
    assert [fault.check for _, fault in beside.refused] == ["frozen"] and beside.merged == [train]


def reference(path: Path, split: str, text: str) -> dict[str, Any]:
    """A row of a file of references, of a report of a split."""
    council = next(name for name, side in splits.fixed().items() if side == split and name.isalpha())
    row = {
        "file": f"{council}-2021-05-04.pdf", "sha256": fingerprint(text), "start": 10, "end": 20, "themes": [],
        "stances": [], "primary_stance": None, "annotator": "x", "guide": "1.0",
    }  # fmt: skip
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
    return row


def test_a_reference_is_superseded_by_the_passage_in_full(tmp_path: Path) -> None:
    path = tmp_path / "references.jsonl"
    train, test = (reference(path, split, words(number)) for split, number in (("train", 40), ("test", 41)))
    found = pulled(kept(1, words(40)), kept(2, words(41)), beside=[path])
    (example,) = found.merged
    assert found.examples == [example] and (example.text, example.stances) == (words(40), ("critical",))
    assert example.document == train["file"].removesuffix(".pdf") and splits.split_of(example.group) == "train"
    (refused,) = found.refused
    assert refused[1].check == "frozen" and test["file"].removesuffix(".pdf") in refused[1].detail


def test_a_document_without_a_council_joins_what_its_passages_are_known_from(small_set: list[Any]) -> None:
    test, other, train = small_set
    whole = [[test.text], [train.text], [train.text, test.text, other.text]]
    found = pulled(*(of(kept(n, words(50 + n), content=str(n)), None, texts) for n, texts in enumerate(whole)))
    authorities = {example.text: example.authority for example in found.examples}
    assert authorities == {words(50): test.authority, words(51): train.authority, words(52): test.authority}
    (named,) = pulled(of(kept(1, words(55)), Metadata(council=train.authority), [test.text])).examples
    assert named.authority == test.authority  # a name may be wrong, and what is held out is not learned from
    (named,) = pulled(of(kept(1, words(56)), Metadata(council=test.authority), [train.text])).examples
    assert named.authority == test.authority
    (named,) = pulled(of(kept(1, words(57)), Metadata(council="Quillborough"), [train.text])).examples
    assert named.authority == "quillborough"  # one passage may be quoted


def test_one_passage_of_the_test_split_keeps_a_document_out_of_training(tmp_path: Path) -> None:
    sides = {split: next(n for n, of_it in splits.fixed().items() if of_it == split and ":" not in n)
             for split in ("train", "test")}  # fmt: skip
    path = tmp_path / "ours.jsonl"
    rows = [packaged(sides["train"], words(90 + n), CRITICAL) for n in range(2)]
    dataset.write(path, [*rows, packaged(sides["test"], words(92), CRITICAL)])
    for council in (None, "Quillborough", sides["train"]):
        given = of(kept(1, words(93)), None, [words(90), words(91), words(92)])
        (example,) = pulled(
            Corrected(given.correction, Metadata(council=council), given.passages), beside=[path]
        ).examples
        assert example.authority == sides["test"]
        given = of(kept(1, words(93)), None, [words(90), words(91)])
        (example,) = pulled(
            Corrected(given.correction, Metadata(council=council), given.passages), beside=[path]
        ).examples
        assert example.authority == sides["train"]


@pytest.mark.parametrize("form", ["LB {}", "{} CC", "{} MDC", "{} Children's Services", "{} Council and Partners"])
def test_a_council_of_the_test_split_is_known_by_all_its_names(form: str) -> None:
    real = {row.authority for row in references.read(references.REFERENCES, LABELLING)}
    names = sorted(name for name in real if splits.split_of(name) == "test" and name != "london-corporation")
    assert len(names) > 15
    given = (
        (kept(n, words(200 + n), content=name), Metadata(council=form.format(name.replace("-", " ").title())))
        for n, name in enumerate(names)
    )
    assert sorted(example.authority for example in pulled(*given).examples) == names


def test_of_two_that_a_document_may_be_about_it_joins_that_of_the_test_split(tmp_path: Path) -> None:
    for number, names in enumerate((sorted(splits.fixed()), sorted(splits.fixed(), reverse=True))):
        train, test = (
            next(n for n in names if splits.fixed()[n] == side and ":" not in n) for side in ("train", "test")
        )
        path = tmp_path / f"{number}.jsonl"
        dataset.write(path, [packaged(train, words(56), CRITICAL), packaged(test, words(57), CRITICAL)])
        (example,) = pulled(of(kept(1, words(58)), None, [words(56), words(57)]), beside=[path]).examples
        assert example.authority == test


def test_a_document_without_a_council_joins_a_written_one_that_is_about_none(tmp_path: Path) -> None:
    name = next(group for group, split in splits.fixed().items() if split == "test" and group.startswith("document:"))
    row = packaged("", words(60), CRITICAL).model_copy(update={"document": name.removeprefix("document:")})
    path = tmp_path / "written.jsonl"
    dataset.write(path, [row])
    (example,) = pulled(of(kept(1, words(61)), None, [words(60)]), beside=[path]).examples
    assert example.group == name and splits.split_of(example.group) == "test"


def test_a_public_report_is_known_by_the_hashes_of_its_passages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "packaged", lambda: [references.REFERENCES])
    of_test = next(
        one for one in references.read(references.REFERENCES, LABELLING) if splits.split_of(one.group) == "test"
    )
    given = Corrected(kept(1, words(62)), Metadata(), frozenset({of_test.sha256, fingerprint(words(62))}))
    (example,) = pulled(given).examples
    assert example.authority == of_test.authority and splits.split_of(example.group) == "test"


def test_a_report_is_of_its_council_whatever_that_is_called_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each report of the test split, under a name that says nothing, and under that of a council of train."""
    monkeypatch.setattr(check, "packaged", lambda: [references.REFERENCES])
    rows = references.read(references.REFERENCES, LABELLING)
    by_report: dict[str, list[str]] = {}
    for row in rows:
        by_report.setdefault(row.document, []).append(row.sha256)
    train = next(name for name in splits.fixed() if splits.fixed()[name] == "train" and ":" not in name)
    of_test = {row.document: row.authority for row in rows if splits.split_of(row.group) == "test"}
    for council in ("Quillborough Council", train, None):
        given = [
            Corrected(
                kept(number, words(1000 + number), content=document),
                Metadata(council=council),
                frozenset({*by_report[document], fingerprint(words(1000 + number))}),
            )
            for number, document in enumerate(of_test)
        ]
        found = pulled(*given).examples
        assert len(found) == len(of_test) > 10
        assert sorted(example.authority for example in found) == sorted(of_test.values())


@pytest.mark.parametrize(
    ("council", "fixed"),
    [
        ("City of London Corporation", "london-corporation"),
        ("Southend City Council", "southend-on-sea"),
        ("Hull City Council", "hull"),
        ("Bedfordshire County Council", "bedfordshire"),
        ("St Helens MBC", "st-helens"),
        ("Telford and Wrekin Council", "telford-wrekin"),
        ("Kingston Council", "kingston"),  # upon Thames, or upon Hull
        ("Quillborough Children's Services", "quillborough"),
    ],
)
def test_a_council_has_the_name_of_the_splits(council: str, fixed: str) -> None:
    (example,) = pulled((kept(1, words(63)), Metadata(council=council))).examples
    assert example.authority == fixed


def test_the_split_of_a_council_follows_from_its_name_alone() -> None:
    names = ("Quillborough Council", "London Borough of Quillborough", "Aa Quillborough District", "quillborough")
    for number, name in enumerate(names):
        one = (kept(number, words(70 + number), content=name), Metadata(council=name))
        (alone,) = pulled(one).examples
        others = ((kept(9, words(79), content="x"), Metadata(council=other)) for other in names[:number])
        assert alone.authority == check.place_name(name)
        for other in others:
            assert alone in pulled(one, other).examples


def test_a_council_that_the_labelled_passages_name_keeps_that_name(tmp_path: Path) -> None:
    path = tmp_path / "ours.jsonl"
    dataset.write(path, [packaged("Quillborough Council", words(80), CRITICAL)])
    (example,) = pulled((kept(1, words(81)), Metadata(council="City of Quillborough")), beside=[path]).examples
    assert example.authority == "Quillborough Council"


def test_rows_that_are_none_are_named(tmp_path: Path) -> None:
    path = tmp_path / "ours.jsonl"
    path.write_text("{}\n")
    with pytest.raises(dataset.DatasetError, match=r"ours\.jsonl:1"):
        pulled(kept(1, words(82)), beside=[path])


def test_passages_about_a_council_of_the_test_set_are_test_passages_whatever_it_is_called(small_set: list[Any]) -> None:
    fixed = small_set[0].authority
    bare = check.place_name(fixed)
    names = [fixed.upper(), bare.title(), f"London Borough of {bare.title()}", f"{bare}-council"]
    given = (kept(n, words(10 + n), content=name) for n, name in enumerate(names))
    found = pulled(*((correction, Metadata(council=names[correction.id])) for correction in given))
    assert {example.authority for example in found.examples} == {fixed} and len(found.examples) == len(names)
    assert len(splits.divide(found.examples)["test"]) == len(names)


def test_a_new_council_goes_one_way_under_all_its_names() -> None:
    pairs = product(("Aax", "Bbx", "Ccx", "Ddx", "Eex"), ("{}", "{} Council", "City of {}"))
    names = [form.format(name) for name, form in pairs]
    assert any(  # else nothing would be shown
        splits.split_of(first.casefold()) != splits.split_of(second.casefold())
        for first, second in combinations(names, 2)
        if check.place_name(first) == check.place_name(second)
    )
    given = (kept(n, words(20 + n), content=name) for n, name in enumerate(names))
    found = pulled(*((correction, Metadata(council=names[correction.id])) for correction in given))
    assert len(found.examples) == len(names) and len({example.group for example in found.examples}) == 5


def test_corrected_and_pulled_on_the_command_line(database: Store, small_set: list[Any], tmp_path: Path) -> None:
    put = database.put(document("A.", passage(words(30)), passage(words(31)), passage(words(32)), council="Tarnholme"))
    for number, stance in ((0, "critical"), (1, "supportive")):
        code, printed = run(
            "correct", f"{put.id}-{number}", "--theme", "care_planning", "--stance", stance, "--who", "Nerys Quill",
            "--why", "It says so.",
        )  # fmt: skip
        assert code == 0 and f"care_planning, {stance}, says Nerys Quill" in printed
    run("correct", f"{put.id}-2", "--stance", "critical", "--who", "Nerys Quill")
    run("correct", f"{put.id}-2", "--who", "Bo Tarn")
    output = tmp_path / "pulled.jsonl"
    code, printed = run("pull", "-o", str(output))
    assert code == 0 and "2 taken, 0 superseding, 0 refused, 1 disputed" in printed
    assert f"{put.id}-2: nothing, says Bo Tarn; critical, says Nerys Quill [disputed]" in printed
    first = output.read_bytes()
    examples = dataset.load([output], LABELLING)
    assert [example.id for example in examples] == sorted(example.id for example in examples)
    assert {(example.text, example.primary_stance) for example in examples} == {
        (words(30), "critical"), (words(31), "supportive"),
    }  # fmt: skip
    assert run("pull", "-o", str(output))[0] == 0 and output.read_bytes() == first
    taken = small_set[1].text
    other = database.put(document("B.", passage(taken)))
    run("correct", f"{other.id}-0", "--theme", "care_planning", "--who", "Nerys Quill")
    code, printed = run("pull", "-o", str(output))
    assert code == labels_cli.SOME_FAILED
    assert "2 taken, 0 superseding, 1 refused (1 frozen), 1 disputed" in printed and "of the test split" in printed
    assert output.read_bytes() == first


def test_what_is_pulled_and_what_it_joins_are_merged_on_the_command_line(
    database: Store, small_set: list[Any], tmp_path: Path
) -> None:
    train = small_set[2]
    put = database.put(document("A.", passage(train.text), passage(words(33))))
    for number in range(2):
        run("correct", f"{put.id}-{number}", "--theme", "care_planning", "--who", "Nerys Quill")
    paths = [tmp_path / name for name in ("first.jsonl", "second.jsonl")]
    dataset.write(paths[0], small_set[:2])
    dataset.write(paths[1], small_set[2:])
    output, merged = tmp_path / "pulled.jsonl", tmp_path / "merged.jsonl"
    beside = [word for path in paths for word in ("--beside", str(path))]
    code, printed = run("pull", "-o", str(output), "--merged", str(merged), *beside)
    assert code == 0 and "2 taken, 1 superseding, 0 refused, 0 disputed" in printed
    found, corrected = dataset.load([merged], LABELLING), dataset.load([output], LABELLING)
    assert found == [*small_set[:2], *corrected] and {row.text for row in corrected} == {train.text, words(33)}
    assert check.check([merged], LABELLING).errors == []
    for option in ("-o", "--merged"):
        assert run("pull", "-o", str(output), *beside, option, str(paths[0]))[0] == 2
    assert run("pull", "-o", str(output), "--merged", str(output), *beside)[0] == 2
    assert dataset.load([output], LABELLING) == corrected
    assert dataset.load(paths, LABELLING) == small_set


@pytest.mark.parametrize("guide", ["newest", "1.", "1.0 ", "1.0\n", "", "1" * 21])
def test_a_guide_that_is_no_version_is_refused_on_the_command_line(database: Store, guide: str) -> None:
    put = database.put(document())
    code, printed = run("correct", f"{put.id}-0", "--who", "Nerys Quill", "--guide", guide)
    assert code == 2 and "must be a version" in printed and database.corrections(f"{put.id}-0") == []
    assert run("correct", f"{put.id}-0", "--who", "Nerys Quill", "--guide", "1.1")[0] == 0
    assert database.corrections(f"{put.id}-0")[0].guide == "1.1"


def test_the_command_refuses_labels_that_are_none(database: Store) -> None:
    put = database.put(document())
    with pytest.raises(InvalidInput, match="unknown theme 'poems'"):
        run("correct", f"{put.id}-0", "--theme", "poems", "--who", "Nerys Quill")
    assert database.corrections(f"{put.id}-0") == []


@pytest.mark.skipif(not (ROOT / ".git").exists() or shutil.which("git") is None, reason="needs a git checkout")
def test_git_ignores_what_is_pulled() -> None:
    subprocess.run(["git", "check-ignore", "-q", CORRECTIONS], cwd=ROOT, check=True)
