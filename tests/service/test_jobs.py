"""The queue of batches: what is stopped, killed, lost or sent twice is done once; by one process or several."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime
from pathlib import Path

import httpx
import pytest
from alembic import command
from sqlalchemy import create_engine, inspect

from models.classifier import Classifier
from service import analysis, jobs
from service.batches import Batch, Item, State
from service.client import Client
from service.jobs import Jobs
from service.parsing import Limits, Parsers
from service.report import Classification, Failure, Metadata, Problem, ScoredDocument
from service.store import Store, configuration
from tests.service.test_store import document, passage

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def parsers() -> Iterator[Parsers]:
    with Parsers(2, Limits(30, 1_000_000_000, 100)) as parsers:
        yield parsers


def items(name: str, count: int) -> list[Item]:
    return [Item(f"Visit {n} to {name} was late.".encode(), path=f"{n}.txt") for n in range(count)]


class Model:
    """The champion; notes what it labels, and waits before each document until it is let through."""

    def __init__(self, classifier: Classifier, through: int = 1_000_000) -> None:
        self._classifier = classifier
        self._gate = threading.Semaphore(through)
        self.labelled: list[str] = []

    def __call__(self) -> tuple[str, jobs.Classify]:
        return self._classifier.version, self._classify

    def _classify(self, texts: Sequence[str]) -> list[Classification]:
        self._gate.acquire()
        self.labelled += texts
        return analysis.classify(texts, self._classifier)

    def let(self, count: int) -> None:
        self._gate.release(count)


@contextmanager
def running(
    store: Store, url: str, parsers: Parsers, model: Callable[[], tuple[str, jobs.Classify]], workers: int = 2
) -> Iterator[Jobs]:
    """Workers on the queue of a store, from here to the end of the block."""
    with closing(Jobs(store, url, parsers, model, workers)) as found:
        found.start()
        yield found


def until(store: Store, id_: str, holds: Callable[[Batch], bool]) -> Batch:
    while not holds(batch := store.batch(id_, "desk")):
        time.sleep(0.01)
    return batch


def is_done(batch: Batch) -> bool:
    return batch.state is State.DONE


def test_what_a_stopped_worker_leaves_the_next_one_does(
    store: Store, database_url: str, parsers: Parsers, champion: Classifier
) -> None:
    first, second = Model(champion, through=20), Model(champion)
    with running(store, database_url, parsers, first) as found:
        id_ = found.submit("desk", items("Ash", 100)).id
        until(store, id_, lambda batch: batch.done == 20)
        found.stopping.set()
        first.let(2)  # the documents at hand
    stopped = store.batch(id_, "desk")
    assert stopped.state is State.RUNNING and 20 <= stopped.done <= 22 and stopped.left == 100 - stopped.done
    with running(store, database_url, parsers, second):
        done = until(store, id_, is_done)
    assert (done.done, done.failed) == (100, 0)
    assert sorted(first.labelled + second.labelled) == sorted(f"Visit {n} to Ash was late." for n in range(100))
    assert [result.path for result in store.results(id_)] == [f"{n}.txt" for n in range(100)]


def test_a_message_that_comes_twice_does_nothing_twice(
    store: Store, database_url: str, parsers: Parsers, champion: Classifier
) -> None:
    id_ = store.create_batch("desk", items("Birch", 40)).id
    model = Model(champion, through=0)
    with running(store, database_url, parsers, model, workers=1), closing(jobs.opened(database_url).storage) as queue:
        for message in queue.enqueued_items():
            queue.enqueue(message)
        model.let(1_000)
        until(store, id_, is_done)
    assert len(model.labelled) == 40


def test_messages_that_are_lost_are_sent_again_after_a_while(
    store: Store, database_url: str, parsers: Parsers, champion: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "LOST", jobs.timedelta(seconds=1))
    monkeypatch.setattr(jobs, "LOOK", 0.1)
    with running(store, database_url, parsers, Model(champion)):
        id_ = store.create_batch("desk", items("Elm", 40)).id  # and nobody is told
        assert until(store, id_, is_done).done == 40


def test_several_processes_share_a_batch(
    store: Store, database_url: str, parsers: Parsers, champion: Classifier
) -> None:
    models = Model(champion, through=0), Model(champion)
    with (
        running(store, database_url, parsers, models[0]) as found,
        running(store, database_url, parsers, models[1]),
    ):
        id_ = found.submit("desk", items("Fir", 200)).id
        until(store, id_, lambda batch: batch.done > 0)
        models[0].let(1_000)
        assert until(store, id_, is_done).done == 200
    assert models[0].labelled and models[1].labelled
    assert len(models[0].labelled) + len(models[1].labelled) == 200


def test_a_small_batch_does_not_wait_for_all_of_a_large_one(
    store: Store, database_url: str, parsers: Parsers, champion: Classifier
) -> None:
    model = Model(champion, through=1)
    with running(store, database_url, parsers, model, workers=1) as found:
        large = found.submit("desk", items("Oak", 100)).id
        until(store, large, lambda batch: batch.done == 1)
        small = found.submit("desk", items("Rowan", 3)).id
        model.let(2 * jobs.CHUNK)
        until(store, small, is_done)
        assert store.batch(large, "desk").left >= 100 - 2 * jobs.CHUNK
        model.let(1_000)
        until(store, large, is_done)


def test_an_error_that_nobody_foresaw_costs_one_document(
    store: Store, database_url: str, parsers: Parsers, champion: Classifier
) -> None:
    def labels(texts: Sequence[str]) -> list[Classification]:
        if "Visit 3" in texts[0]:
            raise ZeroDivisionError
        return analysis.classify(texts, champion)

    with running(store, database_url, parsers, lambda: (champion.version, labels)) as found:
        id_ = found.submit("desk", items("Hazel", 5)).id
        done = until(store, id_, is_done)
    assert (done.done, done.failed) == (4, 1)
    (failure,) = (result for result in store.results(id_) if isinstance(result, Failure))
    assert (failure.path, failure.error.type) == ("3.txt", "internal")


def test_items_that_cannot_be_read_leave_no_batch_behind(store: Store) -> None:
    def broken() -> Iterator[Item]:
        yield from items("Alder", 3)
        raise InterruptedError

    with pytest.raises(InterruptedError):
        store.create_batch("desk", broken())
    assert store.batches("desk", None, 10).items == [] and store.adopt_batches(datetime.now(UTC)) == []


def test_contents_are_kept_until_they_are_scored_and_no_longer(store: Store, database_url: str) -> None:
    given = Metadata(title="Our response", published=date(2026, 5, 4), kind="council_release")
    sent = Item(b"Plans drift.", "a.txt", metadata=given)
    first, second = (store.create_batch("desk", [sent, Item(b"Reviews slip.")]).id for _ in range(2))

    def held() -> int:
        engine = create_engine(database_url)
        with engine.connect() as connection:
            query = "SELECT count(*) FROM batch_items WHERE content IS NOT NULL"
            count: int = connection.exec_driver_sql(query).scalar_one()
        engine.dispose()
        return count

    assert held() == 4
    assert store.begin_item(first, 0, "m1") == sent
    store.finish_item(first, 0)
    store.finish_item(first, 0)  # as a second machine would, to which the message came, too
    store.finish_item(first, 1, Problem(type="no-text", detail=""))
    batch = store.batch(first, "desk")
    assert (batch.state, batch.done, batch.failed, batch.left, held()) == (State.DONE, 1, 1, 0, 2)
    assert store.begin_item(first, 0, "m1") is None
    store.cancel_batch(second, "desk")
    assert store.begin_item(second, 0, "m1") is None
    store.finish_item(second, 0)
    assert (store.batch(second, "desk").left, held()) == (2, 0)


def test_the_schema_goes_down_to_the_first_and_up_again_with_documents_in_it(store: Store, database_url: str) -> None:
    kept = store.put(document("A.", passage()))
    store.create_batch("desk", items("Larch", 3))
    store.close()
    engine = create_engine(database_url)
    for run, revision in ((command.downgrade, "0001"), (command.upgrade, "0002")):
        with engine.begin() as connection:
            run(configuration(connection), revision)
            tables = set(inspect(connection).get_table_names())
            assert ({"batches", "batch_items"} <= tables) == (revision == "0002") and "documents" in tables
    engine.dispose()
    store.upgrade()
    store.check()
    assert store.get(kept.id) == kept
    assert store.batches("desk", None, 10).items == []


@contextmanager
def process(arguments: Sequence[str | Path], url: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process with its settings and its log, which does not outlive the block."""
    with log.open("wb") as errors:
        started = subprocess.Popen(
            arguments, env=os.environ | {"CANDOUR_DATABASE": url}, stdout=errors, stderr=errors, cwd=ROOT
        )
    try:
        yield started
    finally:
        started.kill()
        started.wait()


