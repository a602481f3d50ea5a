"""The HTTP API: the app factory. Each subject has a router of its own; every error becomes a problem in one table."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from threading import Thread

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from service.api import (
    batches,
    catalogue,
    comparisons,
    corrections,
    docs,
    documents,
    drift,
    health,
    inference,
    logs,
    passages,
    predict,
    retrain,
    swap,
)
from service.api.metrics import Metrics
from service.api.middleware import BodyLimit, InFlightLimit, Observed, TimeLimit, Uncompressed
from service.api.problems import install
from service.api.scheduler import Scheduler
from service.api.security import Rate
from service.parsing import Limits, Parsers
from service.settings import Settings
from service.store import Store

DESCRIPTION = """\
Send a document to `/v1/documents`, or passages to `/v1/classify`, and have the themes and stances of each passage, with
calibrated probabilities. `/v1/compare` says which of a report's criticisms a response leaves out.

Every answer names the model's version in the header `Candour-Model` and its own id in `X-Request-ID` (yours, if you
send one). Errors are `application/problem+json` with a stable `type`; 429 and 503 say in `Retry-After` when to ask
again.
"""


def create_app(settings: Settings | None = None) -> FastAPI:
    """An application that loads and warms the model, and opens the store, when it starts.

    Raises ArtefactError or StoreError then, if it cannot.
    """
    chosen = settings or Settings()
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        state = app.state
        loaded = swap.warmed(chosen, chosen.model)
        store, scheduler = Store(chosen.database, chosen.max_seconds), Scheduler(chosen.threads)
        limits = Limits(chosen.max_parse_seconds, chosen.max_parse_memory, chosen.max_pages)
        with Parsers(chosen.threads or os.cpu_count() or 1, limits) as parsers:
            await run_in_threadpool(store.upgrade)
            await run_in_threadpool(parsers.warm)
            metrics.serving(loaded.version)
            metrics.gauge("slices_waiting", "Slices of requests that wait for the model.", lambda: scheduler.waiting)
            state.store, state.parsers, state.scheduler, state.classifier = store, parsers, scheduler, loaded
            del loaded  # or it would be held when another is served
            async with (
                swap.following(state, chosen, metrics),
                batches.working(state, chosen, metrics),
                drift.watching(state, chosen, metrics),
            ):
                yield
            state.classifier = state.parsers = state.store = None
        scheduler.close()
        store.close()

    app = FastAPI(
        title="candour",
        summary="Themes and stances in what is written about English children's services, passage by passage.",
        description=DESCRIPTION,
        version="1",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # a redirect would name the host that the request names, and be http behind a proxy
    )
    state = app.state
    state.settings, state.metrics, state.rate = chosen, metrics, Rate(chosen.rate)
    state.store = state.parsers = state.scheduler = state.classifier = state.jobs = state.problem = None
    install(app)
    app.add_middleware(BodyLimit, limit=chosen.max_bytes)
    app.add_middleware(Uncompressed)
    app.add_middleware(TimeLimit, limit=chosen.max_seconds)
    app.add_middleware(InFlightLimit, limit=chosen.max_requests, metrics=metrics)
    app.add_middleware(Observed, metrics=metrics)
    for subject in (
        passages, corrections, documents, batches, comparisons, catalogue, retrain, health, predict, inference,
    ):  # fmt: skip
        app.include_router(subject.router)
    docs.install(app)
    return app


def worker() -> FastAPI:
    """The application of a process of `candour serve`, with the settings of its environment.

    A process that was started by another stops, as if it were told to, when that other one ends.
    """
    logs.configure()
    parent = multiprocessing.parent_process()
    if parent is not None:

        def stop() -> None:
            parent.join()
            os.kill(os.getpid(), signal.SIGTERM)

        Thread(target=stop, name="parent", daemon=True).start()
    return create_app()
