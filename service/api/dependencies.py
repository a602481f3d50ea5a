"""What the routers need of the application."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from models.classifier import Classifier
from service.errors import NotReady
from service.settings import Settings


def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


def _classifier(request: Request) -> Classifier:
    loaded: Classifier | None = request.app.state.classifier
    if loaded is None:
        raise NotReady("the model is not loaded yet")
    return loaded


CurrentSettings = Annotated[Settings, Depends(_settings)]
Model = Annotated[Classifier, Depends(_classifier)]