@contextmanager
def server(url: str, log: Path) -> Iterator[tuple[subprocess.Popen[bytes], Client]]:
    """`candour serve`, and a client of it."""
    with process([Path(sys.executable).with_name("candour"), "serve", "--port", "0"], url, log) as started:
        while not (found := re.search(r"running on (http://[\d.:]+)", log.read_text())):
            assert started.poll() is None, log.read_text()
            time.sleep(0.01)
        with Client(found[1], retries=0) as client:
            yield started, client


def test_a_batch_outlives_servers_that_are_killed(database_url: str, tmp_path: Path, champion: Classifier) -> None:
    texts = [f"Visit {n} to Quillwick was late.\n\nThe next, on day {n}, was not." for n in range(300)]
    id_ = None
    for kill in range(3):
        with server(database_url, tmp_path / f"log{kill}") as (started, client):
            if id_ is None:
                id_ = client.submit({"text": text, "path": f"{n}"} for n, text in enumerate(texts)).id
            before = client.batch(id_).done
            while client.batch(id_).done < before + 50:
                time.sleep(0.01)
            started.kill()
            with pytest.raises(httpx.TransportError):
                client.ready()
        assert "Quillwick" not in (tmp_path / f"log{kill}").read_text()
    assert id_ is not None
    with server(database_url, tmp_path / "log") as (started, client):
        while (batch := client.batch(id_)).state is not State.DONE:
            time.sleep(0.01)
        assert (batch.documents, batch.done, batch.failed, batch.left) == (300, 300, 0, 0)
        results = list(client.results(id_))
        assert results == [analysis.analyse(text.encode(), champion, path=f"{n}") for n, text in enumerate(texts)]
        assert len(list(client.documents(page_size=100))) == 300
        started.send_signal(signal.SIGTERM)
        assert started.wait() == 0


def test_a_worker_of_its_own_does_what_a_killed_server_took(store: Store, database_url: str, tmp_path: Path) -> None:
    id_ = store.create_batch("desk", items("Sallow", 30)).id
    code = "from service.work_cli import work; work()"
    with process([sys.executable, "-c", code], database_url, tmp_path / "log") as started:
        assert until(store, id_, lambda batch: is_done(batch) or started.poll() is not None).done == 30
        started.send_signal(signal.SIGTERM)
        assert started.wait() == 0
    assert all(isinstance(result, ScoredDocument) for result in store.results(id_))
    assert "Traceback" not in (tmp_path / "log").read_text()
