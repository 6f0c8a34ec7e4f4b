"""Whatever goes wrong, no word of a prompt, an answer or feedback is logged at INFO or above."""

import ast
import json
import logging
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient
from made_feedback import mask
from sqlalchemy import text

import mnatune
from mnatune.model.engine.echo import EchoEngine
from mnatune.model.engine.upstream import Upstream, UpstreamEngine
from mnatune.service.app import create_app
from mnatune.service.feedback.store import FeedbackStore
from mnatune.service.service import Settings

CANARY = "카나리아-7731"
CHAT = "/v1/chat/completions"
ASKED = {"messages": [{"role": "user", "content": CANARY}]}


@pytest.fixture
def logged(caplog):
    """All that was logged, tracebacks included; the test fails unless something was, or if the canary is in it."""
    caplog.set_level(logging.INFO)
    yield
    lines = [logging.Formatter().format(record) for record in caplog.get_records("call")]
    assert any(record.name == "mnatune.access" for record in caplog.get_records("call"))
    assert [line for line in lines if CANARY in line or ascii(CANARY)[1:-1] in line] == []


def client_of(engine=None, store=None, checker=None):
    return TestClient(
        create_app(engine or EchoEngine(), store or FeedbackStore("sqlite://", mask), None, Settings(), checker)
    )


def wrong_bodies():
    said = json.dumps(CANARY).encode()
    yield b"{" + said
    yield json.dumps({"messages": CANARY}).encode()
    yield json.dumps({"messages": [{"role": CANARY, "content": CANARY}]}).encode()
    yield json.dumps({"messages": [{"role": "user", "content": {CANARY: CANARY}}]}).encode()
    yield json.dumps({**ASKED, CANARY: CANARY, "n": CANARY, "model": CANARY}).encode()
    yield json.dumps({**ASKED, "stop": [CANARY] * 9, "metadata": {CANARY: [CANARY]}}).encode()
    yield json.dumps({"messages": [{"role": "user", "content": CANARY * 100_000}]}).encode()
    yield b'{"messages": [{"role": "user", "content": "\\ud800 ' + CANARY.encode() + b'"}]}'
    yield CANARY.encode("utf-16")


def test_requests_that_are_wrong(logged):
    with client_of() as client:
        for body in wrong_bodies():
            for path in (CHAT, "/v1/completions", "/api/compare", "/api/citations"):
                reply = client.post(path, content=body, headers={"content-type": "application/json"})
                assert 400 <= reply.status_code < 500
        for path in (f"/api/generations/{CANARY}/rating", f"/{CANARY}?q={CANARY}", f"/page/{CANARY}"):
            assert client.put(path, json={"thumb": 1, "comment": CANARY}).status_code >= 400


def sse(*lines):
    return httpx.Response(
        200, text="".join(f"data: {line}\n\n" for line in lines), headers={"content-type": "text/event-stream"}
    )


REFUSED = json.dumps({"error": {"message": f"cannot answer {CANARY}", "code": CANARY, "type": CANARY}})
BEGUN = json.dumps({"choices": [{"index": 0, "delta": {"content": CANARY}}]})


@pytest.mark.parametrize(
    "reply",
    [
        *(httpx.Response(status, text=REFUSED, headers={"retry-after": "카".encode(), "x-prompt": CANARY.encode()})
          for status in (302, 400, 401, 404, 413, 422, 429, 500, 502, 503)),
        httpx.Response(500, text=f"Traceback: {CANARY}"),
        httpx.ConnectError(f"refused {CANARY}"),
        httpx.RemoteProtocolError(f"illegal header {CANARY}"),
        sse(BEGUN),
        sse(BEGUN, REFUSED),
        sse(BEGUN, f"{{broken {CANARY}"),
        sse(f'["{CANARY}"]'),
        httpx.Response(200, text=f"<html>{CANARY}"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("stream", [False, True])
def test_upstreams_that_repeat_the_prompt_in_their_refusal(logged, reply, stream):
    def answer(request):
        if request.url.path == "/v1/models":
            return httpx.Response(200, json={"data": [{"id": "tuned"}]})
        if isinstance(reply, Exception):
            raise reply
        return reply

    with client_of(UpstreamEngine(Upstream("http://127.0.0.1:9/v1"), httpx.MockTransport(answer))) as client:
        client.post(CHAT, json={**ASKED, "stream": stream})


class FailingEngine(EchoEngine):
    """Fails with the prompt's words: before it answers, or in the middle."""

    def __init__(self, late):
        super().__init__(pause=0.001 * late)
        self._late = late

    async def open(self, task):
        if not self._late:
            raise ValueError(task.messages[-1]["content"])
        return await super().open(task)

    async def _pieces(self, task):
        async for piece in super()._pieces(task):
            yield piece
            raise ValueError(f"in the middle of {task.messages[-1]['content']}")


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("path", [CHAT, f"{CHAT}?stream", "/api/compare"])
def test_engines_that_fail(logged, late, path):
    """And whoever asked is told: no stream stays open for ever."""
    with client_of(FailingEngine(late)) as client:
        body = {**ASKED, "store": True, "stream": path.endswith("stream")}
        reply = client.post(path, json=body)
        assert "the engine failed" in reply.text if late else reply.status_code == 500
        assert client.app.state.service.engine.load().running == 0


class FailingChecker:
    def find(self, text):
        raise KeyError(text)


def test_checkers_that_fail(logged):
    with client_of(checker=FailingChecker()) as client:
        assert client.post("/api/citations", json={"text": CANARY}).status_code == 500


def broken_by_rule(store):
    """PostgreSQL tells the whole row that breaks a rule."""
    rules = (("generations", "answer"), ("feedback", "comment"))
    with store.engine.execution_options(writing=True).begin() as connection:
        for table, column in rules:
            if connection.dialect.name == "postgresql":
                connection.execute(text(f"ALTER TABLE {table} ADD CHECK (length({column}) < 0) NOT VALID"))
            else:
                connection.execute(
                    text(f"CREATE TRIGGER no_{table} BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'no'); END")
                )


def broken_by_loss(store):
    """The tables are gone."""
    with store.engine.execution_options(writing=True).begin() as connection:
        for table in ("generations", "feedback", "pairs"):
            connection.execute(text(f"ALTER TABLE {table} RENAME TO was_{table}"))


@pytest.mark.parametrize("breaks", [broken_by_rule, broken_by_loss])
def test_stores_that_fail(logged, store, breaks):
    said = {"thumb": -1, "comment": CANARY}
    with client_of(store=store) as client:
        kept = client.post(CHAT, json={**ASKED, "store": True}).json()["id"]
        breaks(store)
        assert client.post(CHAT, json={**ASKED, "store": True}).status_code == 200
        client.post("/api/compare", json={**ASKED, "store": True})
        assert client.put(f"/api/generations/{kept}/rating", json=said).status_code == 503
        assert client.put(f"/api/generations/{kept}/edit", json={"text": CANARY}).status_code == 503
        assert "mnatune_feedback_store_errors_total 0.0" not in client.get("/metrics").text


def test_no_log_call_of_the_server_takes_an_exceptions_text():
    """`log_failure` does it. Following promotions alone may log one whole: no request is within its reach."""
    found = []
    for room in ("service", "model"):
        for file in (Path(mnatune.__file__).parent / room).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                    texts = node.func.attr == "exception" or any(word.arg == "exc_info" for word in node.keywords)
                    found += [f"{file.name}:{node.lineno}"] if texts else []
    assert [place.partition(":")[0] for place in found] == ["model_desk.py"]
