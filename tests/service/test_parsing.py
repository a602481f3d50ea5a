"""Readers in processes of their own: what hurts one leaves the others, and the pool, at work."""

from __future__ import annotations

import asyncio
import ctypes
import io
import os
import signal
import subprocess
import sys
import time
import traceback
import zipfile
from collections.abc import Iterator
from concurrent.futures import CancelledError
from dataclasses import replace
from pathlib import Path

import pytest

from service import parsing
from service.errors import DamagedDocument, DocumentError, EmptyDocument, TooComplex, TooLarge
from service.parsing import Limits, Parsed, Parsers, Unforeseen
from tests.service.documents.test_pdf import FIRST, make

ROOT = Path(__file__).parents[2]
SAMPLES = sorted(path for path in (ROOT / "samples").iterdir() if path.suffix != ".json")
LIMITS = Limits(seconds=60, memory=1_024_000_000, pages=1_000)
TEXT = b"Visits to children in need were late in four cases out of ten, and nobody had told the managers of it."


class Awkward(Exception):
    """An exception that cannot be carried from one process to another."""

    def __init__(self, what: str, where: str) -> None:
        super().__init__(f"{what} in {where}")


def read(data: bytes, path: str | None, max_pages: int | None) -> Parsed:
    """Does what a hostile document would have a parser do. The path that it gives back is the worker's number."""
    if data == b"sleep":
        if path:
            Path(path).touch()
        time.sleep(3_600)
    elif data == b"allocate":
        held = []
        while True:
            held.append(bytearray(10_000_000))
    elif data == b"crash":
        ctypes.string_at(0)
    elif data == b"exit":
        sys.exit(3)
    elif data == b"abort":
        os.abort()
    elif data == b"print":
        print("not for the program's output")
    elif data == b"awkward":
        raise Awkward("a bracket", "the margin")
    elif data == b"modules":
        return replace(parsing.parse(TEXT), path=" ".join(sys.modules))
    return replace(parsing.parse(data if data.startswith(TEXT) else TEXT, path, max_pages), path=str(os.getpid()))


def worker(parsers: Parsers) -> int:
    """The number of the process that reads the next document."""
    return int(parsers.submit(TEXT).result().path or "")


@pytest.fixture
def parsers() -> Iterator[Parsers]:
    """One worker, which does what a hostile document would have it do."""
    with Parsers(1, LIMITS, read) as started:
        yield started


def test_a_worker_reads_what_this_process_would() -> None:
    with Parsers(2, LIMITS) as started:
        futures = [started.submit(path.read_bytes(), path.name) for path in SAMPLES]
        for path, future in zip(SAMPLES, futures, strict=True):
            assert future.result() == parsing.parse(path.read_bytes(), path.name)


def test_workers_are_kept_from_document_to_document(parsers: Parsers) -> None:
    assert worker(parsers) == worker(parsers) != os.getpid()


def test_a_worker_does_not_import_the_model(parsers: Parsers) -> None:
    modules = (parsers.submit(b"modules").result().path or "").split()
    assert "trafilatura" in modules
    assert not {"onnxruntime", "tokenizers", "numpy", "fastapi"} & set(modules)


@pytest.mark.parametrize(
    ("data", "kind"),
    [(b"", EmptyDocument), (b"PK\x03\x04 cut short", DamagedDocument), (b"%PDF-1.7\n", DamagedDocument)],
)
def test_the_errors_of_documents_come_through_as_they_are(data: bytes, kind: type[DocumentError]) -> None:
    with pytest.raises(kind) as expected:
        parsing.parse(data)
    with Parsers(1, LIMITS) as started, pytest.raises(kind) as caught:
        started.submit(data).result()
    assert type(caught.value) is kind
    assert str(caught.value) == str(expected.value)


def test_a_document_that_takes_for_ever_is_too_complex_and_the_next_is_read() -> None:
    with Parsers(1, replace(LIMITS, seconds=0.5), read) as started:
        stuck = worker(started)
        late = started.submit(b"sleep")
        following = started.submit(TEXT)
        with pytest.raises(TooComplex, match=r"^reading it took more than 0\.5 seconds \(CANDOUR_MAX_PARSE_SECONDS\)$"):
            late.result()
        assert following.result().path != str(stuck)


