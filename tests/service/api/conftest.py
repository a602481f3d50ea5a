"""The application, on each database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from fastapi.testclient import TestClient

from service.api.app import create_app
from service.settings import Settings
from tests.service import databases

SMALL = Settings(max_bytes=200_000, max_items=50, max_characters=5_000, max_call_characters=40_000)


@pytest.fixture(scope="module", params=databases.KINDS)
def client(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A server with small limits and no keys, whose store the tests of a module share."""
    with (
        databases.empty(request.param, request, tmp_path_factory.mktemp("api")) as url,
        TestClient(create_app(SMALL.model_copy(update={"database": url}))) as client,
    ):
        yield client


@pytest.fixture
def serve(database_url: str) -> Iterator[Callable[..., TestClient]]:
    """A server with settings of one's own, on an empty store."""
    with ExitStack() as stack:

        def serving(**settings: object) -> TestClient:
            chosen = Settings(database=database_url).model_copy(update=settings)
            return stack.enter_context(TestClient(create_app(chosen)))

        yield serving
