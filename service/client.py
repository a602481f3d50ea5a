"""A client of the HTTP API: its operations as methods, its answers as the types of the core."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, NotRequired, Self, TypedDict, TypeVar, Unpack
from urllib.parse import quote
from uuid import uuid4

import httpx
from pydantic import TypeAdapter, ValidationError
from tenacity import (
    AsyncRetrying,
    BaseRetrying,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    wait_exception,
    wait_random_exponential,
)

from labels.dataset import Kind
from service.api.schemas import (
    ClassifyResponse,
    Fault,
    LabelledClassification,
    ModelDetails,
    ModelsResponse,
    ProblemDetails,
    Ready,
    TaxonomyResponse,
)  # fmt: skip
from service.batches import Batch
from service.compare import Comparison
from service.corrections import Correction, Corrections, Queue, ReviewItem
from service.report import DocumentSummary, Failure, FoundPassage, Page, Row, ScoredDocument

__all__ = [
    "ApiError",
    "AsyncClient",
    "Client",
    "DocumentFilters",
    "Given",
    "Inline",
    "Labelling",
    "Listed",
    "PassageFilters",
]

# Lines of one request, which is sent whole before its answer is read. A server whose answer is not read stops reading:
# with more lines both might wait for ever; so many it takes in, whatever becomes of the answer.
LINES = 128
# Seconds. A server that wants to be left alone for longer is not asked again, but the caller told.
LONGEST_WAIT = 60
# A limit of requests, too much to do, and a proxy that does not reach the server.
_PASSING = frozenset({429, 502, 503, 504})

T = TypeVar("T")
R = TypeVar("R", bound=BaseRetrying)
_ROW: TypeAdapter[Row | Failure] = TypeAdapter(Row | Failure)
_RESULT: TypeAdapter[ScoredDocument | Failure] = TypeAdapter(ScoredDocument | Failure)


class ApiError(Exception):
    """An answer that is an error, or that is not candour's: then its type is about:blank.

    type is stable, detail for a person; errors are the places in the request that were wrong. request_id: by which the
    server's log names the request. retry_after: seconds until the server wants to be asked again, if it said so.
    """

    def __init__(
        self, problem: ProblemDetails, request_id: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(problem, request_id, retry_after)
        self.status = problem.status
        self.type = problem.type
        self.title = problem.title
        self.detail = problem.detail
        self.errors: list[Fault] = problem.errors or []
        self.request_id = request_id
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"{self.status} {self.type}: {self.detail}"


class Given(TypedDict, total=False):
    """What the sender knows of a document; it takes the place of what the document says of itself."""

    title: str | None
    council: str | None
    published: date | None
    kind: Kind | None
    url: str | None


class Inline(Given, total=False):
    """A document in the request itself: one of text and html, and what is known of it."""

    text: str | None
    html: str | None


class Listed(Inline, total=False):
    """A document of a batch, and the name by which its result is known."""

    path: str | None


class DocumentFilters(TypedDict, total=False):
    """What documents can be narrowed by; all that is given must hold. text: words, or parts of words."""

    council: str | None
    kind: Kind | None
    since: date | None
    until: date | None
    theme: str | None
    stance: str | None
    text: str | None


class PassageFilters(DocumentFilters, total=False):
    """What passages can be narrowed by. document: an id."""

    document: str | None
    confident: bool | None


class Labelling(TypedDict):
    """The labels that a person gives a passage. who: default the key's name; guide: default the present version."""

    themes: list[str]
    stances: list[str]
    primary_stance: NotRequired[str | None]
    who: NotRequired[str | None]
    why: NotRequired[str | None]
    guide: NotRequired[str | None]


@dataclass(frozen=True)
class _Call(Generic[T]):
    """A request, and what reads the body of its answer. options: further arguments of httpx's request."""

    method: str
    path: str
    parse: Callable[[bytes], T]
    params: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


