"""The hot swap: a server whose model is an alias serves whatever version the alias names, from the next request on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from anyio import CapacityLimiter, to_thread
from starlette.datastructures import State

from models import classifier
from models.classifier import Classifier
from models.manifest import ArtefactError
from models.registry import ALIASES, Registry
from service.api.metrics import Metrics
from service.settings import Settings

log = logging.getLogger("candour.api")
# Seconds between two looks at the aliases.
EVERY = 0.25


def warmed(settings: Settings, name: str) -> Classifier:
    """A version or alias of the settings' store, loaded and past its first text. Raises ArtefactError."""
    loaded = classifier.load(name, settings.store, settings.threads)
    loaded.predict(["The first text takes longest."])
    return loaded


@asynccontextmanager
async def following(state: State, settings: Settings, metrics: Metrics) -> AsyncIterator[None]:
    """From here to the end of the block, `state.classifier` is what the settings' alias names; a version stays.

    Requests hold the model that they began with, which is freed with the last of them. While the alias names what
    cannot be served, the model before it is, and `state.problem` says why.
    """
    if settings.model not in Registry(settings.store).aliases():
        yield
        return
    task = asyncio.create_task(_follow(state, settings, metrics))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _follow(state: State, settings: Settings, metrics: Metrics) -> None:
    own = CapacityLimiter(1)  # all the threads that requests share may be waiting, for the store's lock or a slow disk
    seen = None
    while True:
        found = await to_thread.run_sync(_stamp, settings.store / ALIASES, limiter=own)
        if found != seen:
            seen = found
            try:
                loaded = await to_thread.run_sync(_other, settings, state.classifier.version, limiter=own)
            except Exception as error:
                known = isinstance(error, ArtefactError)
                why = str(error) if known else "it cannot be loaded; the server's log says why"
                state.problem = f"{settings.model}: {why}"
                metrics.swapped("failed")
                log.error("not swapped", extra={"problem": state.problem}, exc_info=None if known else error)
            else:
                state.problem = None
                if loaded is not None:
                    log.info("swapped", extra={"model": loaded.version, "before": state.classifier.version})
                    state.classifier = loaded
                    metrics.swapped("done")
                    metrics.serving(loaded.version)
                    del loaded  # or it would be held until the next swap
        await asyncio.sleep(EVERY)


def _stamp(path: Path) -> tuple[int, bytes] | None:
    """What tells one state of a file from the next: a version that is promoted again is tried again."""
    try:
        return path.stat().st_mtime_ns, path.read_bytes()
    except OSError:
        return None


def _other(settings: Settings, version: str) -> Classifier | None:
    """The model that the alias names now, unless it is of this version. Raises ArtefactError."""
    name = Registry(settings.store).resolve(settings.model).name
    return None if name == version else warmed(settings, name)