def test_a_document_that_takes_all_memory_is_too_complex_and_its_worker_is_replaced(parsers: Parsers) -> None:
    full = worker(parsers)
    greedy = parsers.submit(b"allocate")
    with pytest.raises(TooComplex, match=r"^reading it took more than 1,024 MB \(CANDOUR_MAX_PARSE_MEMORY\)$"):
        greedy.result()
    assert worker(parsers) != full


def test_a_file_larger_than_the_memory_of_a_worker_is_too_complex() -> None:
    with Parsers(1, replace(LIMITS, memory=200_000_000)) as started:
        with pytest.raises(TooComplex):
            started.submit(bytes(300_000_000)).result()
        assert started.submit(TEXT).result().passages


@pytest.mark.parametrize(("data", "number"), [(b"crash", signal.SIGSEGV), (b"abort", signal.SIGABRT)])
def test_a_document_that_kills_its_worker_is_too_complex(parsers: Parsers, data: bytes, number: int) -> None:
    fatal = parsers.submit(data)
    with pytest.raises(TooComplex, match=rf"^reading it killed the reader \(signal {number:d}\)$"):
        fatal.result()
    assert worker(parsers)


@pytest.mark.parametrize(
    ("data", "line"), [(b"awkward", "Awkward: a bracket in the margin"), (b"exit", "SystemExit: 3")]
)
def test_what_nobody_foresaw_comes_with_its_traceback(parsers: Parsers, data: bytes, line: str) -> None:
    before = worker(parsers)
    with pytest.raises(Unforeseen) as caught:
        parsers.submit(data).result()
    assert str(caught.value) == line
    logged = "".join(traceback.format_exception(caught.value))
    assert "test_parsing.py" in logged
    assert "in read\n" in logged
    assert worker(parsers) == before


def test_bad_documents_among_many_harm_no_other() -> None:
    bad = {5: b"crash", 11: b"sleep", 17: b"allocate", 18: b"awkward", 23: b"crash", 30: b"abort"}
    with Parsers(3, replace(LIMITS, seconds=3), read) as started:
        documents = [bad.get(n, TEXT + f" Visit {n} was late.".encode()) for n in range(60)]
        futures = [started.submit(data) for data in documents]
        for n, future in enumerate(futures):
            if n in bad:
                assert isinstance(future.exception(), Unforeseen if bad[n] == b"awkward" else TooComplex)
            else:
                assert future.result().document.text.endswith(f"Visit {n} was late.")


def test_a_worker_that_died_between_documents_costs_none(parsers: Parsers) -> None:
    idle = worker(parsers)
    os.kill(idle, signal.SIGKILL)
    while _lives(idle):
        time.sleep(0.01)
    assert worker(parsers) != idle


