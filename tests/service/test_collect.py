"""Collecting, from a real server on this machine that misbehaves in the ways that servers do."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from models.classifier import Classifier
from service import batch
from service.batch import Tally as Scored
from service.collecting import run, sources, urls
from service.collecting.archive import MOST_ATTEMPTS, Outcome
from service.collecting.fetching import is_public
from service.collecting.run import MOST_FAILURES, Tally
from service.collecting.sources import Source
from service.errors import CollectError
from service.parsing import Limits, Parsers
from service.report import ScoredDocument
from service.settings import Settings
from tests.service.newsroom import HTML, XML, Answer, Newsroom, Request, bomb, newsroom, rss

ROOT = Path(__file__).parents[2]
QUICK = {"threads": 1, "collect_seconds": 20.0}
PARAGRAPHS = (
    "The council has today published its plan for children's services after inspectors found that visits to children "
    "in need were late, and that managers had not known of it for most of the spring.",
    "“We are sorry. Families waited for help that should have come sooner, and we will put that right,” said the lead "
    "member for children, who thanked social workers for the care they had shown in a hard year.",
    "A board with a chair from outside the council will meet each month in public, hear from young people and foster "
    "carers, and say whether what was promised has been done.",
)


@pytest.fixture
def room() -> Iterator[Newsroom]:
    with newsroom() as opened:
        yield opened


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "collected"


def source(room: Newsroom, path: str = "/feed", **fields: Any) -> Source:
    given = {"name": "Tarnholme news", "council": "Tarnholme", "allow": [room.host], "rate": 100, **fields}
    return Source.model_validate({"url": room.url + path, **given})


def collect(folder: Path, *given: Source, **settings: Any) -> list[Tally]:
    return run.collect(given, folder, Settings(**{**QUICK, **settings}), pause=0.001)


def once(folder: Path, given: Source, **settings: Any) -> Tally:
    (tally,) = collect(folder, given, **settings)
    return tally


def new(tally: Tally) -> int:
    return tally.outcomes[Outcome.NEW]


def kept(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*/*") if not path.name.endswith(".meta.json"))


def metadata(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.with_name(path.name + ".meta.json").read_text(encoding="utf-8"))
    return found


def story(number: int) -> tuple[str, ...]:
    """Paragraphs of their own: no two stories have the same numbers."""
    return (f"Case {number}: {number + 3} families told the council how they were treated.", *PARAGRAPHS)


def stories(room: Newsroom, count: int, start: int = 0) -> list[str]:
    return [room.article(f"/news/{n}", f"Story {n}", *story(n)) for n in range(start, start + count)]


def test_a_page_is_kept_as_it_came_with_its_metadata_and_can_be_scored(
    room: Newsroom, folder: Path, champion: Classifier
) -> None:
    room.article("/news/plan?id=7", "Our plan", *PARAGRAPHS)
    room.rss("/feed", f"{room.url}/news/plan?utm_source=mailing&id=7#top")
    tally = once(folder, source(room, council="St. Oswin's", kind="statement"))
    assert new(tally) == 1 and not tally.failed
    (file,) = kept(folder)
    assert file.parent.name == "st-oswin-s" and re.fullmatch(r"[0-9a-f]{16}\.html", file.name)
    page = room.pages["/news/plan?id=7"]
    assert isinstance(page, Answer) and file.read_bytes() == page.body
    assert metadata(file).pop("fetched").startswith("20")
    # Half past midnight of 2 July in Tarnholme; the feed says 23:30 of the day before in UTC.
    expected = {"title": "Item", "council": "St. Oswin's", "published": "2025-07-02", "kind": "statement"}
    assert metadata(file).items() >= (expected | {"url": f"{room.url}/news/plan?id=7"}).items()
    with Parsers(1, Limits(seconds=60, memory=1_000_000_000, pages=10)) as parsers:
        (scored,) = batch.score(batch.find([folder]), champion, parsers, Scored(), 1_000_000)
    assert isinstance(scored, ScoredDocument)
    assert (scored.title, scored.council, scored.published) == ("Item", "St. Oswin's", date(2025, 7, 2))
    assert len(scored.passages) == 3


def test_a_second_run_fetches_nothing_that_it_has(room: Newsroom, folder: Path) -> None:
    room.rss("/feed", *stories(room, 3))
    assert new(once(folder, source(room))) == 3
    room.asked.clear()
    tally = once(folder, source(room))
    assert room.paths() == ["/feed"] and tally.outcomes == {Outcome.UNCHANGED: 3} and not tally.failed
    room.rss("/feed", *stories(room, 5))
    tally = once(folder, source(room))
    assert (new(tally), tally.outcomes[Outcome.UNCHANGED]) == (2, 3) and len(kept(folder)) == 5


def test_a_feed_robots_and_page_are_asked_for_with_what_is_known_of_them(room: Newsroom, folder: Path) -> None:
    def versioned(body: bytes, headers: dict[str, str]) -> Any:
        def answer(request: Request) -> Answer:
            known = request.headers.get("if-none-match") == '"1"' and request.headers.get("if-modified-since") == then
            return (
                Answer(status=304) if known else Answer(body, headers={"ETag": '"1"', "Last-Modified": then, **headers})
            )

        return answer

    then = "Tue, 01 Jul 2025 10:00:00 GMT"
    stories(room, 1)
    room.pages["/robots.txt"] = versioned(b"User-agent: *\nDisallow: /private", {"Content-Type": "text/plain"})
    page = room.pages["/news/0"]
    assert isinstance(page, Answer)
    room.pages["/news/0"] = versioned(page.body, HTML)
    room.sitemap("/map", **{"news/0": "2025-07-01", "private/1": "2025-07-01"})
    first = once(folder, source(room, "/map"))
    assert new(first) == 1 and first.skipped == {"robots": 1}
    room.sitemap("/map", **{"news/0": "2100-07-02", "private/1": "2100-07-02"})
    room.asked.clear()
    second = once(folder, source(room, "/map"))
    assert [request.path for request in room.asked] == ["/robots.txt", "/map", "/news/0"]
    assert second.outcomes == {Outcome.UNCHANGED: 1} and second.skipped == {"robots": 1} and len(kept(folder)) == 1
    sitemap = room.pages["/map"]
    assert isinstance(sitemap, Answer)
    room.pages["/map"] = versioned(sitemap.body, XML)
    for _ in range(2):
        room.asked.clear()
        assert once(folder, source(room, "/map")).skipped == {"robots": 1}
    assert room.asked[-1].headers["if-none-match"] == '"1"'


def test_an_etag_that_changes_with_the_same_content_costs_no_page(room: Newsroom, folder: Path) -> None:
    links = stories(room, 2)
    for etag in ('"a"', '"b"'):
        room.asked.clear()
        room.rss("/feed", *links, ETag=etag)
        tally = once(folder, source(room))
    assert room.paths() == ["/feed"] and tally.outcomes == {Outcome.UNCHANGED: 2}


def test_a_page_that_changed_is_kept_beside_what_it_was_and_the_same_text_is_not(room: Newsroom, folder: Path) -> None:
    for when, paragraphs in (
        ("2025-07-01", story(1)),
        ("2100-01-01", story(1)),  # the sitemap alone says that it changed
        ("2100-01-02", (*story(1), "It was 41 families, the council said later.")),
    ):
        room.article("/news/1", "Our plan", *paragraphs, canonical="/news/1")
        room.sitemap("/map", **{"news/1": when})
        tally = once(folder, source(room, "/map"))
    assert new(tally) == 1
    assert [metadata(path)["url"] for path in kept(folder)] == [f"{room.url}/news/1"] * 2
    assert room.paths().count("/news/1") == 3


def test_atom_and_indexes_of_gzipped_sitemaps_are_told_by_their_content(room: Newsroom, folder: Path) -> None:
    stories(room, 3)
    entries = "".join(
        f'<entry><title type="html">Plan &lt;b&gt;{n}&lt;/b&gt; &amp;amp; more</title>'
        f'<link href="news/{n}"/><published>2025-01-0{n + 1}T10:00:00Z</published></entry>'
        for n in range(2)
    )
    room.pages["/feed"] = Answer(f'<feed xmlns="http://www.w3.org/2005/Atom">{entries}</feed>'.encode(), headers=HTML)
    assert new(once(folder, source(room))) == 2
    assert {metadata(path)["title"] for path in kept(folder)} == {"Plan 0 & more", "Plan 1 & more"}
    room.sitemap("/news.xml", **{"news/2": "2025-01-03"})
    sitemap = room.pages["/news.xml"]
    assert isinstance(sitemap, Answer)
    room.pages["/news.xml.gz"] = Answer(gzip.compress(sitemap.body), headers={"Content-Type": "application/gzip"})
    parts = "".join(
        f"<sitemap><loc>{room.url}{path}</loc></sitemap>" for path in ("/news.xml.gz", "/gone.xml", "/index")
    )
    room.pages["/index"] = Answer(f"<sitemapindex>{parts}</sitemapindex>".encode())
    tally = once(folder, source(room, "/index", name="sitemap"))
    assert new(tally) == 1 and tally.failed == {"http-404": 1} and "/gone.xml" in tally.reasons["http-404"]


def test_what_is_excluded_or_too_old_is_not_fetched(room: Newsroom, folder: Path) -> None:
    stories(room, 4)
    room.sitemap(
        "/map", **{"news/0": "2020-01-01", "news/1": "2025-01-01", "news/2": "2025-01-01", "bins": "2025-01-01"}
    )
    given = source(room, "/map", include=["/news/"], exclude=["2$"], since=date(2024, 1, 1))
    tally = once(folder, given)
    assert new(tally) == 1 and tally.skipped == {"excluded": 2, "too-old": 1} and not tally.failed
    assert room.paths() == ["/map", "/news/1"]


def test_a_page_whose_own_date_is_too_old_is_not_kept(room: Newsroom, folder: Path) -> None:
    body = b'<meta name="date" content="2019-03-04"></head>'
    room.article("/news/1", "Our plan", *PARAGRAPHS)
    page = room.pages["/news/1"]
    assert isinstance(page, Answer)
    page.body = page.body.replace(b"</head>", body)
    room.sitemap("/map", **{"news/1": "2025-01-01"})
    for fetches in (1, 1):
        tally = once(folder, source(room, "/map", since=date(2024, 1, 1)))
        assert room.paths().count("/news/1") == fetches and not kept(folder)
    assert not tally.failed


def test_the_same_text_under_two_addresses_is_kept_once(room: Newsroom, folder: Path) -> None:
    links = [room.article(f"/{place}/1", "Our plan", *PARAGRAPHS) for place in ("news", "children")]
    room.rss("/feed", *links)
    room.rss("/other", room.article("/syndicated", "Our plan", *PARAGRAPHS))
    first, second = collect(folder, source(room), source(room, "/other", name="other", council="Pennick Vale"))
    assert first.outcomes + second.outcomes == {Outcome.NEW: 1, Outcome.DUPLICATE: 2}
    room.article("/mended", "Our plan", *PARAGRAPHS[:-1], PARAGRAPHS[-1].replace("each month", "every month"))
    room.rss("/other", f"{room.url}/mended")
    later = once(folder, source(room, "/other", name="other"))
    assert later.outcomes[Outcome.DUPLICATE] == 1 and len(kept(folder)) == 1


def test_statements_that_differ_in_their_figures_are_no_duplicates(room: Newsroom, folder: Path) -> None:
    links = [
        room.article(f"/{month}", "Figures", *PARAGRAPHS, f"Of 212 visits {late} were late.")
        for month, late in (("june", 40), ("july", 14))
    ]
    room.rss("/feed", *links)
    assert new(once(folder, source(room))) == 2


def test_a_canonical_address_of_the_same_site_is_the_pages_own(room: Newsroom, folder: Path) -> None:
    own = f"{room.url}/news/plan"
    room.article("/print/7", "Plan", *story(1), canonical="/news/plan")
    room.article("/news/plan", "Plan", *story(1), canonical=own)
    room.article("/elsewhere", "Other", *story(2), canonical="https://oxmarsh.example/news")
    room.article("/front", "Third", *story(3), canonical="/")
    room.article("/wrong", "Fourth", *story(4), canonical="/news/plan")
    room.rss("/feed", *(f"{room.url}/{name}" for name in ("print/7", "news/plan", "elsewhere", "front", "wrong")))
    tally = once(folder, source(room))
    assert tally.outcomes == {Outcome.NEW: 4, Outcome.UNCHANGED: 1}
    found = {metadata(path)["url"].removeprefix(room.url) for path in kept(folder)}
    assert found == {"/news/plan", "/elsewhere", "/front", "/wrong"}


def test_redirects_are_followed_to_where_a_page_is_and_no_further_than_five(room: Newsroom, folder: Path) -> None:
    room.article("/news/plan", "Plan", *PARAGRAPHS)
    room.pages["/old"] = Answer(status=301, headers={"Location": "moved"})
    room.pages["/moved"] = Answer(status=302, headers={"Location": f"{room.url}/news/plan#start"})
    room.pages["/loop"] = Answer(status=307, headers={"Location": "/loop"})
    room.pages["/file"] = Answer(status=302, headers={"Location": "file:///etc/passwd"})
    room.pages["/nowhere"] = Answer(status=302, headers={"Location": "http://[::1"})
    room.rss("/feed", *(f"{room.url}/{name}" for name in ("old", "loop", "file", "nowhere")))
    tally = once(folder, source(room))
    assert new(tally) == 1 and tally.failed == {"redirects": 1, "bad-url": 2}
    assert [metadata(path)["url"] for path in kept(folder)] == [f"{room.url}/news/plan"]
    assert room.paths().count("/loop") == 6


def test_private_addresses_are_reached_by_name_alone(room: Newsroom, folder: Path) -> None:
    stories(room, 1)
    by_name = room.host.replace("127.0.0.1", "localhost")
    room.pages["/inside"] = Answer(status=302, headers={"Location": f"http://{by_name}/news/0"})
    number = room.host.replace("127.0.0.1", "2130706433")  # the same address
    room.rss(
        "/feed", f"{room.url}/inside", f"http://{number}/news/0", f"http://[::ffff:127.0.0.1]:{room.host[10:]}/news/0"
    )
    refused = once(folder, source(room))
    assert refused.failed == {"private-address": 3} and not kept(folder)
    assert "/news/0" not in room.paths()
    (tally,) = collect(folder, source(room, allow=["127.0.0.1", by_name]))
    assert new(tally) == 1 and tally.failed == {"private-address": 2}
    room.asked.clear()
    assert once(folder, source(room, allow=[], name="none")).failed == {"private-address": 1} and not room.asked


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_a_certificate_is_checked_for_the_name_and_not_the_address(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pem = tmp_path / "localhost.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-keyout", tmp_path / "key", "-out", tmp_path / "certificate"],
        check=True, capture_output=True,
    )  # fmt: skip
    pem.write_bytes((tmp_path / "key").read_bytes() + (tmp_path / "certificate").read_bytes())
    with newsroom(pem) as room:
        by_name = room.url.replace("127.0.0.1", "localhost")
        stories(room, 1)
        room.rss("/feed", f"{by_name}/news/0")
        named = source(room, name="named", url=f"{by_name}/feed", allow=["localhost"])
        assert once(folder, named).failed == {"connection": 1}  # signed by nobody that is known
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate"))
        by_number, by_its_name = collect(folder, source(room), named)
        assert by_number.failed == {"connection": 1} and "certificate" in by_number.reasons["connection"]
        assert new(by_its_name) == 1


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.0.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1", "240.0.0.1",
        "::1", "::", "fe80::1", "fec0::1", "fd00::1", "ff02::1", "::127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::1",
        "64:ff9b::a00:1", "64:ff9b:1::1", "2001::1",
    ],
)  # fmt: skip
def test_no_address_that_leads_inside_is_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(address)


def test_robots_txt_is_kept_to(room: Newsroom, folder: Path) -> None:
    room.pages["/robots.txt"] = Answer(b"User-agent: candour\nDisallow: /news/1\nCrawl-delay: 0.3\n")
    room.pages["/jump"] = Answer(status=302, headers={"Location": "/news/1"})
    room.rss("/feed", *stories(room, 2), f"{room.url}/jump")
    tally = once(folder, source(room), collect_agent="candour (desk@tarnholme.example)")
    assert new(tally) == 1 and tally.skipped == {"robots": 2} and not tally.failed
    assert "/news/1" not in room.paths()
    assert {request.headers["user-agent"] for request in room.asked} == {"candour (desk@tarnholme.example)"}
    times = [request.time for request in room.asked][1:]
    assert all(later - earlier > 0.25 for earlier, later in pairwise(times))
    assert room.most_at_once == 1


def test_a_robots_txt_that_is_out_of_order_forbids_and_none_allows(room: Newsroom, folder: Path) -> None:
    room.rss("/feed", *stories(room, 1))
    room.pages["/robots.txt"] = Answer(status=503)
    assert once(folder, source(room)).failed == {"http-503": 1} and not room.paths()
    room.pages["/robots.txt"] = Answer(status=403)
    assert new(once(folder, source(room))) == 1


def test_a_crawl_delay_beyond_patience_is_a_no(room: Newsroom, folder: Path) -> None:
    room.rss("/feed", *stories(room, 1))
    room.pages["/robots.txt"] = Answer(b"User-agent: *\nCrawl-delay: 86400\n")
    assert once(folder, source(room)).failed == {"robots": 1} and not room.paths()


def test_the_rate_of_a_host_holds_for_all_its_sources_together(room: Newsroom, folder: Path) -> None:
    links = stories(room, 4)
    room.rss("/feed", *links[:2])
    room.rss("/other", *links[2:])
    collect(folder, source(room, rate=5), source(room, "/other", name="other", rate=5))
    times = [request.time for request in room.asked]
    assert len(times) == 7 and times[-1] - times[0] > 6 * 0.2 - 0.1 and room.most_at_once == 1


def test_what_fails_for_a_moment_is_tried_again(room: Newsroom, folder: Path) -> None:
    answers = [500, 502, 429]

    def unsteady(request: Request) -> Answer:  # noqa: ARG001
        if answers:
            return Answer(status=answers.pop(0), headers={"Retry-After": "1"} if len(answers) == 0 else {})
        return page

    (link,) = stories(room, 1)
    page = room.pages["/news/0"]
    assert isinstance(page, Answer)
    room.pages["/news/0"] = unsteady
    room.rss("/feed", link)
    assert new(once(folder, source(room))) == 1
    times = [request.time for request in room.asked if request.path == "/news/0"]
    assert len(times) == 4 and times[3] - times[2] > 0.9  # as the server asked


def test_a_host_that_asks_for_an_hour_is_left_alone(room: Newsroom, folder: Path) -> None:
    room.rss("/feed", *stories(room, 3))
    answered = room.pages["/news/2"]
    for n in range(3):
        room.pages[f"/news/{n}"] = Answer(status=429, headers={"Retry-After": "3600"})
    tally = once(folder, source(room))
    assert tally.failed == {"busy": 3} and len(room.paths()) == 2
    room.pages["/news/2"] = answered
    for n in range(2):
        room.pages[f"/news/{n}"] = Answer(status=404)
    tally = once(folder, source(room))
    assert new(tally) == 1 and tally.failed == {"http-404": 2}
    assert not once(folder, source(room)).failed  # what is gone is not asked for again


def test_a_source_whose_pages_all_fail_is_left_until_later_and_its_pages_are_not_forgotten(
    room: Newsroom, folder: Path
) -> None:
    links = stories(room, MOST_FAILURES + 2)
    good = {f"/news/{n}": room.pages[f"/news/{n}"] for n in range(len(links))}
    for path in good:
        room.pages[path] = Answer(status=403)
    room.rss("/feed", *links)
    tally = once(folder, source(room))
    assert tally.failed == {"http-403": MOST_FAILURES, "gave-up": 1} and len(room.paths()) == 1 + MOST_FAILURES
    room.pages.update(good)
    assert new(once(folder, source(room))) == len(links)


def test_a_page_that_fails_run_after_run_is_given_up(room: Newsroom, folder: Path) -> None:
    room.pages["/news/0"] = Answer(status=403)
    room.rss("/feed", f"{room.url}/news/0")
    for _ in range(MOST_ATTEMPTS):
        assert once(folder, source(room)).failed == {"http-403": 1}
    assert not once(folder, source(room)).failed


def test_answers_that_do_not_end_are_cut_off_by_size_and_by_time(room: Newsroom, folder: Path) -> None:
    room.pages["/endless"] = lambda _: Answer(headers=HTML, parts=room.forever(b"<p>more and more</p>" * 1_000))
    room.pages["/drip"] = lambda _: Answer(headers=HTML, parts=room.forever(b"x", pause=0.05))
    room.pages["/bomb"] = bomb(50_000_000)
    room.pages["/deep"] = Answer(
        gzip.compress(gzip.compress(b" " * 50_000_000)), headers={"Content-Encoding": "gzip, gzip"}
    )
    room.pages["/torn"] = Answer(gzip.compress(b"<p>words</p>" * 100)[:-20], headers={"Content-Encoding": "gzip"})
    room.pages["/noise"] = Answer(b"no gzip", headers={"Content-Encoding": "gzip"})
    names = ("endless", "drip", "bomb", "deep", "torn", "noise")
    room.rss("/feed", *(f"{room.url}/{name}" for name in names), *stories(room, 1))
    tracemalloc.start()
    tally = once(folder, source(room), max_bytes=1_000_000, collect_seconds=2.0)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 20_000_000  # of the 50 MB that the bombs hold, no more than is read at a time
    assert tally.failed == {"too-large": 2, "timed-out": 1, "encoding": 2, "connection": 1} and new(tally) == 1
    assert "CANDOUR_MAX_BYTES" in tally.reasons["too-large"]


def test_a_source_that_takes_too_long_is_left_for_the_next_run(room: Newsroom, folder: Path) -> None:
    room.pages["/drip"] = lambda _: Answer(headers=HTML, parts=room.forever(b"x", pause=0.05))
    room.rss("/feed", f"{room.url}/drip", *stories(room, 1))
    tally = once(folder, source(room), collect_source_seconds=1.5)
    assert "out-of-time" in tally.failed and "CANDOUR_COLLECT_SOURCE_SECONDS" in tally.reasons["out-of-time"]
    room.pages["/drip"] = Answer(b"<html><body><p>The plan drifted for a year.</p></body></html>", headers=HTML)
    again = once(folder, source(room))
    assert not again.failed and new(tally) + new(again) == 2


def test_what_is_no_document_is_not_kept(room: Newsroom, folder: Path) -> None:
    room.pages["/picture"] = Answer(b"\x89PNG\r\n\x1a\n" + bytes(100), headers=HTML)
    room.pages["/empty"] = Answer(headers=HTML)
    room.pages["/menu"] = Answer(b"<html><body><nav><a href=/>Home</a></nav></body></html>", headers=HTML)
    room.pages["/soft"] = Answer(b"<html><body><h1>Page not found</h1><p>Sorry.</p></body></html>", headers=HTML)
    text = Answer("\n\n".join(PARAGRAPHS).encode(), headers={"Content-Type": "application/octet-stream"})
    room.pages["/text"] = text
    room.rss("/feed", *(f"{room.url}/{name}" for name in ("picture", "empty", "menu", "soft", "text")))
    tally = once(folder, source(room))
    assert tally.failed == {"unsupported-document": 1, "empty-document": 1, "no-text": 1, "error-page": 1}
    assert [path.suffix for path in kept(folder)] == [".txt"]


ENTITIES = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
FEEDS = {
    "page": (b"<html><body><p>News</p></body></html>", "unsupported-document"),
    "noise": (bytes(range(256)) * 10, "damaged-document"),
    "torn sitemap": (b"<urlset><url><loc>http://tarnholme.example/1</loc>", "damaged-document"),
    "torn gzip": (b"\x1f\x8b\x08" + bytes(20), "damaged-document"),
    "gzipped bomb": (gzip.compress(b"<urlset>" + b" " * 60_000_000), "too-large"),
    "nothing": (b"", "unsupported-document"),
}


@pytest.mark.parametrize("name", FEEDS)
def test_a_bad_feed_fails_and_the_others_go_on(name: str, room: Newsroom, folder: Path) -> None:
    body, reason = FEEDS[name]
    room.pages["/bad"] = Answer(body, headers=XML)
    room.rss("/feed", *stories(room, 1))
    bad, good = collect(folder, source(room, "/bad", name="bad"), source(room))
    assert bad.failed == {reason: 1} and "/bad" in bad.reasons[reason] and new(good) == 1 and not good.failed


def test_hosts_that_are_not_there_fail_and_the_others_go_on(room: Newsroom, folder: Path) -> None:
    room.rss("/feed", *stories(room, 1))
    dead = source(room, name="dead", url="http://127.0.0.1:9/feed", allow=["127.0.0.1:9"])
    unknown = source(room, name="unknown", url="http://newsroom.tarnholme.invalid/feed")
    first, second, good = collect(folder, dead, unknown, source(room))
    assert first.failed == {"connection": 1} and second.failed == {"no-address": 1} and new(good) == 1


@pytest.mark.parametrize("kind", ["rss", "sitemap"])
def test_entities_that_multiply_harm_nobody(kind: str, room: Newsroom, folder: Path) -> None:
    links = stories(room, 2)
    doctype = f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a0 "lol"><!ENTITY f SYSTEM "file:///etc/passwd">{ENTITIES}]>'
    items = {
        "rss": "<rss version='2.0'><channel>{}<item><title>&a11;&f;</title></item></channel></rss>",
        "sitemap": "<urlset>{}<url><loc>&a11;&f;</loc></url></urlset>",
    }
    item = {"rss": "<item><link>{}</link></item>", "sitemap": "<url><loc>{}</loc></url>"}
    listed = "".join(item[kind].format(link) for link in links)
    room.pages["/feed"] = Answer((doctype + items[kind].format(listed)).encode(), headers=XML)
    tally = once(folder, source(room), max_parse_memory=600_000_000)
    # feedparser gives what stands outside; a sitemap is refused.
    assert new(tally) == 2 if kind == "rss" else tally.failed == {"damaged-document": 1}


def test_broken_xml_gives_what_can_be_read_of_it(room: Newsroom, folder: Path) -> None:
    links = stories(room, 3)
    room.pages["/feed"] = Answer(rss(*links).replace(b"</channel>", b"<item><title>Bins & more"), headers=XML)
    assert new(once(folder, source(room))) == 3


def test_of_a_feed_of_ten_thousand_a_run_takes_its_most_and_the_next_goes_on(room: Newsroom, folder: Path) -> None:
    stories(room, 40)
    then = {f"news/{n}": f"{2000 + n // 400}-{n // 28 % 12 + 1:02}-{n % 28 + 1:02}" for n in range(9_999, -1, -1)}
    room.sitemap("/map", **(then | {f"news/{n}": f"2025-06-{n % 28 + 1:02}" for n in range(40)}))
    first = once(folder, source(room, "/map", most=30))
    assert new(first) == 30 and first.skipped == {"left-for-later": 9_970} and not first.failed
    assert room.paths()[:3] == ["/map", "/news/27", "/news/26"]  # the latest first
    room.pages["/map"] = Answer(status=500)
    assert once(folder, source(room, "/map", most=30)).failed == {"http-500": 1}
    room.sitemap("/map")
    assert new(once(folder, source(room, "/map", most=10))) == 10
    assert len(kept(folder)) == 40


RUN = """
import sys
from pathlib import Path
from service.collecting import run, sources
from service.settings import Settings
run.collect(sources.load(Path(sys.argv[1])), Path(sys.argv[2]), Settings(threads=1), pause=0.001)
"""


def started(file: Path, folder: Path) -> subprocess.Popen[bytes]:
    # A shell's background job, as tests may be, ignores SIGINT, and so would what it starts.
    return subprocess.Popen(
        [sys.executable, "-c", RUN, file, folder], cwd=ROOT, stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip


def toml(room: Newsroom, path: Path, **fields: object) -> Path:
    given = {
        "name": "Tarnholme news",
        "council": "Tarnholme",
        "url": f"{room.url}/feed",
        "allow": [room.host],
        **fields,
    }
    lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in given.items())
    path.write_text(f"[[source]]\n{lines}", encoding="utf-8")
    return path


def test_a_run_that_is_killed_loses_nothing_and_keeps_nothing_twice(
    room: Newsroom, folder: Path, tmp_path: Path
) -> None:
    room.rss("/feed", *stories(room, 60))
    for path, page in list(room.pages.items()):
        if path != "/feed":
            assert isinstance(page, Answer)
            # No two answers have the same bytes.
            room.pages[path] = lambda _, body=page.body: Answer(
                body + f"<!-- {time.time_ns()} -->".encode(), headers=HTML
            )
    file = toml(room, tmp_path / "sources.toml", rate=100)
    for count in (1, 17, 40):
        process = started(file, folder)
        while len(kept(folder)) < count:
            assert process.poll() is None
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    (given,) = sources.load(file)
    tally = once(folder, given)
    assert not tally.failed and not list(folder.glob("*/*.partial"))
    found = [metadata(path)["url"] for path in kept(folder)]
    assert sorted(found) == sorted(f"{room.url}/news/{n}" for n in range(60))


def test_files_that_were_about_to_get_their_names_get_them_and_others_go(room: Newsroom, folder: Path) -> None:
    room.rss("/feed", *stories(room, 1))
    once(folder, source(room))
    (file,) = kept(folder)
    names = [file, file.with_name(file.name + ".meta.json")]
    contents = [path.read_bytes() for path in names]
    for path in names:  # as a kill leaves them between the database and the names
        path.rename(path.with_name(path.name + ".partial"))
    (file.parent / "0123456789abcdef.html.partial").write_bytes(b"half")
    (file.parent / "mine.partial").write_bytes(b"somebody else's")
    once(folder, source(room))
    assert [path.read_bytes() for path in names] == contents
    assert [path.name for path in file.parent.glob("*.partial")] == ["mine.partial"]


def test_ctrl_c_ends_a_run_and_the_next_goes_on(room: Newsroom, folder: Path, tmp_path: Path) -> None:
    room.rss("/feed", *stories(room, 30))
    file = toml(room, tmp_path / "sources.toml", rate=100)
    process = started(file, folder)
    while len(kept(folder)) < 3:
        assert process.poll() is None
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode != 0 and b"KeyboardInterrupt" in said
    assert all(metadata(path) for path in kept(folder)) and not list(folder.glob("*/*.partial"))
    (given,) = sources.load(file)
    once(folder, given)
    assert len(kept(folder)) == 30


def test_two_runs_do_not_share_a_folder(room: Newsroom, folder: Path, tmp_path: Path) -> None:
    room.pages["/feed"] = lambda _: Answer(headers=XML, parts=room.forever(b" ", pause=0.05))
    process = started(toml(room, tmp_path / "sources.toml"), folder)
    while not room.paths():
        assert process.poll() is None
        time.sleep(0.001)
    with pytest.raises(CollectError, match="another candour collect"):
        once(folder, source(room))
    process.kill()
    process.communicate()


def test_a_database_of_something_else_is_left_alone(room: Newsroom, folder: Path) -> None:
    folder.mkdir()
    (folder / ".collect.db").write_bytes(b"a file of somebody else, " * 100)
    with pytest.raises(CollectError, match="not a database"):
        once(folder, source(room))


def test_a_source_with_other_rules_reads_its_feed_anew(room: Newsroom, folder: Path) -> None:
    def feed(request: Request) -> Answer:
        return Answer(status=304) if "if-none-match" in request.headers else Answer(body, headers=XML | {"ETag": '"1"'})

    body = rss(*stories(room, 3))
    room.pages["/feed"] = feed
    assert new(once(folder, source(room, include=["/1$"]))) == 1
    assert once(folder, source(room, include=["/1$"])).outcomes == {Outcome.UNCHANGED: 1}
    assert new(once(folder, source(room))) == 2


def test_the_example_is_a_file_of_sources_and_a_wrong_one_is_told_where(tmp_path: Path) -> None:
    found = sources.load(ROOT / "sources.example.toml")
    assert len(found) >= 2 and all(".example/" in given.url for given in found)
    wrong = tmp_path / "sources.toml"
    for text, message in (
        ("[[source]", "not TOML"),
        ("", "source: Field required"),
        ('[[source]]\nname = "A"\ncouncil = "B"\nurl = "ftp://b.example"', r"source 1 \(A\), url: .*not an http"),
        ('[[source]]\nname = "A"\ncouncil = "B"\nurl = "http://b.example"\nrate = 0', r"source 1 \(A\), rate: "),
        ('[[source]]\nname = "A"\ncouncil = "?"\nurl = "http://b.example"', r"council: .*no letter"),
        ('[[source]]\nname = "A"\ncouncil = "B"\nurl = "http://b.example"\ninclude = ["("]', "include, 0: "),
        ('[[source]]\nname = "A"\ncouncil = "B"\nurl = "http://b.example"\nfeed = 1', r"source 1 \(A\), feed: "),
        ('[[source]]\nname = "A"\ncouncil = "B"\nurl = "http://b.example"\n' * 2, "more than one source"),
    ):
        wrong.write_text(text)
        with pytest.raises(CollectError, match=message):
            sources.load(wrong)


@pytest.mark.parametrize(
    ("url", "cleaned"),
    [
        ("HTTP://News.Tarnholme.example:80/A?utm_source=x&id=7&fbclid=y#top", "http://news.tarnholme.example/A?id=7"),
        ("https://tarnholme.example?gclid=1", "https://tarnholme.example"),
        ("https://tarnholme.example/a?ref=1&source=2", "https://tarnholme.example/a?ref=1&source=2"),
        ("mailto:press@tarnholme.example", None),
        ("http://[::1", None),
        ("http:///news", None),
        ("http://tarnholme.example/\ud800", None),
    ],
)
def test_a_page_has_one_address(url: str, cleaned: str | None) -> None:
    assert urls.clean(url) == cleaned


def test_the_command_prints_a_row_a_source_and_says_what_failed(room: Newsroom, folder: Path, tmp_path: Path) -> None:
    room.rss("/feed", *stories(room, 2), f"{room.url}/gone")
    file = toml(room, tmp_path / "sources.toml", rate=100)
    command = [Path(sys.executable).with_name("candour"), "collect"]
    environment = os.environ | {"CANDOUR_THREADS": "1"}

    def candour(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, *arguments], capture_output=True, text=True, env=environment, timeout=250)

    done = candour(file, "-o", folder)
    assert done.returncode == 3, done.stderr
    assert re.search(r"Tarnholme news +2 +0 +0 +0 +1\n", done.stdout)
    assert f"Tarnholme news: failed, http-404: 1 ({room.url}/gone: HTTP 404)" in done.stdout
    again = candour(file, "-o", folder)
    assert again.returncode == 0 and re.search(r"Tarnholme news +0 +3 +0 +0 +0\n", again.stdout)
    assert candour(tmp_path / "none.toml").returncode == 2
    file.write_text("[[source]]")
    wrong = candour(file, "-o", folder)
    assert wrong.returncode == 1 and "source 1, name: Field required" in wrong.stderr
