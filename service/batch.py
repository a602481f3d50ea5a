"""Many inputs, one after the other: what fails becomes a line of its own, and the rest goes on."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import ValidationError

from models.classifier import Classifier
from service import analysis
from service.errors import DocumentError, InvalidInput, InvalidMetadata, TooLarge, Unreadable
from service.parsing import Parsed, Parsers
from service.report import METADATA, Classification, ExplainedRow, Failure, Metadata, Problem, Row, ScoredDocument

log = logging.getLogger("candour.batch")
# Files that are none: what is known of another, and what is still being written.
NO_DOCUMENT = (METADATA, ".partial")
# Files read ahead of the model, their bytes, and passages that it is given together, of not more than MOST files.
AHEAD, AHEAD_BYTES, TOGETHER, MOST = 16, 100_000_000, 256, 256
# Lines classified at a time: enough to sort by length, few enough to hold.
CHUNK = 1024
# The same where each is explained, and costs some sixty passes of the network.
EXPLAINED_CHUNK = 16


@dataclass
class Tally:
    """What a run did, and where its time went: seconds of the model, and of waiting for documents to be read.
    known: documents that were not scored again.
    """

    known: int = 0
    documents: int = 0
    passages: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    waiting: float = 0.0
    model: float = 0.0

    @property
    def done(self) -> int:
        return self.known + self.documents + self.failed

    @property
    def failed(self) -> int:
        return self.failures.total()


def find(paths: Sequence[Path], leave: Collection[Path] = ()) -> list[Path]:
    """The files to score, each once: those named, and all in named folders and below, sorted.

    Hidden files and folders are left out, and so are metadata (.meta.json), unfinished files (.partial) and what stands
    in `leave` or in a folder there; links to folders are not followed. A folder that cannot be listed, and a link to
    nothing, are in the list: scoring them says what is wrong.
    """
    left = {_resolved(path) for path in leave}
    found: dict[Path, Path] = {}
    for path in paths:
        for file in _inside(path) if _is_folder(path) else [path]:
            if (resolved := _resolved(file)) not in left and left.isdisjoint(resolved.parents):
                found.setdefault(resolved, file)
    return list(found.values())


def _inside(folder: Path) -> list[Path]:
    found: list[Path] = []

    def unlisted(error: OSError) -> None:
        found.append(Path(error.filename))

    for root, folders, names in os.walk(folder, onerror=unlisted):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(root, name) for name in names if not name.startswith(".") and not name.endswith(NO_DOCUMENT)]
    return sorted(found)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name too long, a parent that may not be read: reading it will say so
        return False


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # RuntimeError: a loop of links
        return path.absolute()


def score(
    files: Iterable[Path],
    classifier: Classifier,
    parsers: Parsers,
    tally: Tally,
    max_bytes: int,
    known: Callable[[str], bool] | None = None,
) -> Iterator[ScoredDocument | Failure]:
    """The result of each file, in order: a scored document, or why there is none. A known one has no result.

    While the model labels the passages of some documents, together, so that all cores have work, the next ones are
    read. known: whether a content need not be scored, given its sha256; with it, one that comes twice is scored once.
    What is known of a document beside its text is taken from the file PATH.meta.json, where there is one.
    """
    ahead, window, held = iter(files), deque[_Reading](), 0
    chunk: list[Parsed | Failure] = []
    seen: set[str] = set()
    while True:
        while len(window) < AHEAD and held < AHEAD_BYTES and (path := next(ahead, None)) is not None:
            if reading := _begun(path, parsers, max_bytes, known):
                window.append(reading)
                held += reading.size
            else:
                tally.known += 1
        if not window:
            break
        reading = window.popleft()
        held -= reading.size
        started = time.perf_counter()
        found = reading.outcome()
        tally.waiting += time.perf_counter() - started
        if known and isinstance(found, Parsed):
            if found.sha256 in seen:
                tally.known += 1
                continue
            seen.add(found.sha256)
        chunk.append(found)
        if _is_full(chunk):
            yield from _scored(chunk, classifier, tally)
            chunk = []
    yield from _scored(chunk, classifier, tally)


def relabel(
    documents: Iterable[ScoredDocument], classifier: Classifier, tally: Tally
) -> Iterator[tuple[ScoredDocument, ScoredDocument]]:
    """Each document as it was, and with this model's labels on the same passages, in order."""
    chunk: list[ScoredDocument] = []
    for document in documents:
        chunk.append(document)
        if _is_full(chunk):
            yield from _relabelled(chunk, classifier, tally)
            chunk = []
    yield from _relabelled(chunk, classifier, tally)