def _lives(number: int) -> bool:
    """Whether a process of ours runs: one that has ended and was not waited for does not."""
    return os.waitid(os.P_PID, number, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def test_cancelling_a_document_that_is_read_kills_its_worker(parsers: Parsers, tmp_path: Path) -> None:
    before, begun = worker(parsers), tmp_path / "begun"
    future = parsers.submit(b"sleep", str(begun))
    while not begun.exists():
        time.sleep(0.01)
    assert future.cancel()
    assert worker(parsers) != before


def test_cancelling_a_document_that_waits_takes_it_off_the_queue(parsers: Parsers) -> None:
    futures = [parsers.submit(TEXT), parsers.submit(b"sleep"), parsers.submit(TEXT)]
    assert futures[1].cancel()
    assert futures[0].result().passages
    assert futures[2].result().passages
    with pytest.raises(CancelledError):
        futures[1].result()


def test_a_document_awaited_by_asyncio_is_cancelled_with_its_task(parsers: Parsers, tmp_path: Path) -> None:
    before, begun = worker(parsers), tmp_path / "begun"

    async def cancel() -> None:
        task = asyncio.ensure_future(asyncio.wrap_future(parsers.submit(b"sleep", str(begun))))
        while not begun.exists():
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert worker(parsers) != before


def test_closing_cancels_what_is_not_read_and_refuses_more() -> None:
    with Parsers(1, LIMITS, read) as started:
        started.warm()
        futures = [started.submit(b"sleep") for _ in range(3)]
    assert all(future.cancelled() for future in futures)
    with pytest.raises(RuntimeError, match="closed"):
        started.submit(TEXT)


def test_workers_that_cannot_start_are_an_error_and_no_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with Parsers(1, LIMITS) as started:
        with pytest.raises(RuntimeError, match="does not start"):
            started.warm()
        with pytest.raises(RuntimeError, match="does not start"):
            started.submit(TEXT).result()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_workers_leave_it_to_their_parent_when_to_stop(parsers: Parsers, number: int) -> None:
    before = worker(parsers)
    os.kill(before, number)
    assert worker(parsers) == before


# A program with nothing to guard it against being imported, as embedding programs may be.
PROGRAM = """
import sys, time
from service.parsing import Limits, Parsers
from tests.service.test_parsing import TEXT, read
parsers = Parsers(2, Limits(60, 1_024_000_000, 10), read)
parsers.warm()
parsers.submit(b"print").result()
if sys.argv[1:] == ["hang"]:
    parsers.submit(b"sleep"), parsers.submit(b"sleep")
    print("hanging", flush=True)
    time.sleep(3600)
print(len(parsers.submit(TEXT).result().passages), "passage")
"""


@pytest.mark.parametrize("way", ["script", "module", "code"])
def test_any_program_may_read_and_need_not_close(tmp_path: Path, way: str) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    arguments = {"script": [str(tmp_path / "program.py")], "module": ["-m", "program"], "code": ["-c", PROGRAM]}[way]
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "docx.py").write_text("raise SystemExit('a file in the working folder is not imported')")
    path = os.pathsep.join([str(ROOT), str(tmp_path)])
    done = subprocess.run(
        [sys.executable, "-P", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("1 passage\n", "", 0)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a worker reads its document to the end")
def test_a_parent_that_is_killed_leaves_no_orphans() -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "hang"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with program:
        assert program.stdout
        assert program.stderr
        assert program.stdout.readline() == "hanging\n"
        program.kill()
        # The workers hold the other end too: it is closed when the last of them has ended.
        assert program.stderr.read() == ""


def test_a_pdf_of_too_many_pages_is_refused() -> None:
    data = make(*[FIRST] * 3_000)
    with Parsers(1, replace(LIMITS, pages=2_999)) as started, pytest.raises(TooLarge) as caught:
        started.submit(data).result()
    assert str(caught.value) == "the PDF has 3,000 pages; the limit is 2,999 (CANDOUR_MAX_PAGES)"


def test_a_pdf_of_as_many_pages_as_the_limit_is_read() -> None:
    with Parsers(1, replace(LIMITS, pages=2)) as started:
        assert started.submit(make(FIRST, FIRST[:1])).result().document.pages == 2


def bomb(size: int) -> bytes:
    """A Word document with a part of so many bytes, packed into thousands."""
    file = io.BytesIO()
    packed = zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1)
    with packed as archive, archive.open("word/document.xml", "w") as entry:
        for _ in range(size // 1_000_000):
            entry.write(bytes(1_000_000))
    return file.getvalue()


def test_an_archive_that_would_unpack_beyond_all_bounds_is_refused() -> None:
    with Parsers(1, LIMITS) as started, pytest.raises(TooLarge, match="unpacks to 300,000,000 bytes"):
        started.submit(bomb(300_000_000)).result()


def test_an_archive_that_makes_itself_out_to_be_small_is_not_unpacked_further() -> None:
    data = bytearray(bomb(600_000_000))
    for mark, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = data.rfind(mark) + offset
        data[at : at + 4] = (1_000).to_bytes(4, "little")
    with Parsers(1, replace(LIMITS, memory=300_000_000)) as started, pytest.raises(DamagedDocument):
        started.submit(bytes(data)).result()
