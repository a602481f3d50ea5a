"""What the routers need of the application."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import Depends, Request

from models.classifier import Classifier
from models.manifest import Manifest
from service import analysis
from service.api.metrics import Metrics
from service.api.scheduler import Gone, Scheduler
from service.errors import NotReady
from service.parsing import Parsers
from service.report import Classification, Explanation
from service.settings import Settings
from service.store import Store


@dataclass(frozen=True)
class Model:
    """The model as one request sees it: the same from its first passage to its last."""

    classifier: Classifier
    _scheduler: Scheduler
    _metrics: Metrics
    _gone: Gone

    @property
    def version(self) -> str:
        return self.classifier.version

    @property
    def manifest(self) -> Manifest:
        return self.classifier.manifest

    async def classify(self, texts: Sequence[str]) -> list[Classification]:
        """The labels of texts, in order."""
        return await self._scheduler.run(self._labelled, texts, self._gone)

    async def explain(self, texts: Sequence[str]) -> list[list[Explanation] | None]:
        """What carries the labels of texts, in order; None for a text that is too long."""
        return await self._scheduler.run(
            lambda part: analysis.explain(part, self.classifier), texts, self._gone, size=1
        )

    def streaming(self) -> Model:
        """The same for a request whose body is still being read.

        To ask whether its client has left is to receive, and to throw away, what the client sends next.
        """
        return replace(self, _gone=_still_there)

    def _labelled(self, texts: Sequence[str]) -> list[Classification]:
        found = analysis.classify(texts, self.classifier)
        self._metrics.labelled(found, self.classifier.network.tokens(texts))
        return found


async def _still_there() -> bool:
    return False


def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


def _model(request: Request) -> Model:
    state = request.app.state
    found: Classifier | None = state.classifier
    if found is None:
        raise NotReady("the model is not loaded yet")
    request.state.model = found.version  # which the answer names, whatever is served by then
    return Model(found, state.scheduler, state.metrics, request.is_disconnected)


def _problem(request: Request) -> str | None:
    problem: str | None = request.app.state.problem
    return problem


def _store(request: Request) -> Store:
    store: Store | None = request.app.state.store
    if store is None:
        raise NotReady("the store is not open yet")
    return store


def _parsers(request: Request) -> Parsers:
    parsers: Parsers | None = request.app.state.parsers
    if parsers is None:
        raise NotReady("the readers have not started yet")
    return parsers


def _metrics(request: Request) -> Metrics:
    metrics: Metrics = request.app.state.metrics
    return metrics


CurrentSettings = Annotated[Settings, Depends(_settings)]
CurrentModel = Annotated[Model, Depends(_model)]
CurrentProblem = Annotated[str | None, Depends(_problem)]
CurrentStore = Annotated[Store, Depends(_store)]
CurrentParsers = Annotated[Parsers, Depends(_parsers)]
CurrentMetrics = Annotated[Metrics, Depends(_metrics)]
