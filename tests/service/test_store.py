"""The store, on SQLite and on PostgreSQL: what goes in comes out, is found, and is there after a crash."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from sqlalchemy import URL, Executable, Row, create_engine, event, make_url, select, text, update

from labels import taxonomy
from models.classifier import Classifier
from service import analysis, report
from service.errors import Conflict, InvalidInput, KeyReused, NotFound, StoreError, TimedOut
from service.keys import Scope
from service.report import Metadata, ScoredDocument, ScoredPassage, Scores
from service.store import DocumentFilter, DocumentRow, DocumentSummary, KeyRow, Once, OnceRow, PassageFilter, Store

PLAIN = "The panel meets in the old library."


def passage(
    text: str = PLAIN, themes: Iterable[str] = (), stances: Iterable[str] = (), confident: bool = True
) -> ScoredPassage:
    labels = taxonomy.load()
    on = {*themes, *stances}
    return ScoredPassage(
        text=text,
        start=0,
        end=len(text),
        page=None,
        themes=list(themes),
        stances=list(stances),
        primary_stance=next(iter(stances), None),
        scores=Scores(
            themes={name: 0.9173 if name in on else 0.0312 for name in labels.themes},
            stances={name: 0.8804 if name in on else 0.1 for name in labels.stances},
        ),
        confident=confident,
        model="20260101-aaaaaaaa",
    )


def document(
    content: str = "A letter.", *passages: ScoredPassage, path: str | None = None, **known: Any
) -> ScoredDocument:
    held = list(passages) or [passage()]
    sha256 = hashlib.sha256(content.encode()).hexdigest()
    return ScoredDocument(
        id=sha256[:16],
        path=path,
        media_type="text/plain",
        pages=None,
        sha256=sha256,
        model="20260101-aaaaaaaa",
        segmentation="1",
        passages=held,
        summary=report.summarise(held),
        **known,
    )


def test_a_search_that_takes_too_long_is_ended_and_the_store_goes_on(store: Store, database_url: str) -> None:
    one = passage()
    many = [one.model_copy(update={"text": f"{PLAIN} It has a shelf of {n} books."}) for n in range(3000)]
    store.put(document("many", *many))
    words = PassageFilter(text="the panel meets in the old library it has a shelf of books and no chairs")
    impatient = Store(database_url, seconds=0.001)
    try:
        with pytest.raises(TimedOut, match="took too long"):
            impatient.passages(words, None, 10)
        with pytest.raises(NotFound):
            impatient.passage("none-0")
    finally:
        impatient.close()
    assert not store.passages(words, None, 10).items


def every_passage(store: Store, limit: int = 100, **where: Any) -> list[str]:
    """Ids by all pages."""
    return ids(lambda cursor: store.passages(PassageFilter(**where), cursor, limit))


def every_document(store: Store, limit: int = 100, **where: Any) -> list[str]:
    return ids(lambda cursor: store.documents(DocumentFilter(**where), cursor, limit))


def ids(page: Callable[[str | None], Any]) -> list[str]:
    found, cursor = [], None
    while True:
        part = page(cursor)
        found += [item.id for item in part.items]
        cursor = part.next
        if cursor is None:
            return found


def execute(url: str, statement: Executable) -> Sequence[Row[Any]]:
    """What no method of the store does, such as turning a clock back. Returns the rows, if there are any."""
    engine = create_engine(url)
    with engine.begin() as connection:
        result = connection.execute(statement)
        rows = result.all() if result.returns_rows else []
    engine.dispose()
    return rows


def together(*calls: Callable[[], Any]) -> list[Any]:
    """The result, or the error, of calls that begin at the same time."""
    begin = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        begin.wait()
        try:
            return call()
        except (KeyReused, StoreError, Conflict, NotFound) as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


# Documents


def test_a_document_comes_back_as_it_was_put(store: Store, champion: Classifier, release: str) -> None:
    scored = analysis.analyse(release.encode(), champion, "2024/release.txt").model_copy(
        update={
            "title": "Our response",
            "council": "Tarnholme",
            "published": date(2024, 5, 2),
            "kind": "council_release",
            "url": "https://tarnholme.example/response",
        }
    )
    assert store.put(scored) == scored
    for found in (store.get(scored.id),):
        assert found is not None
        # As JSON: the order of keys, and every digit.
        assert found.model_dump_json() == scored.model_dump_json()


def test_a_document_of_which_nothing_is_known_comes_back_too(store: Store) -> None:
    bare = document().model_copy(update={"passages": [], "summary": report.summarise([])})
    assert store.put(bare) == bare == store.get(bare.id)


def test_the_same_content_is_one_document_with_the_newest_labels(store: Store) -> None:
    first = document("A letter.", passage(themes=["leadership"]), passage(), passage())
    newer = document("A letter.", passage(stances=["critical"])).model_copy(update={"model": "20260202-bbbbbbbb"})
    store.put(first)
    [before] = store.documents(DocumentFilter(), None, 10).items
    assert store.put(newer) == newer == store.get(first.id)
    [after] = store.documents(DocumentFilter(), None, 10).items
    assert after.created == before.created and after.updated > before.updated
    assert before.created.utcoffset() == timedelta(0)
    assert datetime.now(UTC) - before.created < timedelta(minutes=5)
    assert every_passage(store) == [f"{first.id}-0"]
    assert every_passage(store, theme="leadership") == []
    assert every_passage(store, stance="critical") == [f"{first.id}-0"]


def test_metadata_that_is_given_takes_the_place_of_what_is_stored(store: Store) -> None:
    store.put(document(title="Draft", council="Tarnholme", path="a.txt"))
    again = store.put(document(title="Final", published=date(2024, 1, 2)))
    assert (again.title, again.council, again.published, again.path) == (
        "Final",
        "Tarnholme",
        date(2024, 1, 2),
        "a.txt",
    )
    changed = store.update(again.id, Metadata(council="Élmet", kind="letter"), "b.txt")
    assert changed == again.model_copy(update={"council": "Élmet", "kind": "letter", "path": "b.txt"})
    assert store.get(again.id) == changed
    assert every_document(store, council="élmet", text="final") == [again.id]
    assert every_document(store, council="tarnholme") == every_document(store, text="draft") == []


def test_a_deleted_document_is_gone_with_its_passages_and_may_come_again(store: Store) -> None:
    kept, gone = document("Kept."), document("Gone.", passage(themes=["leadership"]))
    store.put(kept)
    store.put(gone)
    store.delete(gone.id)
    assert store.version(gone.sha256) is None
    assert every_document(store) == [kept.id] and every_passage(store) == [f"{kept.id}-0"]
    assert every_passage(store, theme="leadership") == []
    store.put(gone)
    assert store.get(gone.id) == gone


@pytest.mark.parametrize("name", ["0000000000000000", "", "\x00", "\ud800", "'; DROP TABLE documents; --", "é" * 5_000])
def test_a_document_that_is_not_there_is_not_found(store: Store, name: str) -> None:
    store.put(document())
    for call in (
        lambda: store.get(name),
        lambda: store.delete(name),
        lambda: store.update(name, Metadata(title="New"), None),
        lambda: store.revoke_key(name),
    ):
        with pytest.raises(NotFound):
            call()
    assert store.version(name) is None
    assert every_passage(store, document=name) == []


def test_another_document_whose_sha256_begins_alike_is_refused_and_changes_nothing(store: Store) -> None:
    first = document()
    alike = document("Another.").model_copy(update={"id": first.id, "sha256": first.id + 48 * "0"})
    store.put(first)
    with pytest.raises(Conflict):
        store.put(alike, Once("owner", "key", "digest"))
    assert store.get(first.id) == first and store.version(alike.sha256) is None
    store.recall(Once("owner", "key", "another digest"))  # was not recorded


def test_characters_that_no_database_holds_become_the_replacement_mark(store: Store) -> None:
    put = store.put(
        document("A letter.", passage("One\x00two three."), title="Ti\x00tle \ud800", council="Tarn\x00holme")
    )
    assert put == store.get(put.id)
    assert put.title == "Ti\ufffdtle \ufffd" and put.passages[0].text == "One\ufffdtwo three."
    assert len(put.passages[0].text) == put.passages[0].end


# Idempotency keys


def test_a_key_that_comes_again_must_come_with_the_same_request(store: Store) -> None:
    once = Once("library", "key-1", "digest-1")
    letter, minutes = document("A letter."), document("Minutes.")
    store.put(letter, once)
    assert store.put(letter, once) == letter
    store.update(letter.id, Metadata(title="Title"), None, once)
    store.recall(Once("library", "key-1", "digest-1"))
    store.recall(Once("library", "key-2", "digest-2"))
    store.recall(Once("archive", "key-1", "digest-2"))
    other = Once("library", "key-1", "digest-2")
    for call in (
        lambda: store.recall(Once("library", "key-1", "digest-2")),
        lambda: store.put(minutes, other),
        lambda: store.update(letter.id, Metadata(title="Other"), None, other),
    ):
        with pytest.raises(KeyReused):
            call()
    assert store.version(minutes.sha256) is None and store.get(letter.id).title == "Title"
    store.put(minutes, Once("archive", "key-1", "digest-2"))


def test_a_key_of_a_request_that_failed_is_not_recorded(store: Store) -> None:
    with pytest.raises(NotFound):
        store.update("0000000000000000", Metadata(title="New"), None, Once("library", "key", "digest"))
    store.recall(Once("library", "key", "another"))


def test_a_key_is_forgotten_after_a_day(store: Store, database_url: str) -> None:
    for name in ("key-1", "key-2"):
        store.put(document(), Once("library", name, "old"))
    execute(database_url, update(OnceRow).values(created=datetime.now(UTC) - timedelta(hours=24, minutes=1)))
    store.recall(Once("library", "key-1", "new"))
    store.put(document(), Once("library", "key-1", "new"))
    with pytest.raises(KeyReused):
        store.recall(Once("library", "key-1", "old"))
    assert [name for (name,) in execute(database_url, select(OnceRow.key))] == ["key-1"]


# Lists


def test_lists_are_narrowed_by_what_is_known_of_a_document(store: Store) -> None:
    a = store.put(document("A.", council="St Mary’s Élmet", published=date(2024, 1, 31), kind="letter")).id
    b = store.put(document("B.", council="Tarnholme", published=date(2024, 2, 1), kind="minutes")).id
    c = store.put(document("C.")).id
    for where, expected in [
        ({}, [c, b, a]),
        ({"council": "st mary's ÉLMET"}, [a]),
        ({"council": "E\u0301lmet"}, []),
        ({"council": "Tarn"}, []),
        ({"council": "Tarnholm_"}, []),
        ({"kind": "minutes"}, [b]),
        ({"since": date(2024, 2, 1)}, [b]),
        ({"until": date(2024, 1, 31)}, [a]),
        ({"since": date(2024, 1, 31), "until": date(2024, 2, 1)}, [b, a]),
        ({"since": date(2024, 2, 2)}, []),
        ({"council": "TARNHOLME", "kind": "letter"}, []),
    ]:
        assert every_document(store, **where) == expected, where
        assert every_passage(store, **where) == sorted(f"{name}-0" for name in expected), where


def test_lists_are_narrowed_by_labels_of_one_passage(store: Store) -> None:
    both = store.put(document("A.", passage(), passage(themes=["leadership", "thresholds"], stances=["critical"]))).id
    apart = store.put(document("B.", passage(themes=["leadership"]), passage(stances=["critical"], confident=False))).id
    store.put(document("C."))
    for where, documents, passages in [
        ({"theme": "leadership"}, [apart, both], [f"{both}-1", f"{apart}-0"]),
        ({"stance": "critical"}, [apart, both], [f"{both}-1", f"{apart}-1"]),
        ({"theme": "leadership", "stance": "critical"}, [both], [f"{both}-1"]),
        ({"theme": "thresholds", "stance": "apologetic"}, [], []),
        ({"theme": "critical"}, [], []),
        ({"theme": "no such theme"}, [], []),
        ({"theme": ""}, [], []),
    ]:
        assert every_document(store, **where) == documents, where
        assert every_passage(store, **where) == sorted(passages), where
    assert every_passage(store, stance="critical", confident=False) == [f"{apart}-1"]
    assert every_passage(store, stance="critical", confident=True) == [f"{both}-1"]
    assert every_passage(store, document=apart) == [f"{apart}-0", f"{apart}-1"]
    assert every_passage(store, document=apart, theme="thresholds") == []


def test_words_are_found_in_any_case_and_wherever_they_stand(store: Store) -> None:
    a = store.put(document("A.", passage("ÉLODIE said: “We’re 100% sure_of it.”"), passage("Straße and café."))).id
    b = store.put(document("B.", passage("100 per cent sure."), passage("Elodie / Nerys"), title="The CAFÉ review")).id
    for words, documents, passages in [
        ("élodie", [a], [f"{a}-0"]),
        ("E\u0301LODIE", [a], [f"{a}-0"]),
        ("elodie", [b], [f"{b}-1"]),
        ("sure", [b, a], [f"{a}-0", f"{b}-0"]),
        ("SAID lod", [a], [f"{a}-0"]),
        ("0%", [a], [f"{a}-0"]),
        ("e_o", [a], [f"{a}-0"]),
        ("1%0", [], []),
        ("s_re", [], []),
        ("/", [b], [f"{b}-1"]),
        ("\\", [], []),
        ("we're", [a], [f"{a}-0"]),
        ('"we', [a], [f"{a}-0"]),
        ("STRASSE", [a], [f"{a}-1"]),
        ("café", [b, a], [f"{a}-1"]),
        ("review cafÉ", [b], []),
        ("review sure", [], []),  # one in the title, the other in a passage
        ("said café", [], []),  # in two passages
        ("'; DROP TABLE passages; --", [], []),
        ("\x00", [], []),
        ("  ", [b, a], [f"{a}-0", f"{a}-1", f"{b}-0", f"{b}-1"]),
    ]:
        assert every_document(store, text=words) == documents, words
        assert every_passage(store, text=words) == sorted(passages), words


def test_a_passage_that_is_found_says_where_it_stands_and_of_what_document(store: Store) -> None:
    known = {
        "title": "Title",
        "council": "Tarnholme",
        "published": date(2024, 2, 1),
        "kind": "letter",
        "url": "https://a.example",
    }
    put = store.put(document("A.", passage(), passage("Who said so?", stances=["critical"]), **known))
    [found] = store.passages(PassageFilter(stance="critical"), None, 10).items
    assert found.model_dump() == put.passages[1].model_dump() | known | {
        "id": f"{put.id}-1",
        "document": put.id,
        "position": 1,
        "created": found.created,
    }


def test_a_summary_says_all_of_a_document_but_its_passages(store: Store) -> None:
    put = store.put(document("A.", passage(), passage(stances=["critical"]), title="Title", path="a.txt"))
    [found] = store.documents(DocumentFilter(), None, 10).items
    assert found.model_dump(exclude={"created", "updated"}) == put.model_dump(exclude={"passages"})


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8, 100])
def test_pages_hold_everything_once(store: Store, limit: int) -> None:
    put = [store.put(document(f"{n}.", passage(), passage("Two.", ["leadership"]))).id for n in range(7)]
    assert every_document(store, limit) == put[::-1]
    assert every_document(store, limit, theme="leadership") == put[::-1]
    assert every_passage(store, limit) == [f"{name}-{n}" for name in put[::-1] for n in range(2)]
    assert every_passage(store, limit, theme="leadership") == [f"{name}-1" for name in put[::-1]]
    page = store.documents(DocumentFilter(), None, limit)
    assert len(page.items) == min(limit, 7) and (page.next is None) == (limit >= 7)


def test_no_document_is_missed_or_twice_while_others_come_and_go(store: Store) -> None:
    put = [store.put(document(f"{n}.")).id for n in range(9)]
    stay = [name for n, name in enumerate(put) if n not in (2, 5, 6)]
    for listed in (store.documents, store.passages):
        found: list[str] = []
        cursor = None
        for turn in range(20):
            page = listed(DocumentFilter() if listed == store.documents else PassageFilter(), cursor, 2)  # type: ignore[operator]
            found += [item.id.partition("-")[0] for item in page.items]
            cursor = page.next
            if cursor is None:
                break
            store.put(document(f"New {turn}."))
            if turn == 1:
                # The last of a page, one that was seen, and one to come.
                store.delete(found[-1])
                stay = [name for name in stay if name != found[-1]]
        assert len(found) == len(set(found))
        assert set(stay) <= set(found)


def test_documents_that_came_at_the_same_moment_are_all_listed(store: Store, database_url: str) -> None:
    put = [store.put(document(f"{n}.")).id for n in range(5)]
    execute(database_url, update(DocumentRow).values(created=datetime.now(UTC)))
    assert every_document(store, 2) == sorted(put, reverse=True)


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "?",
        "é",
        "\x00",
        "\ud800",
        "bm8",
        "W10",  # []
        "W251bGwsbnVsbF0",  # [null,null]
        "WyJhIiwgLTFd",  # ["a", -1]
        "WyJhIiwgMWU0MDBd",  # ["a", 1e400]
        "WyJhIiwgOTk5OTk5OTk5OTk5OTk5OTk5OTk5XQ",  # ["a", 999999999999999999999]
        "WyIwMDAxLTAxLTAxVDAwOjAwOjAwKzE0OjAwIiwgImEiXQ",  # ["0001-01-01T00:00:00+14:00", "a"]
        "WyIyMDI0LTAxLTAxVDAwOjAwOjAwIiwgImEiXQ",  # ["2024-01-01T00:00:00", "a"]
    ],
)
def test_a_cursor_that_is_none_is_refused(store: Store, cursor: str) -> None:
    with pytest.raises(InvalidInput):
        store.documents(DocumentFilter(), cursor, 10)
    with pytest.raises(InvalidInput):
        store.passages(PassageFilter(), cursor, 10)


def test_the_cursor_of_one_list_is_none_of_the_other(store: Store) -> None:
    for n in range(2):
        store.put(document(f"{n}."))
    documents = store.documents(DocumentFilter(), None, 1).next
    passages = store.passages(PassageFilter(), None, 1).next
    with pytest.raises(InvalidInput):
        store.documents(DocumentFilter(), passages, 1)
    with pytest.raises(InvalidInput):
        store.passages(PassageFilter(), documents, 1)


def test_a_filter_that_is_unknown_is_refused() -> None:
    with pytest.raises(ValidationError):
        DocumentFilter.model_validate({"document": "0000000000000000"})
    with pytest.raises(ValidationError):
        PassageFilter.model_validate({"themes": "leadership"})


def test_a_summary_has_every_field_of_a_document_but_passages() -> None:
    assert DocumentSummary.model_fields.keys() == ScoredDocument.model_fields.keys() - {"passages"} | {
        "created",
        "updated",
    }


# Keys of the API


def test_a_token_opens_what_its_key_allows_until_it_is_revoked(store: Store) -> None:
    assert not store.has_keys()
    reader, token = store.create_key("Library", [Scope.SCORE, Scope.READ])
    admin, other = store.create_key("Élodie \x00", {Scope.ADMIN})
    assert store.has_keys()
    assert store.authenticate(token) == reader and store.authenticate(other) == admin
    assert reader.name == "Library" and reader.scopes == [Scope.READ, Scope.SCORE] and reader.revoked is None
    assert [reader.allows(scope) for scope in Scope] == [True, True, False, False]
    assert all(admin.allows(scope) for scope in Scope)
    revoked = store.revoke_key(reader.id)
    assert revoked.revoked is not None and revoked.revoked >= reader.created
    assert store.revoke_key(reader.id) == revoked
    assert store.authenticate(token) is None and store.authenticate(other) == admin
    assert store.keys() == [revoked, admin] and admin.name == "Élodie \ufffd"
    store.revoke_key(admin.id)
    assert store.has_keys()


def test_a_token_is_shown_once_and_stored_nowhere(store: Store, database_url: str) -> None:
    key, token = store.create_key("Library", [Scope.READ])
    assert token.startswith("candour_") and len(token) > 50 and token.startswith(key.prefix) and len(key.prefix) < 16
    [row] = execute(database_url, select(KeyRow.__table__))
    assert token not in json.dumps([str(value) for value in row])
    assert token[12:] not in key.model_dump_json()


@pytest.mark.parametrize("token", ["", "candour_", "candour_" + 43 * "A", "\x00", "\ud800", "é"])
def test_a_token_that_nobody_was_given_opens_nothing(store: Store, token: str) -> None:
    store.create_key("Library", [Scope.READ])
    assert store.authenticate(token) is None


# Many at once


def test_the_same_document_put_at_once_is_one_document(store: Store) -> None:
    for n in range(5):
        one = document(f"{n}.", passage(themes=["leadership"]), passage(), title="Title")
        assert together(*[lambda: store.put(one)] * 8) == [one] * 8  # noqa: B023
    assert len(every_document(store)) == 5 and len(every_passage(store)) == 10


def test_of_two_requests_with_one_key_at_once_one_is_refused(store: Store) -> None:
    for n in range(5):
        a, b = document(f"A{n}."), document(f"B{n}.")
        done = together(
            *[lambda: store.put(a, Once("library", f"key-{n}", "a"))] * 3,  # noqa: B023
            *[lambda: store.put(b, Once("library", f"key-{n}", "b"))] * 3,  # noqa: B023
        )
        assert done in ([a] * 3 + done[3:], done[:3] + [b] * 3)
        assert sum(isinstance(result, KeyReused) for result in done) == 3
        assert (store.version(a.sha256) is None) != (store.version(b.sha256) is None)


def test_documents_put_changed_deleted_and_read_at_once_are_each_whole(store: Store) -> None:
    versions = [
        document("A.", *[passage(f"Version {v}, {n}.", ["leadership"]) for n in range(5)], title=f"{v}").model_copy(
            update={"model": f"{v}"}
        )
        for v in range(3)
    ]
    name = versions[0].id

    def write(version: ScoredDocument) -> None:
        for turn in range(15):
            store.put(version, Once(version.title or "", f"{turn}", "digest"))

    def remove() -> None:
        for _ in range(15):
            try:
                store.delete(name)
            except NotFound:
                continue

    def read() -> None:
        for _ in range(40):
            with suppress(NotFound):
                found = store.get(name)
                assert found == versions[int(found.model)]
            store.passages(PassageFilter(theme="leadership"), None, 10)

    assert together(*[lambda v=v: write(v) for v in versions], remove, read, read) == [None] * 6  # type: ignore[misc]


def test_two_stores_on_one_database_do_not_stand_in_each_others_way(database_url: str) -> None:
    stores = [Store(database_url) for _ in range(2)]
    stores[0].upgrade()
    together(*[lambda s=s, n=n: s.put(document(f"{n}.")) for n in range(10) for s in stores])  # type: ignore[misc]
    assert len(every_document(stores[0])) == 10 == len(every_document(stores[1]))
    for one in stores:
        one.close()


def test_reading_goes_on_while_another_writes(store: Store, database_url: str) -> None:
    store.put(document("A."))
    token = store.create_key("Library", [Scope.READ])[1]
    writer = create_engine(database_url)
    with writer.begin() as connection:
        connection.execute(text("UPDATE documents SET title = 'Not yet'"))
        assert store.get(document("A.").id).title is None
        assert len(every_passage(store)) == 1
        assert store.authenticate(token) is not None
    writer.dispose()
    assert store.get(document("A.").id).title == "Not yet"


# A process that dies

CHILD = """
import sys
from tests.service.test_store import document, passage
from service.store import Store
store = Store(sys.argv[1])
n = 0
while True:
    put = store.put(document(f"{n}.", *[passage(f"Passage {k} of {n}.", ["leadership"]) for k in range(10)]))
    print(put.id, flush=True)
    n += 1