class Client:
    """The API of the candour at a URL. May be used by many threads.

    Connection errors, timeouts, and answers of 429, 502, 503 and 504 are tried again, up to `retries` times: after at
    least what Retry-After says, and a random while of up to `pause` seconds, twice as many each time. What Retry-After
    puts off for more than LONGEST_WAIT is not tried again. Every method raises ApiError for an answer that is an error,
    and httpx.TransportError where there is none. timeout: seconds without a byte.
    """

    def __init__(
        self, url: str, key: str | None = None, *, timeout: float = 60, retries: int = 4, pause: float = 0.5
    ) -> None:
        self._http = httpx.Client(base_url=url, headers=_headers(key), timeout=timeout)
        self._retrying = _retrying(Retrying, retries, pause)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def classify(self, texts: str | Sequence[str], explain: bool = False) -> list[LabelledClassification]:
        """The labels of texts, in order. explain: and what carries each, which takes a pass of the model per word."""
        return self._send(_classify(texts, explain))

    def classify_lines(self, lines: Iterable[tuple[str | int, str]]) -> Iterator[Row | Failure]:
        """The labels of any number of (id, text), in order; a text that has none is a Failure, by its line from 1.

        Holds LINES of them.
        """
        for call in _classify_lines(lines):
            yield from self._send(call)

    def score(
        self,
        document: str | os.PathLike[str] | bytes | None = None,
        *,
        text: str | None = None,
        html: str | None = None,
        idempotency_key: str | None = None,
        **given: Unpack[Given],
    ) -> ScoredDocument:
        """Score and keep a document: the path of a file, or its bytes; or a text or HTML in their stead.

        Raises OSError for a file that cannot be read.
        """
        return self._send(_score(document, text, html, idempotency_key, given))

    def documents(self, page_size: int | None = None, **filters: Unpack[DocumentFilters]) -> Iterator[DocumentSummary]:
        """Stored documents, the newest first. page_size: how many are asked for at a time; the server's default."""
        return self._items(_documents(page_size, filters))

    def document(self, id: str) -> ScoredDocument:  # noqa: A002
        """A stored document."""
        return self._send(_document(id))

    def delete(self, id: str) -> None:  # noqa: A002
        """Forget a document. Ends in a 404 where there is none, or where it was forgotten and the answer was lost."""
        self._send(_delete(id))

    def passages(self, page_size: int | None = None, **filters: Unpack[PassageFilters]) -> Iterator[FoundPassage]:
        """Passages of stored documents, the newest document's first."""
        return self._items(_passages(page_size, filters))

    def passage(self, id: str) -> FoundPassage:  # noqa: A002
        """A passage of a stored document."""
        return self._send(_passage(id))

    def correct(self, id: str, **said: Unpack[Labelling]) -> Correction:  # noqa: A002
        """Say what a passage's labels are. Where an answer is lost, the same may be kept twice."""
        return self._send(_correct(id, said))

    def corrections(self, id: str) -> Corrections:  # noqa: A002
        """What people said of a passage's text."""
        return self._send(_corrections(id))

    def review(self, limit: int | None = None, who: str | None = None) -> list[ReviewItem]:
        """The passages that a person should look at next. who: default the key's name."""
        return self._send(_review(limit, who))

    def compare(self, report: str | Inline, response: str | Inline) -> Comparison:
        """What a response makes of a report's criticisms. Each is the id of a stored document, or is in the request."""
        return self._send(_compare(report, response))

    def submit(self, documents: str | os.PathLike[str] | Iterable[Listed], idempotency_key: str | None = None) -> Batch:
        """Hand over many documents at once: the path of a zip or of lines of JSON, or the documents themselves.

        Raises OSError for a file that cannot be read.
        """
        return self._send(_submit(documents, idempotency_key))

    def batch(self, id: str) -> Batch:  # noqa: A002
        """A batch, and how far it is."""
        return self._send(_batch(id))

    def batches(self, page_size: int | None = None) -> Iterator[Batch]:
        """The batches of this key, the newest first."""
        return self._items(_batches(page_size))

    def cancel(self, id: str) -> Batch:  # noqa: A002
        """A batch of which nothing more is scored from now on."""
        return self._send(_cancel(id))

    def results(self, id: str) -> Iterator[ScoredDocument | Failure]:  # noqa: A002
        """What a batch has given so far, in the order sent; a document that has no labels is a Failure."""
        yield from self._send(_results(id))

    def taxonomy(self) -> TaxonomyResponse:
        """What the labels mean."""
        return self._send(_TAXONOMY)

    def models(self) -> ModelsResponse:
        """The models of the server's store."""
        return self._send(_MODELS)

    def current_model(self) -> ModelDetails:
        """The model that answers."""
        return self._send(_CURRENT_MODEL)

    def ready(self) -> Ready:
        """The server can score. Ends in a 503 where it cannot after the last try."""
        return self._send(_READY)

    def _send(self, call: _Call[T]) -> T:
        def once() -> T:
            return _answer(call, self._http.request(call.method, call.path, params=call.params, **call.options))

        return self._retrying(once)

    def _items(self, first: _Call[Page[T]]) -> Iterator[T]:
        call: _Call[Page[T]] | None = first
        while call:
            page = self._send(call)
            yield from page.items
            call = _following(call, page)


