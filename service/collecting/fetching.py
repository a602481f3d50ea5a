"""Fetching that harms nobody: what a host asks for is kept to, and nothing private is reached through a public page."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Self

import httpx
from protego import Protego
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from service.collecting.sources import Source
from service.settings import Settings

MOST_REDIRECTS = 5
MOST_RETRIES = 3
# Seconds. A host that asks for a longer pause is left alone until the next run.
MOST_PATIENCE = 120
# What RFC 9309 asks a reader of robots.txt to read of it.
ROBOTS_BYTES = 500 * 1024
ROBOT = "candour"
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_BUSY = frozenset({408, 425, 429})
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class FetchError(Exception):
    """Why there is no answer. reason is stable, "robots" where robots.txt says no; str(error) is for a person.

    again: a later run may have more luck. retry: so may a later moment of this one.
    """

    def __init__(self, reason: str, detail: str, *, again: bool = False, retry: bool = False) -> None:
        super().__init__(detail)
        self.reason = reason
        self.again = again or retry
        self.retry = retry


@dataclass(frozen=True)
class Validators:
    """What a server tells a version of a page by."""

    etag: str | None = None
    modified: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        """The headers of a request for what is not of this version."""
        named = {"If-None-Match": self.etag, "If-Modified-Since": self.modified}
        return {name: value for name, value in named.items() if value and value.isascii()}


@dataclass(frozen=True)
class Fetched:
    """An answer: where it came from after redirects, and its bytes as they were before they were compressed."""

    url: str
    body: bytes
    validators: Validators


@dataclass(frozen=True)
class Robots:
    """A robots.txt as it was last fetched."""

    body: bytes
    validators: Validators


@dataclass
class _Site:
    """A scheme, host and port: one request at a time, none before `ready` (of the loop's clock)."""

    transport: httpx.AsyncHTTPTransport
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    ready: float = 0.0
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)
    rules: Protego | FetchError | None = None
    addresses: list[str] | None = None


