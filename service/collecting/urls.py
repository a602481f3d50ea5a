"""One address for what is one page."""

from __future__ import annotations

import re

import httpx

# What mailings and adverts add. Names such as `ref` or `source` may tell one page from another, and stay: a page under
# two addresses is found by its text, and one that was taken for another is lost.
_TRACKING = re.compile(r"(?:utm_\w+|mc_[ce]id|(?:fb|g|d|tw|y|msclk)cl?id|_gl|igshid)(?:=|$)", re.I)


def clean(url: str) -> str | None:
    """An http or https URL without fragment and tracking parameters, host in small letters; None for any other."""
    try:
        parsed = httpx.URL(url.strip())
    except (httpx.InvalidURL, UnicodeError):
        return None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        return None
    query = b"&".join(part for part in parsed.query.split(b"&") if not _TRACKING.match(part.decode("ascii")))
    return str(parsed.copy_with(query=query or None, fragment=None))


def is_home(url: str) -> bool:
    return httpx.URL(url).raw_path in (b"", b"/")


def same_site(one: str, other: str) -> bool:
    """Whether two URLs are of one host, with or without www."""
    first, second = (httpx.URL(url).host.removeprefix("www.") for url in (one, other))
    return first == second