def _is_full(chunk: Sequence[Parsed | ScoredDocument | Failure]) -> bool:
    """Whether the model is given these documents together."""
    passages = sum(len(found.passages) for found in chunk if not isinstance(found, Failure))
    return passages >= TOGETHER or len(chunk) >= MOST


@dataclass(frozen=True)
class _Reading:
    """A file that is being read, or that could not be."""

    name: str
    size: int
    found: Future[Parsed] | Failure
    metadata: Metadata

    def outcome(self) -> Parsed | Failure:
        if isinstance(self.found, Failure):
            return self.found
        try:
            return replace(self.found.result(), metadata=self.metadata)
        except Exception as error:
            return _failure(self.name, error)


def _begun(path: Path, parsers: Parsers, max_bytes: int, known: Callable[[str], bool] | None) -> _Reading | None:
    """Have a file read; None where its content is known."""
    name = os.fsencode(path).decode("utf-8", "replace")
    try:
        data = _bytes(path, max_bytes)
        if known and known(hashlib.sha256(data).hexdigest()):
            return None
        return _Reading(name, len(data), parsers.submit(data, name), _metadata(path))
    except DocumentError as error:
        return _Reading(name, 0, _failure(name, error), Metadata())


def _metadata(path: Path) -> Metadata:
    beside = path.with_name(path.name + METADATA)
    try:
        return Metadata.model_validate_json(beside.read_bytes())
    except FileNotFoundError:
        return Metadata()
    except OSError as error:
        raise InvalidMetadata(f"{beside.name} cannot be read: {error.strerror or error}") from error
    except ValidationError as error:
        found = error.errors()[0]
        where = ".".join(map(str, found["loc"])) or "it"
        raise InvalidMetadata(f"{beside.name}: {where}: {found['msg']}") from error


def _scored(chunk: list[Parsed | Failure], classifier: Classifier, tally: Tally) -> Iterator[ScoredDocument | Failure]:
    labels = _labels([text for found in chunk if isinstance(found, Parsed) for text in found.texts], classifier, tally)
    for found in chunk:
        if isinstance(found, Failure):
            tally.failures[found.error.type] += 1
            yield found
        else:
            tally.documents += 1
            tally.passages += len(found.passages)
            yield analysis.scored(found, list(islice(labels, len(found.passages))), classifier.version)


def _relabelled(
    chunk: list[ScoredDocument], classifier: Classifier, tally: Tally
) -> Iterator[tuple[ScoredDocument, ScoredDocument]]:
    labels = _labels([passage.text for document in chunk for passage in document.passages], classifier, tally)
    for document in chunk:
        tally.documents += 1
        tally.passages += len(document.passages)
        yield document, analysis.relabelled(document, list(islice(labels, len(document.passages))), classifier.version)


def _labels(texts: list[str], classifier: Classifier, tally: Tally) -> Iterator[Classification]:
    started = time.perf_counter()
    labels = analysis.classify(texts, classifier)
    tally.model += time.perf_counter() - started
    return iter(labels)


