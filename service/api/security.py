"""Who may do what: keys, scopes and rates."""

from __future__ import annotations

import ipaddress
import math
import time
from typing import Annotated
from urllib.parse import urlsplit

import limits
from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from starlette.concurrency import run_in_threadpool

from service.api.dependencies import CurrentStore
from service.errors import Forbidden, RateLimited, Unauthorised
from service.keys import Scope

# The owner of what is sent to a server that has no keys.
NOBODY = ""
_bearer = HTTPBearer(
    auto_error=False,
    scheme_name="key",
    description="A key of `candour keys create`. A server that has no keys answers its own machine without one.",
)


class Rate:
    """How often each key may ask. Counts are in the memory of this process."""

    def __init__(self, rate: str) -> None:
        self._rate = limits.parse(rate)
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    def take(self, key: str) -> None:
        """Count a request. Raises RateLimited."""
        if not self._limiter.hit(self._rate, key):
            reset = self._limiter.get_window_stats(self._rate, key).reset_time
            raise RateLimited(f"more than {self._rate} (CANDOUR_RATE)", max(1, math.ceil(reset - time.time())))


async def _authorised(
    request: Request,
    needed: SecurityScopes,
    store: CurrentStore,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> str:
    if credentials is None and "authorization" not in request.headers and not await run_in_threadpool(store.has_keys):
        if _is_elsewhere(request):
            raise Unauthorised("this server has no keys yet, and answers its own machine only: candour keys create")
        if _is_a_page_of_elsewhere(request):
            raise Forbidden("this server has no keys yet, and answers no page of another site: candour keys create")
        return NOBODY
    if credentials is None:
        raise Unauthorised("a key is needed: Authorization: Bearer candour_…")
    key = await run_in_threadpool(store.authenticate, credentials.credentials)
    if key is None:
        raise Unauthorised("the key is not known, or was revoked")
    request.state.key = key.id
    for scope in needed.scopes:
        if not key.allows(Scope(scope)):
            raise Forbidden(f"the key {key.name!r} has not the scope {scope}")
    request.app.state.rate.take(key.id)
    return key.id


def _is_elsewhere(request: Request) -> bool:
    """Whether the client's address is one, and another machine's."""
    try:
        return request.client is not None and not ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False


def _is_a_page_of_elsewhere(request: Request) -> bool:
    """Whether a browser asks on behalf of another site: by its Origin, or by a name that leads to this machine."""
    origin = request.headers.get("origin")
    names = [request.url.hostname, *([urlsplit(origin).hostname] if origin is not None else [])]
    return not all(name is not None and _is_own(name) for name in names)


def _is_own(name: str) -> bool:
    """Whether a host name can only be of this machine or its network: no one else can have one without a dot."""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return "." not in name or name.endswith(".localhost")


# The id of the key that a request was made with, which has the scope; NOBODY where there are no keys.
Reader = Annotated[str, Security(_authorised, scopes=[Scope.READ])]
Scorer = Annotated[str, Security(_authorised, scopes=[Scope.SCORE])]
Labeller = Annotated[str, Security(_authorised, scopes=[Scope.LABEL])]
Admin = Annotated[str, Security(_authorised, scopes=[Scope.ADMIN])]
READS = Security(_authorised, scopes=[Scope.READ])
SCORES = Security(_authorised, scopes=[Scope.SCORE])
READS_AND_SCORES = Security(_authorised, scopes=[Scope.READ, Scope.SCORE])
