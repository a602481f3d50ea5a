"""Scores the documents of batches in the background: one queue, and as many workers and machines as there are.

The documents wait in the store. The queue (huey's) has a message for each CHUNK of them, and what becomes of a document
is written down with the document: a message that comes twice does nothing twice, and one that is lost, as by kill -9,
is sent again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Condition, Event, Thread

from huey import Huey, PostgresHuey, SqliteHuey
from sqlalchemy import make_url
from tenacity import retry, stop_after_attempt, wait_random

from labels.passages import SEGMENTATION
from service import analysis
from service.batches import Batch, Item
from service.errors import CandourError, NotFound, StoreError
from service.parsing import Parsers
from service.report import Classification, Problem
from service.store import Backlog, Once, Store

log = logging.getLogger("candour.jobs")
# Documents of a message, which one worker scores one after the other.
CHUNK = 16
# Seconds between looks at a queue that was empty; between looks at the backlog.
POLL, LOOK = 1.0, 5.0
# After so long without news of a batch its messages are taken for lost, with the machine that had them.
LOST = timedelta(minutes=10)

Classify = Callable[[Sequence[str]], list[Classification]]


class Jobs:
    """Workers of one process on the queue of a store, which stop with the document at hand when they are told to.

    model: gives the version of the model that is served, and what labels the texts of a document, on the thread of a
    worker; that may raise whatever it likes once `stopping` is set, and the document waits for the next start.
    backlog: as it was a few seconds ago.
    """

    def __init__(
        self, store: Store, url: str, parsers: Parsers, model: Callable[[], tuple[str, Classify]], workers: int
    ) -> None:
        """url: the store's. Raises StoreError where the queue cannot be opened."""
        self._store = store
        self._parsers = parsers
        self._model = model
        self._at_work: set[tuple[str, int]] = set()
        self._news = Condition()
        self._threads = [Thread(target=self._run, name=f"candour-batches-{n}") for n in range(workers)]
        self._threads.append(Thread(target=self._watch, name="candour-backlog"))
        self.stopping = Event()
        self.backlog = Backlog()
        try:
            self._queue = opened(url)
        except Exception as error:
            raise StoreError(f"the queue of batches cannot be opened: {error}") from error
        self._message = self._queue.task(name="score")(self._score)

    def start(self) -> None:
        """Send what was left unfinished again, and begin. Raises StoreError."""
        self._adopt(datetime.now(UTC))
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop, and wait for the documents at hand."""
        self.stopping.set()
        with self._news:
            self._news.notify_all()
        for thread in self._threads:
            thread.join()
        self._queue.storage.close()

    def submit(self, owner: str, items: Iterable[Item], once: Once | None = None) -> Batch:
        """Keep a batch, and have it scored. Raises what Store.create_batch and the reading of items raise."""
        batch = self._store.create_batch(owner, items, once)
        try:
            self._send(batch.id)
        except Exception as error:  # the batch is kept, and looked after later
            log.error("a batch cannot be queued now", extra={"batch": batch.id}, exc_info=error)
        return batch

    def _send(self, batch: str) -> None:
        """Queue what waits of a batch, and is neither in the queue nor at work here.

        The first documents of each batch come first, so that a small batch does not wait for all of a large one.
        """
        queued = {message.args for message in self._queue.pending()} | self._at_work
        for chunk in sorted({position // CHUNK for position in self._store.waiting(batch)}):
            if (batch, chunk) not in queued:
                self._message(batch, chunk, priority=-chunk)
        with self._news:
            self._news.notify_all()

    def _adopt(self, before: datetime) -> None:
        for batch in self._store.adopt_batches(before):
            self._send(batch)

    def _watch(self) -> None:
        while not self.stopping.is_set():
            try:
                self.backlog = self._store.backlog()
                self._adopt(datetime.now(UTC) - LOST)
            except Exception as error:
                log.error("the backlog of batches cannot be read", exc_info=error)
            self.stopping.wait(LOOK)

    def _run(self) -> None:
        while not self.stopping.is_set():
            try:
                message = self._queue.dequeue()
            except Exception as error:
                log.error("the queue of batches cannot be read", exc_info=error)
                message = None
            if message is not None:
                self._queue.execute(message)
                continue
            with self._news:
                if not self.stopping.is_set():
                    self._news.wait(POLL)

    def _score(self, batch: str, chunk: int) -> None:
        """What a message asks for."""
        self._at_work.add((batch, chunk))
        try:
            for position in range(chunk * CHUNK, (chunk + 1) * CHUNK):
                if self.stopping.is_set():
                    break
                version, classify = self._model()
                if item := self._store.begin_item(batch, position, version):
                    self._store.finish_item(batch, position, self._problem(item, version, classify))
            else:
                return
        except Exception as error:
            if not self.stopping.is_set():
                log.error("a batch has to wait", extra={"batch": batch}, exc_info=error)
                self.stopping.wait(POLL)
        finally:
            self._at_work.discard((batch, chunk))
        self._message(batch, chunk, priority=-chunk)

    def _problem(self, item: Item, version: str, classify: Classify) -> Problem | None:
        """Score a document and keep it; why that cannot be."""
        try:
            self._keep(item, version, classify)
        except StoreError:  # is no fault of the document
            raise
        except CandourError as error:
            return Problem(type=error.type, detail=str(error))
        except Exception as error:
            if self.stopping.is_set():
                raise
            log.error("a document cannot be scored", exc_info=error)
            return Problem(type="internal", detail=f"candour failed on it: {error!r}")
        return None

    def _keep(self, item: Item, version: str, classify: Classify) -> None:
        assert item.content is not None and item.sha256 is not None
        if self._store.version(item.sha256) == (version, SEGMENTATION):
            try:
                self._store.update(item.sha256[:16], item.metadata, item.path)
            except NotFound:  # deleted since
                pass
            else:
                return
        parsed = replace(self._parsers.submit(item.content, item.path).result(), metadata=item.metadata)
        self._store.put(analysis.scored(parsed, classify(parsed.texts), version))


# Of several processes that make the queue's tables at once, PostgreSQL refuses all but one.
@retry(stop=stop_after_attempt(5), wait=wait_random(0, 1), reraise=True)
def opened(url: str) -> Huey:
    """The queue of a store: a file beside SQLite's, tables of its own in PostgreSQL."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return SqliteHuey("batches", results=False, filename=f"{parsed.database}.queue", timeout=30)
    dsn = parsed.set(drivername="postgresql").render_as_string(hide_password=False)
    return PostgresHuey("batches", results=False, dsn=dsn, blocking=False)