def _failure(path: str, error: Exception) -> Failure:
    """A document's error; one that nobody foresaw is logged whole, and does not cost the other documents."""
    if isinstance(error, DocumentError):
        return Failure(path=path, error=Problem(type=error.type, detail=str(error)))
    log.error("%s: cannot be read", path, exc_info=error)
    return Failure(path=path, error=Problem(type="internal", detail=f"candour failed on it: {error!r}"))


def _bytes(path: Path, limit: int) -> bytes:
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise Unreadable("cannot be read: not a regular file")
        if found.st_size > limit:
            raise TooLarge(f"the file has {found.st_size:,} bytes; the limit is {limit:,} (CANDOUR_MAX_BYTES)")
        return path.read_bytes()
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror or error}") from error


def classify(
    lines: BinaryIO | Iterable[bytes], classifier: Classifier, tally: Tally, max_characters: int, explain: bool = False
) -> Iterator[Row | Failure]:
    """The result of each JSONL line {"id", "text"}, in order; blank lines are passed over. Holds CHUNK lines.

    explain: each row says why its labels are on, which takes a pass of the network for every word.
    """
    numbered = ((number, line) for number, line in enumerate(lines, 1) if line.strip())
    while chunk := list(islice(numbered, EXPLAINED_CHUNK if explain else CHUNK)):
        parsed = [row(number, line, max_characters) for number, line in chunk]
        texts = [found[1] for found in parsed if not isinstance(found, Failure)]
        started = time.perf_counter()
        labels = analysis.classify(texts, classifier)
        explained = iter(analysis.explain(texts, classifier) if explain else [])
        tally.model += time.perf_counter() - started
        for result in labelled(parsed, labels):
            if isinstance(result, Failure):
                tally.failures[result.error.type] += 1
            else:
                tally.passages += 1
                if explain:
                    result = ExplainedRow(**dict(result), explanations=next(explained))
            yield result


def labelled(
    rows: Iterable[tuple[str | int, str] | Failure], labels: Iterable[Classification]
) -> Iterator[Row | Failure]:
    """Rows and failures in the order of the lines, given the labels of those lines that could be read."""
    found = iter(labels)
    for item in rows:
        yield item if isinstance(item, Failure) else Row(id=item[0], **dict(next(found)))


def longest_line(max_characters: int) -> int:
    """Bytes of the longest line that may hold a text of so many characters: six for each, escaped, and its id."""
    return 6 * max_characters + 1_000


def row(number: int, line: bytes, max_characters: int) -> tuple[str | int, str] | Failure:
    """The id and text of a line of JSON, or why it has none."""
    if len(line) > longest_line(max_characters):
        limit = f"text has more than {max_characters:,} characters (CANDOUR_MAX_CHARACTERS)"
        return _refused(None, number, InvalidInput(limit))
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        return _refused(None, number, InvalidInput(f"not JSON: {error}"))
    if not isinstance(found, dict):
        return _refused(None, number, InvalidInput('not an object {"id", "text"}'))
    name, text = found.get("id"), found.get("text")
    if isinstance(name, bool) or not isinstance(name, (str, int)):
        return _refused(None, number, InvalidInput("has no id (a text or a whole number)"))
    try:
        return name, checked(text, max_characters)
    except InvalidInput as error:
        return _refused(name, number, error)


def checked(text: Any, max_characters: int) -> str:
    """A text that can be classified, as it is. Raises InvalidInput."""
    if not isinstance(text, str):
        raise InvalidInput("text is missing or not a string")
    if not any(character.isalnum() for character in text):
        raise InvalidInput("text holds no word")
    if len(text) > max_characters:
        raise InvalidInput(
            f"text has {len(text):,} characters; the limit is {max_characters:,} (CANDOUR_MAX_CHARACTERS)"
        )
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidInput("text holds half of a surrogate pair, which no encoding can carry") from None
    return text


def _refused(name: str | int | None, line: int, error: InvalidInput) -> Failure:
    return Failure(id=name, line=line, error=Problem(type=error.type, detail=str(error)))
