"""The documentation: the OpenAPI, made when the application is, and a page of it that loads nothing from elsewhere."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema
from swagger_ui_bundle import swagger_ui_path

from service.api import bodies
from service.api.examples import EXAMPLES
from service.api.schemas import ProblemDetails

PAGE, FILES = "/docs", "/docs/files"
_HEADERS: dict[str, Any] = {
    "X-Request-ID": {
        "description": "The request's id: the one it was sent with, or a new one.",
        "required": True,
        "schema": {"type": "string"},
    },
    "Candour-Model": {
        "description": "The version of the model that answers, once there is one.",
        "schema": {"type": "string"},
    },
    "Retry-After": {
        "description": "Seconds after which to ask again.",
        "required": True,
        "schema": {"type": "integer", "minimum": 0},
    },
}
_AGAIN = {str(HTTPStatus.TOO_MANY_REQUESTS.value), str(HTTPStatus.SERVICE_UNAVAILABLE.value)}


def install(app: FastAPI) -> None:
    """Make the OpenAPI of an application that has all its routers, and serve a page that shows it."""

    @app.get(PAGE, include_in_schema=False)
    async def page() -> Response:
        # Addresses beside the page, which hold behind a proxy that puts it elsewhere.
        files = FILES.lstrip("/")
        return get_swagger_ui_html(
            openapi_url="openapi.json",
            title=app.title,
            swagger_js_url=f"{files}/swagger-ui-bundle.js",
            swagger_css_url=f"{files}/swagger-ui.css",
            swagger_favicon_url=f"{files}/favicon-32x32.png",
        )

    app.mount(FILES, StaticFiles(directory=swagger_ui_path), name="docs")
    _complete(app.openapi())  # which is made anew when there are other routes


def _complete(schema: dict[str, Any]) -> None:
    """Put into an OpenAPI what the framework cannot see: bodies, errors, headers and examples."""
    models: list[tuple[type[BaseModel], JsonSchemaMode]] = [(model, "validation") for model in bodies.MODELS.values()]
    _, found = models_json_schema(
        [*models, (ProblemDetails, "validation")], ref_template="#/components/schemas/{model}"
    )
    components = schema["components"]
    components["schemas"] |= found["$defs"]
    components["headers"] = _HEADERS
    for operation in (operation for path in schema["paths"].values() for operation in path.values()):
        for status, response in operation["responses"].items():
            names = [name for name in _HEADERS if name != "Retry-After" or status in _AGAIN]
            sent = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
            response["headers"] = response.get("headers", {}) | sent
        if operation["operationId"] in EXAMPLES:
            operation["responses"]["200"]["content"][bodies.JSON]["example"] = EXAMPLES[operation["operationId"]]