class AsyncClient:
    """Client, for asyncio. May be used by many tasks."""

    def __init__(
        self, url: str, key: str | None = None, *, timeout: float = 60, retries: int = 4, pause: float = 0.5
    ) -> None:
        self._http = httpx.AsyncClient(base_url=url, headers=_headers(key), timeout=timeout)
        self._retrying = _retrying(AsyncRetrying, retries, pause)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._http.aclose()

    async def classify(self, texts: str | Sequence[str], explain: bool = False) -> list[LabelledClassification]:
        return await self._send(_classify(texts, explain))

    async def classify_lines(self, lines: Iterable[tuple[str | int, str]]) -> AsyncIterator[Row | Failure]:
        for call in _classify_lines(lines):
            for result in await self._send(call):
                yield result

    async def score(
        self,
        document: str | os.PathLike[str] | bytes | None = None,
        *,
        text: str | None = None,
        html: str | None = None,
        idempotency_key: str | None = None,
        **given: Unpack[Given],
    ) -> ScoredDocument:
        return await self._send(await asyncio.to_thread(_score, document, text, html, idempotency_key, given))

    def documents(
        self, page_size: int | None = None, **filters: Unpack[DocumentFilters]
    ) -> AsyncIterator[DocumentSummary]:
        return self._items(_documents(page_size, filters))

    async def document(self, id: str) -> ScoredDocument:  # noqa: A002
        return await self._send(_document(id))

    async def delete(self, id: str) -> None:  # noqa: A002
        await self._send(_delete(id))

    def passages(self, page_size: int | None = None, **filters: Unpack[PassageFilters]) -> AsyncIterator[FoundPassage]:
        return self._items(_passages(page_size, filters))

    async def passage(self, id: str) -> FoundPassage:  # noqa: A002
        return await self._send(_passage(id))

    async def correct(self, id: str, **said: Unpack[Labelling]) -> Correction:  # noqa: A002
        return await self._send(_correct(id, said))

    async def corrections(self, id: str) -> Corrections:  # noqa: A002
        return await self._send(_corrections(id))

    async def review(self, limit: int | None = None, who: str | None = None) -> list[ReviewItem]:
        return await self._send(_review(limit, who))

    async def compare(self, report: str | Inline, response: str | Inline) -> Comparison:
        return await self._send(_compare(report, response))

    async def submit(
        self, documents: str | os.PathLike[str] | Iterable[Listed], idempotency_key: str | None = None
    ) -> Batch:
        return await self._send(await asyncio.to_thread(_submit, documents, idempotency_key))

    async def batch(self, id: str) -> Batch:  # noqa: A002
        return await self._send(_batch(id))

    def batches(self, page_size: int | None = None) -> AsyncIterator[Batch]:
        return self._items(_batches(page_size))

    async def cancel(self, id: str) -> Batch:  # noqa: A002
        return await self._send(_cancel(id))

    async def results(self, id: str) -> AsyncIterator[ScoredDocument | Failure]:  # noqa: A002
        for result in await self._send(_results(id)):
            yield result

    async def taxonomy(self) -> TaxonomyResponse:
        return await self._send(_TAXONOMY)

    async def models(self) -> ModelsResponse:
        return await self._send(_MODELS)

    async def current_model(self) -> ModelDetails:
        return await self._send(_CURRENT_MODEL)

    async def ready(self) -> Ready:
        return await self._send(_READY)

    async def _send(self, call: _Call[T]) -> T:
        async def once() -> T:
            return _answer(call, await self._http.request(call.method, call.path, params=call.params, **call.options))

        # A copy: the tasks of a thread would share its state.
        return await self._retrying.copy()(once)

    async def _items(self, first: _Call[Page[T]]) -> AsyncIterator[T]:
        call: _Call[Page[T]] | None = first
        while call:
            page = await self._send(call)
            for item in page.items:
                yield item
            call = _following(call, page)


_TAXONOMY = _Call("GET", "/v1/taxonomy", TaxonomyResponse.model_validate_json)
_MODELS = _Call("GET", "/v1/models", ModelsResponse.model_validate_json)
_CURRENT_MODEL = _Call("GET", "/v1/models/current", ModelDetails.model_validate_json)
_READY = _Call("GET", "/readyz", Ready.model_validate_json)


