"""The client, synchronous and asynchronous, against a real server, and behind a proxy that fails."""

import asyncio
import inspect
import json
import pickle
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count, islice
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

import httpx
import pytest

from labels import taxonomy
from models.classifier import Classifier
from service import analysis, batch, client, compare
from service.api.batches import BatchDocument
from service.api.corrections import CorrectionRequest
from service.api.documents import GivenMetadata, InlineDocument
from service.batch import Tally
from service.batches import State
from service.client import ApiError, AsyncClient, Client
from service.keys import Scope
from service.report import Failure, Row, ScoredDocument
from service.settings import Settings
from service.store import DocumentFilter, PassageFilter, Store
from tests.service.serving import served

TEXTS = ["We are sorry that plans were late.", "Bins are emptied on Monday."]
REPORT = "Plans for children in care drift, and reviews are late.\n\nManagers do not know how many visits are missed.\n"
RESPONSE = "We are sorry that plans for children in care drift. We accept every word of it.\n"
MAX_CHARACTERS = 5_000


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server without keys, whose store the tests of this module share."""
    database = f"sqlite:///{tmp_path_factory.mktemp('client') / 'candour.db'}"
    with served(Settings(database=database, max_characters=MAX_CHARACTERS)) as url:
        yield url


class Awaited:
    """An AsyncClient as a Client: its answers are awaited, its iterators exhausted."""

    def __init__(self, runner: asyncio.Runner, client: AsyncClient) -> None:
        self._runner = runner
        self._client = client

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def ended(*args: Any, **kwargs: Any) -> Any:
            found = getattr(self._client, name)(*args, **kwargs)
            return iter([item async for item in found]) if hasattr(found, "__aiter__") else await found

        return lambda *args, **kwargs: self._runner.run(ended(*args, **kwargs))


@pytest.fixture(params=["Client", "AsyncClient"])
def connect(request: pytest.FixtureRequest) -> Iterator[Callable[..., Client]]:
    """Clients of either sort, which do not pause before they try again."""
    with ExitStack() as stack:

        def connected(url: str, **options: Any) -> Any:
            options = {"pause": 0, **options}
            if request.param == "Client":
                return stack.enter_context(Client(url, **options))
            runner = stack.enter_context(asyncio.Runner())
            made = AsyncClient(url, **options)
            runner.run(made.__aenter__())
            stack.callback(lambda: runner.run(made.__aexit__(None, None, None)))
            return Awaited(runner, made)

        yield connected


@pytest.fixture
def api(connect: Callable[..., Client], url: str) -> Client:
    return connect(url)


def test_texts_are_labelled_as_the_core_labels_them(api: Client, champion: Classifier) -> None:
    expected = analysis.classify(TEXTS, champion)
    found = api.classify(TEXTS)
    assert [dict(result) | dict(core) for result, core in zip(found, expected, strict=True)] == list(map(dict, found))
    assert found[0].labels["stance/apologetic"] and found[0].explanations is None
    assert api.classify(TEXTS[0]) == api.classify(TEXTS[:1])


def test_labels_are_explained_as_the_core_explains_them(api: Client, champion: Classifier) -> None:
    assert [result.explanations for result in api.classify(TEXTS, explain=True)] == analysis.explain(TEXTS, champion)


def test_lines_keep_their_order_and_the_bad_ones_their_places(api: Client, champion: Classifier) -> None:
    bad: dict[int, Any] = {3: " ", 129: None, 700: "late " * MAX_CHARACTERS, 4_000: "half \ud800", 4_999: ""}
    lines = [(n if n % 2 else f"line\u2028{n}", bad.get(n, f"Room {n % 50} is closed.")) for n in range(5_000)]
    found = list(api.classify_lines(lines))
    failed = {n: result for n, result in enumerate(found) if isinstance(result, Failure)}
    assert [result.id for result in found] == [name for name, _ in lines]
    assert failed.keys() == bad.keys() and all(failure.line == n + 1 for n, failure in failed.items())
    encoded = [json.dumps({"id": lines[n][0], "text": text}).encode() for n, text in bad.items()]
    core = batch.classify(encoded, champion, Tally(), MAX_CHARACTERS)
    assert [failure.error for failure in failed.values()] == [result.error for result in core]  # type: ignore[union-attr]
    rooms = analysis.classify([f"Room {n} is closed." for n in range(50)], champion)
    for n, result in enumerate(found):
        assert n in bad or result == Row(id=lines[n][0], **dict(rooms[n % 50]))


def test_lines_are_not_read_ahead(url: str) -> None:
    numbers = count()
    with Client(url) as api:
        answers = api.classify_lines((n, f"Room {n} is closed.") for n in numbers)
        assert [answer.id for answer in islice(answers, client.LINES)] == list(range(client.LINES))
    assert next(numbers) == client.LINES


def test_lines_of_more_than_a_connection_holds_come_through(connect: Callable[..., Client], url: str) -> None:
    names = [f"{n} {'x' * 25_000}" for n in range(2 * client.LINES)]
    found = list(connect(url, retries=0).classify_lines((name, "Room 7 is closed.") for name in names))
    assert [result.id for result in found] == names


def test_no_lines_have_no_answers(api: Client) -> None:
    assert list(api.classify_lines([])) == []


def test_a_file_its_bytes_and_its_text_are_scored_as_the_core_scores_them(
    api: Client, champion: Classifier, release: str, folder: Path
) -> None:
    expected = analysis.analyse(release.encode(), champion)
    assert api.score(folder / "release.txt") == expected.model_copy(update={"path": "release.txt"})
    assert api.score(str(folder / "release.txt")).path == "release.txt"
    assert api.score(release.encode()).passages == expected.passages
    assert api.score(text=release).passages == expected.passages
    page = "<p>The director resigned over the failings.</p>"
    assert api.score(html=page).passages == analysis.analyse(page.encode(), champion).passages


@pytest.mark.parametrize("sent", ["file", "text"])
def test_what_is_known_of_a_document_goes_with_it(api: Client, sent: str) -> None:
    content = f"Visits to {sent} were late."
    known: client.Given = {
        "title": "Späte Besuche", "council": "Tarnholme", "published": date(2026, 5, 4), "kind": "letter",
        "url": "https://tarnholme.example/1",
    }  # fmt: skip
    found = api.score(content.encode(), **known) if sent == "file" else api.score(text=content, **known)
    assert found.model_dump(include=known.keys()) == known
    assert api.document(found.id) == found


def test_a_document_has_one_source(api: Client) -> None:
    with pytest.raises(TypeError, match="exactly one of document, text and html"):
        api.score()
    with pytest.raises(TypeError, match="exactly one of document, text and html"):
        api.score(b"Reviews slip.", text="Reviews slip.")
    with pytest.raises(FileNotFoundError):
        api.score("no-such-file.pdf")


def test_a_name_that_no_encoding_can_carry_is_sent(api: Client, tmp_path: Path) -> None:
    path = tmp_path / "letter-\udcff.txt"
    path.write_text("Reviews slip.")
    assert api.score(path).path == "letter-\ufffd.txt"


def test_an_idempotency_key_holds_the_caller_to_one_request(api: Client, request: pytest.FixtureRequest) -> None:
    key = request.node.callspec.id
    first = api.score(text="Reviews slip.", idempotency_key=key)
    assert api.score(text="Reviews slip.", idempotency_key=key) == first
    with pytest.raises(ApiError) as refused:
        api.score(text="Visits slip.", idempotency_key=key)
    assert (refused.value.status, refused.value.type) == (422, "idempotency-key-reused")


def test_lists_have_all_that_is_stored_and_matches(api: Client, request: pytest.FixtureRequest) -> None:
    council = request.node.callspec.id
    sent = [
        api.score(text=f"We are sorry that {council} lost file {n}.\n\nBins go out.", council=council) for n in range(5)
    ]
    found = list(api.documents(page_size=2, council=council, since=None))
    assert [document.id for document in found] == [document.id for document in reversed(sent)]
    assert [document.summary for document in found] == [document.summary for document in reversed(sent)]
    passages = list(api.passages(page_size=3, council=council))
    assert [(p.document, p.position) for p in passages] == [(d.id, n) for d in reversed(sent) for n in (0, 1)]
    (one,) = api.passages(document=sent[0].id, stance="apologetic")
    assert one.text == sent[0].passages[0].text and one.scores == sent[0].passages[0].scores
    assert [p.confident for p in passages if p.confident] == [
        p.confident for p in api.passages(council=council, confident=True)
    ]
    assert list(api.documents(council=council, until=date(2020, 1, 1))) == []


def test_a_passage_is_corrected_and_leaves_the_queue(api: Client, request: pytest.FixtureRequest) -> None:
    who = request.node.callspec.id
    sent = api.score(text=f"{who}: plans drift, and nobody says sorry.", council=who)
    name = f"{sent.id}-0"
    assert api.passage(name).text == sent.passages[0].text
    assert name in {item.id for item in api.review(100, who=who)}
    first = api.correct(name, themes=["care_planning"], stances=["critical"], primary_stance="critical", who=who)
    second = api.correct(name, themes=["care_planning"], stances=[], who="Bo Tarn", why="It is a plan.", guide="1.0")
    found = api.corrections(name)
    assert found.disagree and found.present == [second, first] and first.given.model == sent.model
    assert name not in {item.id for item in api.review(100, who=who)}
    with pytest.raises(ApiError, match="unknown theme 'poems'"):
        api.correct(name, themes=["poems"], stances=[], who=who)


def test_a_deleted_document_is_gone(api: Client, request: pytest.FixtureRequest) -> None:
    id_ = api.score(text=f"{request.node.callspec.id}: reviews slip.").id
    assert api.delete(id_) is None  # type: ignore[func-returns-value]
    for ask in (api.document, api.delete):
        with pytest.raises(ApiError) as gone:
            ask(id_)
        assert (gone.value.status, gone.value.type) == (404, "not-found")


def test_an_id_is_one_part_of_the_path(api: Client) -> None:
    with pytest.raises(ApiError) as unknown:
        api.document("../models/current?")
    assert unknown.value.status == 404


def test_stored_and_inline_documents_are_compared_as_the_core_compares_them(api: Client, champion: Classifier) -> None:
    both = [analysis.analyse(text.encode(), champion) for text in (REPORT, RESPONSE)]
    expected = compare.compare(*both, taxonomy.load())
    answer: client.Inline = {"text": RESPONSE, "published": date(2026, 5, 4), "council": "Tarnholme", "kind": None}
    assert api.compare(api.score(text=REPORT).id, answer) == expected
    assert api.compare({"text": REPORT}, api.score(text=RESPONSE).id) == expected


def test_the_catalogue_names_labels_and_models(api: Client, champion: Classifier) -> None:
    labels = api.taxonomy()
    assert tuple(label.key for label in labels.themes + labels.stances) == taxonomy.load().keys
    current = api.current_model()
    assert current.version == champion.version and current.lineage == champion.manifest.lineage
    assert champion.version in [model.version for model in api.models().models]


def test_a_ready_server_names_its_model(api: Client, champion: Classifier) -> None:
    assert api.ready().model == champion.version


def test_an_error_says_all_that_the_server_says_of_it(api: Client) -> None:
    with pytest.raises(ApiError) as refused:
        list(api.passages(kind="poem"))  # type: ignore[arg-type]
    error = refused.value
    assert (error.status, error.type, error.title) == (422, "invalid-request", HTTPStatus(422).phrase)
    assert error.detail and error.request_id and error.retry_after is None
    assert [fault.where for fault in error.errors] == [["query", "kind"]]
    assert str(error) == f"422 invalid-request: {error.detail}"
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.errors, copy.request_id) == (str(error), error.errors, error.request_id)
    with pytest.raises(ApiError, match="400 malformed-request"):
        api.classify("half \ud800")


def test_a_key_goes_with_every_request(connect: Callable[..., Client], tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'candour.db'}"
    store = Store(database)
    store.upgrade()
    _, token = store.create_key("desk", [Scope.READ])
    store.close()
    with served(Settings(database=database)) as url:
        assert connect(url, key=token).taxonomy().themes
        for key, status in ((None, 401), ("candour_none", 401), (token, 403)):
            with pytest.raises(ApiError) as refused:
                connect(url, key=key).score(text="Reviews slip.")
            assert refused.value.status == status


Answer = Callable[[BaseHTTPRequestHandler], None]


class Seen(NamedTuple):
    moment: float
    path: str
    key: str | None


class Proxy:
    """A proxy before a server: it answers by itself as often as it is told to, and forwards what comes then."""

    def __init__(self, upstream: str) -> None:
        self.url = ""
        self.upstream = upstream
        self.answers: list[Answer] = []
        self.seen: list[Seen] = []


def says(status: int, body: bytes = b"", **headers: str) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()
        request.wfile.write(body)

    return answer


def drops(request: BaseHTTPRequestHandler) -> None:
    """Close the connection without a word."""
    request.close_connection = True


def loses(request: Any) -> None:
    """Forward the request, and close the connection without the answer."""
    request.forwarded()
    drops(request)


@contextmanager
def proxying(upstream: str) -> Iterator[Proxy]:
    found = Proxy(upstream)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.body = self.rfile.read(int(self.headers.get("content-length", 0)))
            found.seen.append(Seen(time.monotonic(), self.path, self.headers["Idempotency-Key"]))
            answer = found.answers.pop(0) if found.answers else self.forwarded()
            answer(self)

        do_POST = do_GET  # noqa: N815

        def forwarded(self) -> Answer:
            headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            answer = httpx.request(self.command, found.upstream + self.path, headers=headers, content=self.body)
            return says(answer.status_code, answer.content, content_type=answer.headers["content-type"])

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def proxy(url: str) -> Iterator[Proxy]:
    with proxying(url) as found:
        yield found


@pytest.mark.parametrize(
    "answer",
    [
        says(429, Retry_After="0"),
        says(503, b"<html>Back soon</html>", Content_Type="text/html", Retry_After="0"),
        says(502),
        says(504),
        says(200, b"{", Content_Length="100"),
        drops,
    ],
    ids=["429", "503", "502", "504", "cut", "dropped"],
)
def test_what_may_pass_is_tried_again(
    connect: Callable[..., Client], proxy: Proxy, champion: Classifier, answer: Answer
) -> None:
    proxy.answers = [answer] * 3
    api = connect(proxy.url)
    assert api.ready().model == champion.version
    assert [seen.path for seen in proxy.seen] == ["/readyz"] * 4


def test_a_server_that_does_not_answer_in_time_is_asked_again(
    connect: Callable[..., Client], proxy: Proxy, champion: Classifier
) -> None:
    answered = threading.Event()
    proxy.answers = [lambda _: drops(_) if answered.wait(30) else None]
    api = connect(proxy.url, timeout=1)
    try:
        assert api.ready().model == champion.version
    finally:
        answered.set()
    assert len(proxy.seen) == 2


def test_a_document_whose_answer_was_lost_is_sent_again_by_the_same_key(
    connect: Callable[..., Client], proxy: Proxy
) -> None:
    api = connect(proxy.url)
    for council in ("Tarnholme", "Eastmere"):
        proxy.answers = [loses, says(503), loses]
        found = api.score(b"Reviews slip.", council=council)
        assert found.council == council and found.passages[0].text == "Reviews slip."
    keys = [seen.key for seen in proxy.seen]
    assert keys == [keys[0]] * 4 + [keys[4]] * 4 and keys[0] != keys[4]


def test_lines_lose_nothing_to_a_failing_proxy(connect: Callable[..., Client], proxy: Proxy) -> None:
    row = b'{"id": 0, "line": 1, "error": {"type": "invalid-input", "detail": ""}}\n'
    proxy.answers = [says(502), drops, says(200, row), says(200, row * 100, Content_Length="100000")]
    api = connect(proxy.url)
    found = list(api.classify_lines((n, f"Room {n} is closed.") for n in range(2 * client.LINES + 5)))
    assert [row.id for row in found] == list(range(2 * client.LINES + 5))
    assert all(isinstance(row, Row) for row in found) and len(proxy.seen) == 7


def test_at_least_the_time_that_was_asked_for_is_waited(connect: Callable[..., Client], proxy: Proxy) -> None:
    # A time has whole seconds, so that this one is more than one second away.
    later = format_datetime(datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=3), usegmt=True)
    proxy.answers = [says(503, Retry_After="1"), says(429, Retry_After=later)]
    connect(proxy.url).ready()
    first, second, third = (seen.moment for seen in proxy.seen)
    assert second - first >= 1 and third - first >= 1.9


def test_a_server_that_wants_to_be_left_alone_for_long_is(connect: Callable[..., Client], proxy: Proxy) -> None:
    proxy.answers = [says(429, Retry_After="3600")]
    with pytest.raises(ApiError) as refused:
        connect(proxy.url).ready()
    assert (refused.value.status, refused.value.retry_after, len(proxy.seen)) == (429, 3600, 1)


@pytest.mark.parametrize("status", [500, 400, 404])
def test_what_will_not_pass_is_not_tried_again(connect: Callable[..., Client], proxy: Proxy, status: int) -> None:
    proxy.answers = [says(status)]
    with pytest.raises(ApiError) as refused:
        connect(proxy.url).ready()
    assert (refused.value.status, refused.value.type, len(proxy.seen)) == (status, "about:blank", 1)


def test_the_last_error_is_the_one_that_is_raised(connect: Callable[..., Client], proxy: Proxy) -> None:
    proxy.answers = [drops, says(502), says(503, b"<h1>Busy</h1>", Content_Type="text/html", X_Request_ID="r1")]
    with pytest.raises(ApiError) as refused:
        connect(proxy.url, retries=2).ready()
    error = refused.value
    assert (error.status, error.type, error.title, error.request_id) == (
        503,
        "about:blank",
        "Service Unavailable",
        "r1",
    )
    assert "text/html: <h1>Busy</h1>" in error.detail


@pytest.mark.parametrize("body", [b"<html>Sign in</html>", b"[]", b"\xff", b""])
def test_a_page_in_place_of_an_answer_is_an_error(connect: Callable[..., Client], proxy: Proxy, body: bytes) -> None:
    api = connect(proxy.url)
    proxy.answers = [says(200, body, Content_Type="text/html")]
    with pytest.raises(ApiError, match="200 about:blank: not an answer of candour, but of text/html"):
        api.current_model()
    proxy.answers = [says(200, body, Content_Type="text/html")]
    if body:
        with pytest.raises(ApiError, match="200 about:blank: not an answer of candour, but of text/html"):
            list(api.classify_lines([("a", "Reviews slip.")]))


def test_a_server_that_is_not_there_is_a_connection_error(connect: Callable[..., Client], url: str) -> None:
    with proxying(url) as gone:
        api = connect(gone.url)
        assert api.ready()
    with pytest.raises(httpx.ConnectError):
        api.ready()
    with pytest.raises(httpx.UnsupportedProtocol):
        connect("ftp://127.0.0.1").ready()


def test_many_tasks_share_a_client(proxy: Proxy) -> None:
    proxy.answers = [says(503)] * 6

    async def ask() -> list[str]:
        async with AsyncClient(proxy.url, pause=0.01) as api:
            answers = await asyncio.gather(*(api.score(text=f"Review {n} slips.") for n in range(12)))
        return [answer.passages[0].text for answer in answers]

    assert asyncio.run(ask()) == [f"Review {n} slips." for n in range(12)]
    assert len(proxy.seen) == 18


def test_both_clients_have_the_same_operations() -> None:
    def operations(kind: type) -> dict[str, list[inspect.Parameter]]:
        found = {name: member for name, member in vars(kind).items() if not name.startswith("_") or name == "__init__"}
        return {name: list(inspect.signature(member).parameters.values()) for name, member in found.items()}

    both = operations(Client), operations(AsyncClient)
    both[1]["close"] = both[1].pop("aclose")
    assert both[0] == both[1]


def test_a_batch_is_handed_over_watched_and_fetched(api: Client, tmp_path: Path) -> None:
    texts = [f"Visit {n} was late, and nobody of {tmp_path.name} said so." for n in range(5)]
    (tmp_path / "releases.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in [*texts, ""]))
    with zipfile.ZipFile(tmp_path / "releases.zip", "w") as archive:
        for n, text in enumerate([*texts, ""]):
            archive.writestr(f"{n}.txt", text)
    inline = [
        client.Listed(text=text, path=f"{n}.txt", published=date(2026, 5, 4)) for n, text in enumerate([*texts, ""])
    ]
    sent = [api.submit(documents) for documents in (tmp_path / "releases.jsonl", tmp_path / "releases.zip", inline)]
    assert [one.id for one in islice(api.batches(page_size=2), 3)] == [one.id for one in reversed(sent)]
    for one in sent:
        while (found := api.batch(one.id)).state is not State.DONE:
            time.sleep(0.01)
        assert (found.documents, found.done, found.failed) == (6, 5, 1)
        *scored, failure = api.results(one.id)
        assert [document.passages[0].text for document in scored if isinstance(document, ScoredDocument)] == texts
        assert isinstance(failure, Failure) and failure.error.type == "empty-document"
    assert api.cancel(sent[0].id).state is State.DONE
    with pytest.raises(ApiError, match="404 not-found"):
        list(api.results("0"))


def test_a_batch_whose_answer_was_lost_is_one_batch(connect: Callable[..., Client], proxy: Proxy) -> None:
    api = connect(proxy.url)
    before = len(list(api.batches()))
    proxy.answers = [says(503), loses]
    api.submit([{"text": "Reviews slip once."}])
    assert len(list(api.batches())) == before + 1


def test_filters_and_metadata_are_those_of_the_api() -> None:
    for ours, theirs in (
        (client.DocumentFilters, DocumentFilter),
        (client.PassageFilters, PassageFilter),
        (client.Given, GivenMetadata),
        (client.Inline, InlineDocument),
        (client.Listed, BatchDocument),
    ):
        assert get_type_hints(ours) == {name: info.annotation for name, info in theirs.model_fields.items()}
    assert get_type_hints(client.Labelling).keys() == CorrectionRequest.model_fields.keys()


def test_the_client_loads_neither_the_model_nor_the_server() -> None:
    heavy = "onnxruntime", "sqlalchemy", "fastapi", "starlette", "numpy"
    code = f"import service.client, sys; print(*sys.modules.keys() & set({heavy}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