class Fetcher:
    """Fetches for a run. An asynchronous context manager.

    robots: robots.txt files of earlier runs by URL, which are brought up to date. pause: seconds, about, before the
    first retry; each further pause is about twice as long.
    """

    def __init__(self, settings: Settings, robots: Callable[[str], Robots | None],
                 keep_robots: Callable[[str, Robots], None], pause: float) -> None:  # fmt: skip
        self._settings = settings
        self._robots = robots
        self._keep_robots = keep_robots
        self._sites: dict[str, _Site] = {}
        self._tls = httpx.create_ssl_context()
        self._closing = AsyncExitStack()
        self._retrying = AsyncRetrying(
            stop=stop_after_attempt(1 + MOST_RETRIES),
            wait=wait_random_exponential(multiplier=pause, max=30),
            retry=retry_if_exception(lambda error: isinstance(error, FetchError) and error.retry),
            reraise=True,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._closing.aclose()

    async def get(self, url: str, source: Source, known: Validators | None = None) -> Fetched | None:
        """What is at a URL now; None where it is still of the known version. Raises FetchError."""
        headers = known.headers if known else {}
        return await self._follow(url, source, headers, self._settings.max_bytes)

    async def _follow(
        self, url: str, source: Source, headers: Mapping[str, str], most: int | None, robots: bool = True
    ) -> Fetched | None:
        for _ in range(1 + MOST_REDIRECTS):
            try:
                target = httpx.URL(url)
            except httpx.InvalidURL as error:
                raise FetchError("bad-url", f"{url}: {error}") from error
            if target.scheme not in ("http", "https") or not target.host:
                raise FetchError("bad-url", f"{url}: not an http or https address")
            site = await self._site(target)
            if robots:
                await self._permit(site, target, source)
            found: Fetched | httpx.URL | None = await self._retrying.copy()(
                self._ask, site, target, source, headers, most
            )
            if not isinstance(found, httpx.URL):
                return found
            url = str(found)
        raise FetchError("redirects", f"{url}: redirected more than {MOST_REDIRECTS} times")

    async def _site(self, url: httpx.URL) -> _Site:
        origin = f"{url.scheme}://{url.netloc.decode('ascii')}"
        if origin not in self._sites:
            # Nothing of the environment: a proxy would resolve the name again, and reach what it likes.
            transport = httpx.AsyncHTTPTransport(
                verify=self._tls, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0)
            )
            self._sites[origin] = _Site(await self._closing.enter_async_context(transport))
        return self._sites[origin]

    async def _permit(self, site: _Site, url: httpx.URL, source: Source) -> None:
        """Raise FetchError where robots.txt disallows a URL, or could not be had."""
        rules = await self._rules(site, url, source)
        if not rules.can_fetch(str(url), ROBOT):
            raise FetchError("robots", f"{url}: robots.txt disallows it")
        if (delay := rules.crawl_delay(ROBOT) or 0) > MOST_PATIENCE:
            raise FetchError("robots", f"{url}: robots.txt asks for {delay:,g} seconds between two requests")

    async def _rules(self, site: _Site, url: httpx.URL, source: Source) -> Protego:
        async with site.asking:
            if site.rules is None:
                try:
                    site.rules = await self._asked_rules(
                        str(url.copy_with(raw_path=b"/robots.txt", fragment=None)), source
                    )
                except FetchError as error:
                    if error.reason == "private-address":  # another source may be allowed to
                        raise
                    site.rules = error
        rules = site.rules
        if isinstance(rules, FetchError):
            raise FetchError(rules.reason, str(rules), again=True) from rules
        return rules

    async def _asked_rules(self, url: str, source: Source) -> Protego:
        known = self._robots(url)
        try:
            fetched = await self._follow(
                url, source, known.validators.headers if known else {}, most=None, robots=False
            )
        except FetchError as error:
            if error.reason == "redirects" or (error.reason.startswith("http-4") and not error.retry):
                return Protego.parse("")  # RFC 9309: there are no rules
            raise
        if fetched is not None:
            known = Robots(fetched.body, fetched.validators)
            self._keep_robots(url, known)
        assert known
        return Protego.parse(known.body.decode("utf-8", "replace"))

    async def _ask(
        self, site: _Site, url: httpx.URL, source: Source, headers: Mapping[str, str], most: int | None
    ) -> Fetched | httpx.URL | None:
        """One request, in its turn: the answer, where it redirects to, or None where nothing has changed.

        most: bytes of the answer; None for a robots.txt, of which no more than ROBOTS_BYTES are read.
        """
        seconds = self._settings.collect_seconds
        async with self._turn(site, url, source):
            try:
                async with asyncio.timeout(seconds), self._answer(site, url, source, headers) as response:
                    return await self._outcome(site, url, response, most, bool(headers))
            except TimeoutError as error:
                slow = f"{url}: took more than {seconds:g} seconds (CANDOUR_COLLECT_SECONDS)"
                raise FetchError("timed-out", slow, again=True) from error
            except (httpx.HTTPError, OSError) as error:
                raise FetchError("connection", f"{url}: {error or type(error).__name__}", retry=True) from error
            except httpx.InvalidURL as error:
                raise FetchError("bad-url", f"{url}: {error}") from error

    @asynccontextmanager
    async def _turn(self, site: _Site, url: httpx.URL, source: Source) -> AsyncIterator[None]:
        """The one request at a time of a site, once its pause is over."""
        delay = 1 / source.rate
        if isinstance(site.rules, Protego):
            delay = max(delay, site.rules.crawl_delay(ROBOT) or 0)
        async with site.turn:
            now = asyncio.get_running_loop().time()
            if (pause := site.ready - now) > MOST_PATIENCE:
                raise FetchError("busy", f"{url}: the host asks for a pause of {pause:,.0f} seconds", again=True)
            await asyncio.sleep(max(0, pause))
            site.ready = max(now, site.ready) + delay
            yield

    @asynccontextmanager
    async def _answer(
        self, site: _Site, url: httpx.URL, source: Source, headers: Mapping[str, str]
    ) -> AsyncIterator[httpx.Response]:
        """The beginning of an answer, from the very address that was checked: no name is resolved twice."""
        host, netloc = url.raw_host.decode("ascii"), url.netloc.decode("ascii")
        if site.addresses is None:
            site.addresses = await _resolve(host, url.port or (443 if url.scheme == "https" else 80))
        if not {host.lower(), netloc.lower()} & set(source.allow):
            for address in site.addresses:
                if not is_public(address):
                    raise FetchError("private-address", f"{url}: {host} has the private address {address}", again=True)
        asked = {
            "Host": netloc,
            "User-Agent": self._settings.collect_agent,
            "Accept": "*/*",
            "Accept-Encoding": "gzip",
            **headers,
        }
        failed: httpx.ConnectError | None = None
        for address in site.addresses:
            there = url.copy_with(host=address)
            request = httpx.Request("GET", there, headers=asked, extensions={"sni_hostname": host})
            try:
                response = await site.transport.handle_async_request(request)
            except httpx.ConnectError as error:
                failed = error
                continue
            try:
                yield response
            finally:
                await response.aclose()
            return
        assert failed
        raise failed

    async def _outcome(
        self, site: _Site, url: httpx.URL, response: httpx.Response, most: int | None, conditional: bool
    ) -> Fetched | httpx.URL | None:
        status = response.status_code
        if status == 304 and conditional:
            return None
        if status in _REDIRECTS and (location := response.headers.get("location")):
            return url.join(location)
        if not response.is_success:
            busy = status in _BUSY or status >= 500
            if busy and (pause := _retry_after(response.headers.get("retry-after", ""))) is not None:
                site.ready = max(site.ready, asyncio.get_running_loop().time() + pause)
            # A page that is gone will not be back; whatever else a server refuses with, it may think better of.
            raise FetchError(f"http-{status}", f"{url}: HTTP {status}", again=status not in (404, 410), retry=busy)
        validators = Validators(response.headers.get("etag"), response.headers.get("last-modified"))
        return Fetched(str(url), await _body(url, response, most), validators)


