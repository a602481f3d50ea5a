"""The HTTP API: the app factory. Each subject has a router of its own; every error becomes a problem in one table."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from models import classifier
from service.api import catalogue, comparisons, documents, health, passages
from service.api.middleware import BodyLimit, ModelHeader
from service.api.problems import install
from service.settings import Settings


def create_app(settings: Settings | None = None) -> FastAPI:
    """An application that loads and warms the model when it starts. Raises ArtefactError then, if it cannot."""
    chosen = settings or Settings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        loaded = classifier.load(chosen.model, chosen.store, chosen.threads)
        loaded.predict(["The first text takes longest."])
        app.state.classifier = loaded
        yield
        app.state.classifier = None

    app = FastAPI(
        title="candour",
        summary="Themes and stances in what is written about English children's services, passage by passage.",
        version="1",
        lifespan=lifespan,
    )
    app.state.settings = chosen
    app.state.classifier = None
    install(app)
    app.add_middleware(BodyLimit, limit=chosen.max_bytes)
    app.add_middleware(ModelHeader)
    for router in (health.router, passages.router, documents.router, comparisons.router, catalogue.router):
        app.include_router(router)
    return app
