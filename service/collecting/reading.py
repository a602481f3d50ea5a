"""What was fetched, read: feeds to their entries, pages to what tells them from one another.

Both functions run in the worker processes of service.parsing: what comes from the net is hostile until it is read.
"""

from __future__ import annotations

import hashlib
import io
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from time import struct_time
from urllib.parse import urljoin
from zoneinfo import ZoneInfo

import feedparser
from lxml import etree
from lxml.html import HtmlElement, document_fromstring, fromstring
from trafilatura.deduplication import Simhash

from labels.passages import normalise
from service import parsing
from service.errors import DamagedDocument, TooLarge, UnsupportedDocument
from service.parsing import Parsed

# What the protocol of sitemaps allows one to have.
LARGEST_SITEMAP = 50 * 1024 * 1024
# An hour after midnight in July is the evening before in UTC.
LONDON = ZoneInfo("Europe/London")
_SITEMAP = re.compile(rb"<(?:\w+:)?(?:urlset|sitemapindex)\b")


@dataclass(frozen=True)
class Entry:
    """What a feed says of one page. changed: when its text last changed, ISO 8601 in UTC."""

    url: str
    title: str | None = None
    published: date | None = None
    changed: str | None = None

    @property
    def changed_on(self) -> date | None:
        return datetime.fromisoformat(self.changed).date() if self.changed else None


@dataclass(frozen=True)
class Feed:
    """The entries of a feed or sitemap, in its order; of an index of sitemaps, the URLs of those."""

    entries: tuple[Entry, ...] = ()
    sitemaps: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Page(Parsed):
    """A document, with what tells it from others.

    canonical: the URL that the page gives as its own. text: sha256 of the words. simhash: of the words, near for texts
    that share nearly all. figures: sha256 of the numbers in the text, which tell one month's statement from the next.
    """

    canonical: str | None
    text: str
    simhash: int
    figures: str


def read_page(data: bytes, path: str | None, max_pages: int | None) -> Page:
    """A document that was fetched from the URL `path`. Raises DocumentError."""
    parsed = parsing.parse(data, path, max_pages)
    words = normalise(parsed.document.text).casefold()
    return Page(
        path=parsed.path,
        sha256=parsed.sha256,
        document=parsed.document,
        passages=parsed.passages,
        canonical=_canonical(data, path or "") if parsed.document.media_type == "text/html" else None,
        text=_digest(words),
        simhash=Simhash(words).hash,
        figures=_digest(" ".join(re.findall(r"\d+", words))),
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _canonical(data: bytes, url: str) -> str | None:
    try:
        page: HtmlElement = document_fromstring(data)
    except (etree.LxmlError, ValueError):
        return None
    for link in page.iter("link"):
        if "canonical" in link.get("rel", "").lower().split() and (target := link.get("href", "").strip()):
            return _joined(url, target)
    return None


def read_feed(data: bytes, path: str | None, max_pages: int | None) -> Feed:  # noqa: ARG001
    """A feed or sitemap, plain or gzipped, that was fetched from the URL `path`; which of them, its content says.

    Raises UnsupportedDocument where it is neither, DamagedDocument where nothing of it can be read, TooLarge.
    """
    if data.startswith(b"\x1f\x8b"):
        data = _unzipped(data)
    if _SITEMAP.search(data[:10_000]):
        return _sitemap(data, path or "")
    return _feed(data, path or "")


def _unzipped(data: bytes) -> bytes:
    try:
        unzipped = zlib.decompressobj(wbits=31).decompress(data, LARGEST_SITEMAP + 1)
    except zlib.error as error:
        raise DamagedDocument(f"a gzip archive that is damaged: {error}") from error
    if len(unzipped) > LARGEST_SITEMAP:
        raise TooLarge(f"has more than {LARGEST_SITEMAP:,} bytes, unzipped")
    return unzipped


def _sitemap(data: bytes, base: str) -> Feed:
    parser = etree.XMLParser(resolve_entities=False, no_network=True)
    try:
        root = etree.fromstring(data.strip(), parser)
    except etree.XMLSyntaxError as error:
        raise DamagedDocument(f"a sitemap that is damaged or cut short: {error}") from error
    sitemaps = tuple(url for url, _ in _located(root, "sitemap", base))
    entries = (Entry(url, changed=_moment(lastmod)) for url, lastmod in _located(root, "url", base))
    return Feed(tuple(entries), sitemaps)


def _located(root: etree._Element, tag: str, base: str) -> Iterator[tuple[str, str]]:
    """URL and lastmod of each element of that name."""
    for element in root.iter(f"{{*}}{tag}"):
        place = (element.findtext("{*}loc") or "").strip()
        if place and (url := _joined(base, place)):
            yield url, (element.findtext("{*}lastmod") or "").strip()


def _moment(text: str) -> str | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return _utc(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _utc(moment: datetime) -> str | None:
    try:
        return moment.astimezone(UTC).isoformat(timespec="seconds")
    except OverflowError:  # in the year 1, or 9999
        return None


def _feed(data: bytes, base: str) -> Feed:
    # A stream, for a string may be taken for the name of a file. Nothing of the HTML in it is used.
    found = feedparser.parse(io.BytesIO(data), sanitize_html=False, resolve_relative_uris=False)
    if not found.entries and found.bozo:
        raise DamagedDocument(f"neither RSS, Atom nor a sitemap that could be read: {found.bozo_exception}")
    if not found.get("version"):
        raise UnsupportedDocument("neither RSS, Atom nor a sitemap")
    return Feed(tuple(_entries(found.entries, base)))


def _entries(items: list[feedparser.FeedParserDict], base: str) -> Iterator[Entry]:
    for item in items:
        if not (url := _joined(base, item.get("link") or "")):
            continue
        published = _parsed(item.published_parsed) if item.get("published_parsed") else None
        updated = _parsed(item.updated_parsed) if "updated_parsed" in item and item.updated_parsed else None
        dated = published or updated
        yield Entry(
            url,
            _title(item),
            dated.astimezone(LONDON).date() if dated else None,
            _utc(updated) if updated else None,
        )


def _parsed(time: struct_time) -> datetime | None:
    try:
        moment = datetime(*time[:6], tzinfo=UTC)
        moment.astimezone(LONDON)
    except (ValueError, OverflowError):
        return None
    return moment


def _title(item: feedparser.FeedParserDict) -> str | None:
    title = item.get("title") or ""
    if "html" in item.get("title_detail", {}).get("type", "") and title.strip():
        title = "".join(map(str, fromstring(f"<div>{title}</div>").itertext()))
    # Halves of surrogate pairs, which a feed may name by number and no file can hold, become question marks.
    return " ".join(title.split()).encode("utf-8", "replace").decode() or None


def _joined(base: str, link: str) -> str | None:
    try:
        return urljoin(base, link.strip()) if link.strip() else None
    except ValueError:
        return None
