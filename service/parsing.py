"""Documents read in processes of their own, which may be killed: a hostile file costs its reader and nobody else."""

from __future__ import annotations

import ctypes
import hashlib
import os
import resource
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe
from queue import SimpleQueue
from threading import Lock, Thread
from types import TracebackType
from typing import NamedTuple, Self

from labels.passages import Passage
from service import documents
from service.documents import Document
from service.errors import DocumentError, TooComplex
from service.report import Metadata

# What a worker ends with when it has no memory left to say anything.
_OUT_OF_MEMORY = 66
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Parsed:
    """A document that was read and cut into passages, before the model has seen it.

    metadata: what is known of it otherwise, and takes the place of what it says of itself.
    """

    path: str | None
    sha256: str
    document: Document
    passages: list[Passage]
    metadata: Metadata = field(default_factory=Metadata)

    @property
    def texts(self) -> list[str]:
        return [passage.text for passage in self.passages]


def parse(data: bytes, path: str | None = None, max_pages: int | None = None) -> Parsed:
    """Read a document and cut it into passages, in this process. Raises DocumentError."""
    document = documents.read(data, max_pages)
    return Parsed(path, hashlib.sha256(data).hexdigest(), document, document.passages)


Read = Callable[[bytes, str | None, int | None], Parsed]


@dataclass(frozen=True)
class Limits:
    """What the reading of one document may take.

    seconds: from its arrival in the worker to the answer. memory: bytes of the worker's address space, of which it has
    some 70 MB before it reads anything. pages: of a PDF.
    """

    seconds: float
    memory: int
    pages: int


class Unforeseen(Exception):
    """What a parser raised that is no DocumentError, in one line; its note is the traceback in the worker."""


class Parsers:
    """A pool of worker processes, each of which reads one document at a time.

    A worker that goes beyond a limit, dies, or reads a document that was cancelled is killed and replaced; the others
    have their own connections and do not notice. read: a function at the top of a module; the workers call it with
    the bytes, the path and the most pages.
    """

    def __init__(self, workers: int, limits: Limits, read: Read = parse) -> None:
        self._waiting: SimpleQueue[_Task | None] = SimpleQueue()
        self._unfinished: set[Future[Parsed]] = set()
        self._closing = Lock()
        self._closed = False
        self._started: list[Future[None]] = [Future() for _ in range(workers)]
        self._threads = [
            Thread(target=self._run, args=(_Worker(read, limits), started), name="candour-parser", daemon=True)
            for started in self._started
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def submit(self, data: bytes, path: str | None = None) -> Future[Parsed]:
        """The document, as soon as a worker has read it. Can be cancelled until then, while it is read too.

        The future raises what parse raises, TooComplex beyond a limit or when the worker died, or Unforeseen;
        RuntimeError or OSError where no worker starts.
        """
        future: Future[Parsed] = Future()
        with self._closing:
            if self._closed:
                raise RuntimeError("the parsers are closed")
            self._unfinished.add(future)
            self._waiting.put(_Task(future, data, path))
        future.add_done_callback(self._unfinished.discard)
        return future

    def warm(self) -> None:
        """Wait until the workers have started. Raises RuntimeError or OSError where one cannot."""
        for started in self._started:
            started.result()

    def close(self) -> None:
        """Cancel what is not read yet and end the workers."""
        with self._closing:
            self._closed = True
        for future in self._unfinished.copy():
            future.cancel()
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join()

    def _run(self, worker: _Worker, started: Future[None]) -> None:
        try:
            worker.start()
        except Exception as error:  # the first document will try again
            started.set_exception(error)
        else:
            started.set_result(None)
        while task := self._waiting.get():
            _finish(task, worker)
            del task  # a large document is not held while there is none to read
        worker.stop()


class _Task(NamedTuple):
    # Not set to running before its result is there: only a pending future can be cancelled.
    future: Future[Parsed]
    data: bytes
    path: str | None


def _finish(task: _Task, worker: _Worker) -> None:
    """Have a document read and give its future the outcome, unless it is cancelled."""
    future = task.future
    if future.cancelled():
        future.set_running_or_notify_cancel()
        return
    outcome: Parsed | Exception
    try:
        process = worker.start()
        future.add_done_callback(lambda done: process.kill() if done.cancelled() else None)
        outcome = worker.read(task.data, task.path)
    except Exception as error:
        outcome = error
    if not future.set_running_or_notify_cancel():
        worker.stop()
    elif isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


class _Worker:
    """A process that reads one document after the other, and this end of the connection to it."""

    def __init__(self, read: Read, limits: Limits) -> None:
        self._read = read
        self._limits = limits
        self._connection: Connection | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> subprocess.Popen[bytes]:
        """The process; a new one, which has imported what it needs, where there is none.

        Raises RuntimeError or OSError.
        """
        if self._process and self._process.poll() is None:
            return self._process
        self.stop()
        self._connection, theirs = Pipe()
        with theirs:
            # Not by multiprocessing, whose processes import the main program again, and with it the model's runtime.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", "from service import parsing; parsing._serve()", str(theirs.fileno())],
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # the program's output is no place for what a parser prints
            )
        try:
            self._connection.send((self._read, self._limits))
            self._connection.recv()
        except (EOFError, OSError) as error:
            raise RuntimeError(f"the process that reads documents does not start ({_ending(self.stop())})") from error
        return self._process

    def read(self, data: bytes, path: str | None) -> Parsed:
        """What the started process makes of a document. Raises DocumentError or Unforeseen."""
        assert self._connection
        try:
            self._connection.send((data, path))
            if not self._connection.poll(self._limits.seconds):
                self.stop()
                raise TooComplex(
                    f"reading it took more than {self._limits.seconds:g} seconds (CANDOUR_MAX_PARSE_SECONDS)"
                )
            outcome: Parsed | Exception = self._connection.recv()
        except (EOFError, OSError) as error:
            code = self.stop()
            if code == _OUT_OF_MEMORY:
                most = f"{self._limits.memory / 1_000_000:,.0f} MB"
                raise TooComplex(f"reading it took more than {most} (CANDOUR_MAX_PARSE_MEMORY)") from error
            raise TooComplex(f"reading it killed the reader ({_ending(code)})") from error
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def stop(self) -> int | None:
        """End the process, if there is one; how it ended, where it had done so by itself."""
        if not self._process or not self._connection:
            return None
        self._connection.close()
        self._process.kill()
        code = self._process.wait()
        self._process = None
        return code


def _ending(code: int | None) -> str:
    return f"signal {-code}" if code is not None and code < 0 else f"exit status {code}"


def _serve() -> None:
    """What a worker does: read the documents that come, until the other end of the connection is closed."""
    # To stop is for the parent to decide: Ctrl-C and a service manager's SIGTERM reach the workers as well.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if sys.platform == "linux":  # elsewhere, a worker outlives a killed parent until it has read its document
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    connection = Connection(int(sys.argv[1]))
    read, limits = connection.recv()
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory, limits.memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold the document
    connection.send(None)
    try:
        while True:
            data, path = connection.recv()
            connection.send(_outcome(read, data, path, limits.pages))
    except MemoryError:
        os._exit(_OUT_OF_MEMORY)
    except EOFError:
        return


def _outcome(read: Read, data: bytes, path: str | None, pages: int) -> Parsed | Exception:
    try:
        return read(data, path, pages)
    except MemoryError:
        raise
    except DocumentError as error:
        return error
    except BaseException as error:  # a panic in a library written in Rust is no Exception
        unforeseen = Unforeseen(f"{type(error).__name__}: {error}")
        unforeseen.add_note(traceback.format_exc())
        return unforeseen
