"""The metric of drift: the last documents of the store, held against the reference of the model that is served."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import State

from models.classifier import Classifier
from service import drift
from service.api.metrics import Metrics
from service.drift import Drift, Profile, Reference
from service.errors import NotFound
from service.settings import Settings
from service.store import DocumentFilter, Store

log = logging.getLogger("candour.api")
# Documents that are compared, the last that came; seconds between two looks at them.
DOCUMENTS, EVERY = 200, 60.0


@asynccontextmanager
async def watching(state: State, settings: Settings, metrics: Metrics) -> AsyncIterator[None]:
    """From here to the end of the block the metrics say how far the last documents are from the reference.

    They say nothing while there is none beside the model.
    """
    stopping = asyncio.Event()
    task = asyncio.create_task(_watch(state, settings, metrics, stopping))
    try:
        yield
    finally:
        stopping.set()
        await task  # not cancelled: its thread would go on, and use a store that is closed


async def _watch(state: State, settings: Settings, metrics: Metrics, stopping: asyncio.Event) -> None:
    window = None
    while not stopping.is_set():
        window = await run_in_threadpool(_look, window, state.classifier, state.store, settings, metrics)
        with suppress(TimeoutError):
            async with asyncio.timeout(EVERY):
                await stopping.wait()


def _look(
    window: _Window | None, classifier: Classifier, store: Store, settings: Settings, metrics: Metrics
) -> _Window | None:
    """Hold the last documents against the reference of the model that is served, if there is one by now."""
    try:
        if window is None or window.reference.model != classifier.version:
            window = None
            metrics.drifted(None)
            path = drift.beside(settings.store, classifier.version)
            window = _Window(drift.read(path)) if path.is_file() else None
        if window is not None and (found := window.look(store, classifier)):
            metrics.drifted(found)
    except Exception as error:
        log.warning("drift cannot be told", extra={"problem": str(error)})
    return window


@dataclass
class _Window:
    """The profiles of the last documents that the reference's model labelled, by id. No text is kept."""

    reference: Reference
    profiles: dict[str, Profile] = field(default_factory=dict)

    def look(self, store: Store, classifier: Classifier) -> Drift | None:
        """How they compare; None where they are those of the last look."""
        listed = store.documents(DocumentFilter(), None, DOCUMENTS).items
        last = [document.id for document in listed if document.model == self.reference.model]
        if last == list(self.profiles):
            return None
        profiles: dict[str, Profile] = {}
        for id_ in last:
            with suppress(NotFound):  # deleted since
                profiles[id_] = self.profiles.get(id_) or self.reference.profile(store.get(id_), classifier)
        self.profiles = profiles
        return drift.compare(self.reference, list(profiles.values()))