async def _resolve(host: str, port: int) -> list[str]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise FetchError("no-address", f"{host}: has no address: {error}", retry=True) from error
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def is_public(address: str) -> bool:
    """Whether an IP address is one of the open internet, also where it wraps another for a gateway to unwrap."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        wrapped = ip.ipv4_mapped or ip.sixtofour
        if ip in _NAT64:
            wrapped = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if wrapped:
            return is_public(str(wrapped))
        if ip.is_site_local or ip.teredo:
            return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved)


async def _body(url: httpx.URL, response: httpx.Response, most: int | None) -> bytes:
    """The bytes of an answer, unzipped while they come: no more is ever held than may be kept."""
    limit = ROBOTS_BYTES if most is None else most
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("gzip", "x-gzip", "identity", ""):
        raise FetchError("encoding", f"{url}: has the encoding {encoding!r}, which was not asked for")
    unzip = zlib.decompressobj(wbits=31) if encoding.endswith("gzip") else None
    body = bytearray()
    try:
        async for chunk in response.aiter_raw():
            body += unzip.decompress(chunk, limit + 1 - len(body)) if unzip else chunk
            if len(body) > limit:
                if most is None:
                    return bytes(body[:limit])
                raise FetchError("too-large", f"{url}: has more than {most:,} bytes (CANDOUR_MAX_BYTES)")
    except zlib.error as error:
        raise FetchError("encoding", f"{url}: is not the gzip that it says it is: {error}", again=True) from error
    if unzip and body and not unzip.eof:
        raise FetchError("connection", f"{url}: the answer is cut short", retry=True)
    return bytes(body)


def _retry_after(value: str) -> float | None:
    """Seconds from now, of a number or a date; None for neither."""
    if value.strip().isdecimal():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - datetime.now(UTC).timestamp()