def _classify(texts: str | Sequence[str], explain: bool) -> _Call[list[LabelledClassification]]:
    def results(body: bytes) -> list[LabelledClassification]:
        return ClassifyResponse.model_validate_json(body).results

    asked = {"input": texts if isinstance(texts, str) else list(texts), "explain": explain}
    return _Call("POST", "/v1/classify", results, options=_json(asked))


def _classify_lines(lines: Iterable[tuple[str | int, str]]) -> Iterator[_Call[list[Row | Failure]]]:
    ahead, before = iter(lines), 0
    while chunk := list(islice(ahead, LINES)):
        content = b"".join(_encoded({"id": name, "text": text}) + b"\n" for name, text in chunk)
        options = {"content": content, "headers": {"Content-Type": "application/x-ndjson"}}
        yield _Call("POST", "/v1/classify", _rows(before, len(chunk)), options=options)
        before += len(chunk)


def _rows(before: int, count: int) -> Callable[[bytes], list[Row | Failure]]:
    """What reads the answer to so many lines, before which there were so many others."""

    def rows(body: bytes) -> list[Row | Failure]:
        found = [_ROW.validate_json(line) for line in body.splitlines()]
        if len(found) != count:
            raise httpx.RemoteProtocolError(f"{len(found):,} lines answer {count:,}")
        return [
            result.model_copy(update={"line": before + result.line})
            if isinstance(result, Failure) and result.line is not None
            else result
            for result in found
        ]

    return rows


def _score(
    document: str | os.PathLike[str] | bytes | None,
    text: str | None,
    html: str | None,
    idempotency_key: str | None,
    given: Given,
) -> _Call[ScoredDocument]:
    if sum(content is not None for content in (document, text, html)) != 1:
        raise TypeError("exactly one of document, text and html must be given")
    known = _without_none(given)
    if document is None:
        options = _json(_without_none({"text": text, "html": html}) | known)
    else:
        options = {"files": {"file": _file(document)}, "data": known, "headers": {}}
    # Named even where the caller has no name for it: a try whose answer was lost and the next one are one request.
    options["headers"]["Idempotency-Key"] = idempotency_key or uuid4().hex
    return _Call("POST", "/v1/documents", ScoredDocument.model_validate_json, options=options)


def _file(document: str | os.PathLike[str] | bytes) -> tuple[str, bytes]:
    """The name and content of a file; bytes have none, and a form's file must."""
    if isinstance(document, bytes):
        return "document", document
    path = Path(document)
    return os.fsencode(path.name).decode("utf-8", "replace"), path.read_bytes()


def _documents(page_size: int | None, filters: DocumentFilters) -> _Call[Page[DocumentSummary]]:
    params = _without_none({"limit": page_size, **filters})
    return _Call("GET", "/v1/documents", Page[DocumentSummary].model_validate_json, params)


def _passages(page_size: int | None, filters: PassageFilters) -> _Call[Page[FoundPassage]]:
    params = _without_none({"limit": page_size, **filters})
    return _Call("GET", "/v1/passages", Page[FoundPassage].model_validate_json, params)


def _following(call: _Call[Page[T]], page: Page[T]) -> _Call[Page[T]] | None:
    """The call for the next page; None after the last."""
    return None if page.next is None else replace(call, params={**call.params, "cursor": page.next})


def _document(id_: str) -> _Call[ScoredDocument]:
    return _Call("GET", f"/v1/documents/{quote(id_, safe='')}", ScoredDocument.model_validate_json)


def _delete(id_: str) -> _Call[None]:
    return _Call("DELETE", f"/v1/documents/{quote(id_, safe='')}", lambda _: None)


def _passage(id_: str) -> _Call[FoundPassage]:
    return _Call("GET", f"/v1/passages/{quote(id_, safe='')}", FoundPassage.model_validate_json)


def _correct(id_: str, said: Labelling) -> _Call[Correction]:
    path = f"/v1/passages/{quote(id_, safe='')}/labels"
    return _Call("POST", path, Correction.model_validate_json, options=_json(_without_none(said)))


def _corrections(id_: str) -> _Call[Corrections]:
    return _Call("GET", f"/v1/passages/{quote(id_, safe='')}/labels", Corrections.model_validate_json)


def _review(limit: int | None, who: str | None) -> _Call[list[ReviewItem]]:
    def items(body: bytes) -> list[ReviewItem]:
        return Queue.model_validate_json(body).items

    return _Call("GET", "/v1/review", items, _without_none({"limit": limit, "who": who}))


