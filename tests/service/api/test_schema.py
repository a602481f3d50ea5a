"""The server does what its own schema says, whatever schemathesis makes of that schema; without keys and with one.

Schemathesis runs in a process of its own, on a real server, and imports this module there for what it registers.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import strategies as st

from service.api.middleware import NDJSON
from service.keys import Scope
from service.settings import Settings
from service.store import Store
from tests.service.serving import served

LINE = st.builds(lambda id_, text: json.dumps({"id": id_, "text": text}).encode(), st.text() | st.integers(), st.text())
schemathesis.openapi.media_type(NDJSON, st.lists(LINE | st.binary()).map(b"\n".join))


@schemathesis.hook
def before_load_schema(_: schemathesis.HookContext, schema: dict[str, Any]) -> None:
    """Drop an example that is a text, which schemathesis refuses beside a strategy of bytes."""
    del schema["paths"]["/v1/classify"]["post"]["requestBody"]["content"][NDJSON]["example"]


@schemathesis.hook
def filter_headers(_: schemathesis.HookContext, headers: Mapping[str, Any] | None) -> bool:
    """Pass over headers that frame a body: a wrong one is refused, in plain text, before the application is asked."""
    return not {"content-length", "transfer-encoding"} & {name.lower() for name in headers or ()}


@schemathesis.check
def refused_for_its_content_alone(
    _: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case
) -> None:
    """A request of the form that the schema asks for may be refused for what it holds, and not for its form."""
    positive = case.meta is not None and case.meta.generation.mode is schemathesis.GenerationMode.POSITIVE
    if positive and response.status_code == 422:
        assert response.json()["type"] != "invalid-request"


# Checks are on unless turned off here. Two of them have nothing to do: object_level_authorization (all keys see all
# documents), and max_response_time, which is for a machine that does nothing else.
CONFIGURATION = """
hooks = "tests.service.api.test_schema"
continue-on-failure = true
cache.enabled = false
generation.database = "none"
generation.deterministic = true
generation.max-examples = 50
# No schema can say which text holds a word, which bytes are a document, which cursor was given, or what the settings'
# limits are; refused_for_its_content_alone says the rest.
checks.positive_data_acceptance.expected-statuses = ["2xx", 404, 413, 415, 422]
"""
WITHOUT_KEYS = """
# A server without keys answers its own machine.
generation.with-security-parameters = false
checks.ignored_auth.enabled = false
"""
WITH_A_KEY = """
auth.openapi.key.bearer = "{}"
"""


@pytest.mark.parametrize("keyed", [False, True])
def test_the_server_does_what_its_schema_says(pytestconfig: pytest.Config, tmp_path: Path, keyed: bool) -> None:
    settings = Settings(
        database=f"sqlite:///{tmp_path}/candour.db", rate="1000000/second", max_bytes=200_000, max_items=50,
        # A file that is not there: retraining is refused, and no training begins.
        retrain_folder=tmp_path / "retrain", retrain_data=(tmp_path / "none.jsonl",),
    )  # fmt: skip
    access = WITHOUT_KEYS
    if keyed:
        store = Store(settings.database)
        store.upgrade()
        access = WITH_A_KEY.format(store.create_key("schemathesis", list(Scope))[1])
        store.close()
    configuration, report = tmp_path / "schemathesis.toml", tmp_path / "report.json"
    configuration.write_text(access + CONFIGURATION)
    with served(settings) as url:
        run = subprocess.run(
            [
                sys.executable, "-m", "schemathesis.cli", f"--config-file={configuration}", "run",
                f"{url}/openapi.json", "--no-color", "--report=json", f"--report-json-path={report}",
            ],
            cwd=pytestconfig.rootpath, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
    assert run.returncode == 0, run.stdout
    found = json.loads(report.read_text())
    assert {name: phase["status"] for name, phase in found["phases"].items()} == dict.fromkeys(
        ("examples", "coverage", "fuzzing", "stateful"), "success"
    )
    assert found["operations"]["tested"] == found["operations"]["total"] > 20
    assert found["test_cases"]["generated"] >= 1_000
