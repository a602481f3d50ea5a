"""A run: every source's feed, then the pages that are due, all sources side by side."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any, cast

from service.collecting import urls
from service.collecting.archive import Archive, Due, Outcome
from service.collecting.fetching import Fetched, Fetcher, FetchError
from service.collecting.reading import Entry, Feed, Page, read_feed, read_page
from service.collecting.sources import Source
from service.errors import CollectError, DocumentError
from service.parsing import Limits, Parsers, Read, Unforeseen
from service.settings import Settings

log = logging.getLogger("candour.collect")
# Sources at work at a time.
AT_ONCE = 32
# Sitemaps of one source that are read in a run.
MOST_SITEMAPS = 500
# Pages that fail one after the other before a source is left alone until the next run.
MOST_FAILURES = 5


@dataclass
class Tally:
    """What a run did for one source. reasons: for each sort of failure, what was said of the first."""

    source: Source
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, str] = field(default_factory=dict)

    def fail(self, reason: str, detail: str) -> None:
        self.failed[reason] += 1
        self.reasons.setdefault(reason, detail)


def collect(
    sources: Sequence[Source],
    folder: Path,
    settings: Settings,
    pause: float = 1.0,
    finished: Callable[[Tally], object] | None = None,
) -> list[Tally]:
    """Fetch what the sources list and the folder does not hold; a tally for each source, in order.

    pause: seconds, about, before what failed is first tried again. finished: called with each tally when it is whole.

    Raises CollectError, OSError (the folder cannot be written).
    """
    limits = Limits(settings.max_parse_seconds, settings.max_parse_memory, settings.max_pages)
    workers = settings.threads or os.cpu_count() or 1
    try:
        # The pools hand on whatever their function gives, a Feed as well as a document.
        with (
            Archive(folder) as archive,
            Parsers(workers, limits, read_page) as pages,
            Parsers(1, limits, cast(Read, read_feed)) as feeds,
        ):
            return asyncio.run(_collect(sources, archive, pages, feeds, settings, pause, finished))
    except sqlite3.Error as error:
        raise CollectError(f"{folder}: its database fails: {error}") from error


async def _collect(
    sources: Sequence[Source], archive: Archive, pages: Parsers, feeds: Parsers, settings: Settings, pause: float,
    finished: Callable[[Tally], object] | None,
) -> list[Tally]:  # fmt: skip
    places = asyncio.Semaphore(AT_ONCE)
    taken: set[str] = set()

    async def collected(source: Source) -> Tally:
        async with places:
            tally = await _Run(source, archive, fetcher, pages, feeds, taken, settings.collect_source_seconds).whole()
        if finished:
            finished(tally)
        return tally

    async with Fetcher(settings, archive.robots, archive.keep_robots, pause) as fetcher:
        return await asyncio.gather(*map(collected, sources))


class _Run:
    """The run of one source. taken: URLs that a source of this run has seen to."""

    def __init__(
        self, source: Source, archive: Archive, fetcher: Fetcher, pages: Parsers, feeds: Parsers, taken: set[str],
        seconds: float,
    ) -> None:  # fmt: skip
        self._source = source
        self._archive = archive
        self._fetcher = fetcher
        self._pages = pages
        self._feeds = feeds
        self._taken = taken
        self._seconds = seconds
        self._tally = Tally(source)

    async def whole(self) -> Tally:
        """Read the feed, fetch what is due. What fails, and is not the folder, is in the tally.

        What there is no time for stays due.
        """
        try:
            async with asyncio.timeout(self._seconds) as clock:
                listed = await self._read_feeds()
                due = [page for page in self._archive.due(self._source) if page.url not in self._taken]
                self._tally.outcomes[Outcome.UNCHANGED] += max(0, listed - len(due))
                if listed or not self._tally.failed:
                    await self._fetch_pages(due)
        except (OSError, sqlite3.Error):
            if not clock.expired():
                raise
            limit = f"more than {self._seconds:g} seconds (CANDOUR_COLLECT_SOURCE_SECONDS)"
            self._tally.fail("out-of-time", f"the source took {limit}; what is left waits for the next run")
        except Exception as error:
            log.error("%s: candour failed on it", self._source.name, exc_info=error)
            self._tally.fail("internal", f"candour failed on it: {error!r}")
        return self._tally

    async def _read_feeds(self) -> int:
        """Write down what the feed, or the sitemaps of an index, list; the number of items that are wanted."""
        waiting, seen, listed = [self._source.url], {self._source.url}, 0
        while waiting:
            url = waiting.pop(0)
            try:
                items, sitemaps = await self._read_feed(url)
            except (FetchError, DocumentError, Unforeseen) as error:
                self._fail(error, url)
                continue
            listed += items
            for sitemap in filter(None, map(urls.clean, sitemaps)):
                if sitemap not in seen and len(seen) < MOST_SITEMAPS:
                    seen.add(sitemap)
                    waiting.append(sitemap)
        return listed

    async def _read_feed(self, url: str) -> tuple[int, tuple[str, ...]]:
        known = self._archive.feed(self._source, url)
        fetched = await self._fetcher.get(url, self._source, known[0] if known else None)
        if fetched is None:
            assert known
            return known[1], ()
        feed: Any = await asyncio.wrap_future(self._feeds.submit(fetched.body, fetched.url))
        assert isinstance(feed, Feed)
        if feed.sitemaps:  # not written down: the sitemaps of an index may change while it does not
            return 0, feed.sitemaps
        entries = list(self._wanted(feed.entries))
        self._archive.listed(self._source, url, fetched.validators, entries)
        return len(entries), ()

    def _wanted(self, entries: Sequence[Entry]) -> Iterator[Entry]:
        """The entries to collect, each URL once, in its one form."""
        seen = set()
        for entry in entries:
            url = urls.clean(entry.url)
            if url is None or url in seen:
                continue
            seen.add(url)
            if not self._source.wants(url):
                self._tally.skipped["excluded"] += 1
            elif self._is_too_old(entry.published or entry.changed_on):
                self._tally.skipped["too-old"] += 1
            else:
                yield replace(entry, url=url)

    def _is_too_old(self, dated: date | None) -> bool:
        return bool(self._source.since and dated and dated < self._source.since)

    async def _fetch_pages(self, due: Sequence[Due]) -> None:
        fetched = in_a_row = 0
        for page in due:
            if fetched == self._source.most:
                self._tally.skipped["left-for-later"] += 1
                continue
            if page.url in self._taken:
                continue
            self._taken.add(page.url)
            try:
                await self._fetch_page(page)
                in_a_row = 0
            except (FetchError, DocumentError, Unforeseen) as error:
                if isinstance(error, FetchError) and error.reason == "robots":
                    self._tally.skipped["robots"] += 1
                    continue
                again = isinstance(error, FetchError) and error.again
                self._archive.failed(page.url, self._fail(error, page.url), again)
                in_a_row = in_a_row + 1 if again else 0
                if in_a_row == MOST_FAILURES:
                    self._tally.fail(
                        "gave-up", f"{in_a_row} pages failed one after the other: the rest is left for later"
                    )
                    return
            fetched += 1

    async def _fetch_page(self, due: Due) -> None:
        fetched = await self._fetcher.get(due.url, self._source, due.known)
        if fetched is None:
            self._archive.settle(due.url, Outcome.UNCHANGED)
            self._tally.outcomes[Outcome.UNCHANGED] += 1
            return
        page = await asyncio.wrap_future(self._pages.submit(fetched.body, fetched.url))
        assert isinstance(page, Page)
        if self._is_too_old(due.published or page.document.published):
            self._archive.settle(due.url, "too-old")
            self._tally.skipped["too-old"] += 1
            return
        outcome = self._archive.keep(due, _own(fetched, page), page, fetched, self._source)
        self._tally.outcomes[outcome] += 1

    def _fail(self, error: FetchError | DocumentError | Unforeseen, url: str) -> str:
        """Count a failure; its reason."""
        if isinstance(error, FetchError):
            reason, detail = error.reason, str(error)
        else:
            reason = error.type if isinstance(error, DocumentError) else "internal"
            detail = f"{url}: {error}"
        self._tally.fail(reason, detail)
        return reason


def _own(fetched: Fetched, page: Page) -> str:
    """The URL that a page says is its own, if it is of its site and not the front page; else where it came from."""
    came_from = urls.clean(fetched.url) or fetched.url
    given = urls.clean(page.canonical) if page.canonical else None
    return given if given and urls.same_site(given, came_from) and not urls.is_home(given) else came_from