def _compare(report: str | Inline, response: str | Inline) -> _Call[Comparison]:
    asked = {
        name: {"id": side} if isinstance(side, str) else _without_none(side)
        for name, side in (("report", report), ("response", response))
    }
    return _Call("POST", "/v1/compare", Comparison.model_validate_json, options=_json(asked))


def _submit(documents: str | os.PathLike[str] | Iterable[Listed], idempotency_key: str | None) -> _Call[Batch]:
    if isinstance(documents, str | os.PathLike):
        content = Path(documents).read_bytes()
    else:
        content = b"".join(_encoded(_without_none(document)) + b"\n" for document in documents)
    type_ = "application/zip" if content.startswith(b"PK") else "application/x-ndjson"
    # As for a document.
    headers = {"Content-Type": type_, "Idempotency-Key": idempotency_key or uuid4().hex}
    return _Call("POST", "/v1/batches", Batch.model_validate_json, options={"content": content, "headers": headers})


def _batch(id_: str) -> _Call[Batch]:
    return _Call("GET", f"/v1/batches/{quote(id_, safe='')}", Batch.model_validate_json)


def _batches(page_size: int | None) -> _Call[Page[Batch]]:
    return _Call("GET", "/v1/batches", Page[Batch].model_validate_json, _without_none({"limit": page_size}))


def _cancel(id_: str) -> _Call[Batch]:
    return _Call("POST", f"/v1/batches/{quote(id_, safe='')}/cancel", Batch.model_validate_json)


def _results(id_: str) -> _Call[list[ScoredDocument | Failure]]:
    def results(body: bytes) -> list[ScoredDocument | Failure]:
        return [_RESULT.validate_json(line) for line in body.splitlines()]

    return _Call("GET", f"/v1/batches/{quote(id_, safe='')}/results", results)


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as a form, a query and JSON may all have them: dates as text, and nothing for None."""
    return {
        name: value.isoformat() if isinstance(value, date) else value
        for name, value in values.items()
        if value is not None
    }


def _json(body: Mapping[str, Any]) -> dict[str, Any]:
    return {"content": _encoded(body), "headers": {"Content-Type": "application/json"}}


def _encoded(body: Mapping[str, Any]) -> bytes:
    # What no encoding can carry is for the server to refuse, by its line.
    return json.dumps(body, ensure_ascii=False).encode(errors="surrogatepass")


def _headers(key: str | None) -> dict[str, str]:
    return {} if key is None else {"Authorization": f"Bearer {key}"}


def _answer(call: _Call[T], response: httpx.Response) -> T:
    if not response.is_success:
        raise _error(response)
    try:
        return call.parse(response.content)
    except ValidationError:
        raise _error(response) from None


def _error(response: httpx.Response) -> ApiError:
    try:
        problem = ProblemDetails.model_validate_json(response.content)
    except ValidationError:
        type_ = response.headers.get("content-type", "no type")
        detail = f"not an answer of candour, but of {type_}: {' '.join(response.text.split())[:200]}"
        problem = ProblemDetails(
            type="about:blank",
            title=response.reason_phrase,
            status=response.status_code,
            detail=detail,
            error=detail,
        )
    return ApiError(problem, response.headers.get("x-request-id"), _retry_after(response))


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds, of a header that has seconds or a time; None where it has neither."""
    value = response.headers.get("retry-after", "")
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):  # TypeError: a time without its zone
        return None


def _retrying(kind: type[R], retries: int, pause: float) -> R:
    return kind(
        retry=retry_if_exception(_may_pass),
        stop=stop_after_attempt(retries + 1),
        wait=wait_exception(_asked) + wait_random_exponential(multiplier=pause, max=LONGEST_WAIT),
        reraise=True,
    )


def _may_pass(error: BaseException) -> bool:
    """Whether the same request may be answered a while later."""
    if isinstance(error, ApiError):
        # What took too long once would do so again, and keep others waiting.
        return error.status in _PASSING and error.type != "timed-out" and _asked(error) <= LONGEST_WAIT
    return isinstance(error, httpx.TimeoutException | httpx.NetworkError | httpx.RemoteProtocolError | httpx.ProxyError)


def _asked(error: BaseException) -> float:
    """The seconds that a server asked for."""
    return error.retry_after or 0.0 if isinstance(error, ApiError) else 0.0
