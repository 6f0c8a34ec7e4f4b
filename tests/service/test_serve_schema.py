"""Random requests made from the OpenAPI document: no server error, no reply that the document does not allow."""

import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from served_app import make_app

from mnatune.model.engine.echo import EchoEngine
from mnatune.service.keys import KeyStore, KeyTerms
from mnatune.service.service import Settings

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
checks = pytest.importorskip("schemathesis.checks")
GenerationMode = pytest.importorskip("schemathesis.generation").GenerationMode
CASES = int(os.environ.get("MNATUNE_SCHEMA_CASES", "3"))  # per operation, app and kind of request
ALL = list(HealthCheck)


CHECKS = (
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
    checks.negative_data_rejection,
    checks.unsupported_method,
)


def keyed_app(folder: Path):
    store = KeyStore(folder / "keys.json")
    _, secret = store.create("fuzz", KeyTerms(requests_per_minute=0, tokens_per_minute=0, admin=True))
    return make_app(EchoEngine(), keys=store, settings=Settings(system="체계", require_keys=True)), secret


def every_case(app, check):
    """Run `check` on CASES generated requests of every operation, right and wrong ones."""
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    seen = 0
    for found in schema.get_all_operations():
        operation = found.ok()
        for mode in GenerationMode:
            with suppress(Unsatisfiable):  # an operation without parameters has no wrong requests

                @settings(max_examples=CASES, deadline=None, derandomize=True, database=None, suppress_health_check=ALL)
                @given(case=operation.as_strategy(generation_mode=mode))
                def run(case):
                    nonlocal seen
                    seen += 1
                    check(case)

                run()
    print(f"{seen} cases")
    return seen


def test_no_request_breaks_the_open_server():
    assert every_case(make_app(), lambda case: case.call_and_validate(checks=CHECKS)) > 10 * CASES


def test_no_request_breaks_the_server_with_keys(tmp_path):
    app, secret = keyed_app(tmp_path)
    headers = {"authorization": f"Bearer {secret}"}
    # A "wrong" request may be wrong in its key alone, which is put right here: it need not be refused.
    most = [check for check in CHECKS if check is not checks.negative_data_rejection]
    assert every_case(app, lambda case: case.call_and_validate(headers=headers, checks=most)) > 10 * CASES


def test_without_a_key_every_guarded_request_is_refused(tmp_path):
    app, _ = keyed_app(tmp_path)

    def check(case):
        case.headers.pop("Authorization", None)
        guarded = case.path.startswith(("/v1/", "/api/")) and case.path != "/api/page"
        status = case.call().status_code
        assert status < 500
        assert (status == 401) == guarded

    assert every_case(app, check) > 10 * CASES