"""


def test_what_was_put_is_there_after_the_process_was_killed(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'candour.db'}"
    store = Store(url)
    store.upgrade()
    store.close()
    acknowledged: list[str] = []
    for count in (40, 47):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, url], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
        )
        assert child.stdout is not None
        with child:
            acknowledged += [child.stdout.readline().strip() for _ in range(count)]
            child.send_signal(signal.SIGKILL)
            # A line cut short was not read to its end by anybody.
            acknowledged += [line.strip() for line in child.stdout if line.endswith("\n")]
        assert child.returncode == -signal.SIGKILL
        store = Store(url)
        store.check()
        for name in acknowledged:
            assert len(store.get(name).passages) == 10
        assert len(every_passage(store, theme="leadership")) == 10 * len(every_document(store))
        store.close()


# A database that refuses


@pytest.mark.parametrize(
    "url",
    ["", "nothing", "mysql://host/name", "sqlite://", "sqlite:///:memory:", "postgresql://host:port/name", "\x00"],
)
def test_a_url_that_names_no_store_is_refused(url: str) -> None:
    with pytest.raises(StoreError):
        Store(url)


def test_a_store_is_opened_by_either_name_of_postgresql(postgres: URL) -> None:
    for name in ("postgres", "postgresql", "postgresql+psycopg"):
        store = Store(postgres.set(drivername=name).render_as_string())
        assert_refused(store.check, "revision none")
        store.close()


def assert_refused(call: Callable[[], Any], why: str) -> None:
    with pytest.raises(StoreError, match=why) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_database_that_cannot_be_reached_is_said_in_a_sentence(tmp_path: Path) -> None:
    for url, why in [
        (f"sqlite:///{tmp_path}/no/such/folder/candour.db", "unable to open"),
        (f"sqlite:///{tmp_path}", "unable to open"),
        (f"postgresql://user:secret@/name?host={tmp_path}", "connection"),
    ]:
        store = Store(url)
        for call in (store.upgrade, store.check, store.has_keys, lambda s=store: s.put(document())):  # type: ignore[misc]
            assert_refused(call, why)
        store.close()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("These are notes. " * 100)
    store = Store(f"sqlite:///{path}")
    assert_refused(store.upgrade, "not a database")
    assert_refused(store.check, "not a database")
    store.close()


def test_a_store_without_its_schema_is_refused(database_url: str) -> None:
    store = Store(database_url)
    assert_refused(store.check, "revision none")
    assert_refused(store.has_keys, "keys")
    store.close()


def test_a_lock_held_too_long_is_said_and_does_no_harm(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'candour.db'}"
    store = Store(f"{url}?timeout=0.1")
    store.upgrade()
    holder = create_engine(url)
    event.listen(holder, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    with holder.begin():
        assert_refused(lambda: store.put(document()), "locked")
        assert every_document(store) == []
    store.put(document())
    assert len(every_document(store)) == 1
    holder.dispose()
    store.close()


def test_a_database_that_may_not_be_written_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "candour.db"
    store = Store(f"sqlite:///{path}")
    store.upgrade()
    store.put(document())
    store.close()
    reader = Store(f"sqlite:///file:{path}?mode=ro&uri=true")
    assert len(every_document(reader)) == 1
    assert_refused(lambda: reader.put(document("B.")), "readonly")
    reader.close()


def test_a_database_that_is_full_keeps_what_it_has(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'candour.db'}")
    store.upgrade()
    store.put(document("A."))
    event.listen(store._writes.pool, "connect", lambda connection, _: connection.execute("PRAGMA max_page_count = 60"))
    store.close()  # and the next connection has no room
    assert_refused(lambda: store.put(document("B.", *[passage(f"{n} " * 4_000) for n in range(40)])), "full")
    assert store.get(document("A.").id) == document("A.")
    assert len(every_passage(store)) == 1
    store.close()


def test_a_database_that_went_away_and_came_back_is_used_again(store: Store, database_url: str, postgres: URL) -> None:
    """Connections that the server has closed are not handed out."""
    if "postgresql" not in database_url:
        pytest.skip("SQLite has no server")
    store.put(document())
    name = make_url(database_url).database
    closed = text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    assert execute(postgres.render_as_string(), closed)
    assert store.get(document().id) == document()
