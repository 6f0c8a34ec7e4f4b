"""The door: who is let in without a key, connections that bring nothing, errors in the request's own words."""

import contextlib
import resource
import socket
import stat

import httpx
import pytest
from fastapi.testclient import TestClient
from served_app import make_app

from mnatune.model.engine.echo import EchoEngine
from mnatune.service import connections, gate
from mnatune.service.feedback.store import FeedbackStore
from mnatune.service.keys import KeyStore, KeyTerms

CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "합병?"}]


@pytest.fixture
def client():
    with TestClient(make_app()) as made:
        yield made


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"])
def test_without_a_key_nothing_that_a_proxy_passes_on_is_answered(client, header):
    """Behind a proxy everybody's address is loopback: the whole world would be administrator."""
    for path in ("/", "/v1/models", "/api/page"):
        reply = client.get(path, headers={header: "203.0.113.7"})
        assert (reply.status_code, reply.json()["error"]["code"]) == (403, "keyless_behind_proxy")


def test_with_a_key_a_proxy_is_welcome(tmp_path):
    store = KeyStore(tmp_path / "keys.json")
    _, secret = store.create("김")
    with TestClient(make_app(keys=store)) as client:
        headers = {"authorization": f"Bearer {secret}", "x-forwarded-for": "203.0.113.7"}
        assert client.get("/v1/models", headers=headers).status_code == 200


def test_every_request_of_a_key_is_limited(tmp_path):
    store = KeyStore(tmp_path / "keys.json")
    _, secret = store.create("김", KeyTerms(requests_per_minute=2))
    with TestClient(make_app(keys=store)) as client:
        headers = {"authorization": f"Bearer {secret}"}
        codes = [client.get("/api/page", headers=headers).status_code for _ in range(25)]
        assert codes[:20] == [200] * 20
        assert set(codes[20:]) == {429}
        assert client.get("/v1/models", headers=headers).status_code == 200  # answers have a limit of their own


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (CHAT, {"messages": HELLO, "stop": ["a", "b", "c", "d", "e"]}, "stop"),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages.0.content.0.type"),
        (CHAT, {"messages": [{"role": "user", "content": None}]}, "messages.0"),
        (CHAT, {"messages": [{"role": "user"}]}, "messages.0"),
        (CHAT, {"messages": HELLO, "temperature": "hot"}, "temperature"),
        (CHAT, {}, "messages"),
        ("/v1/completions", {"prompt": ["a", "b", "c", "d", "e"]}, "prompt"),
        ("/v1/completions", {"prompt": None}, "prompt"),
    ],
)
def test_an_error_names_the_field_in_the_requests_words(client, path, body, field):
    error = client.post(path, json=body).json()["error"]
    assert error["param"] == field
    assert not any(word in error["message"] for word in ("function", "_whole", "list[", "0x", "Value error"))


@pytest.mark.parametrize("silent", [{"content": None}, {}, {"content": None, "tool_calls": None, "refusal": None}])
def test_an_earlier_answer_without_text_counts_as_empty(client, silent):
    turns = [*HELLO, {"role": "assistant", **silent}, {"role": "user", "content": "더"}]
    assert client.post(CHAT, json={"messages": turns}).status_code == 200


@pytest.mark.parametrize(
    "name", ["stream", "model", "stream_options", "n", "stop", "user", "metadata", "seed", "top_p"]
)
def test_a_field_that_is_null_is_not_given(client, name):
    reply = client.post(CHAT, json={"messages": HELLO, name: None})
    assert reply.status_code == 200
    assert reply.json()["object"] == "chat.completion"


def test_a_trailing_slash_asks_for_no_model(client):
    assert client.get("/v1/models/").status_code == 404


def test_connections_that_send_no_request_are_closed_and_others_are_not(serve_live, monkeypatch):
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)
    server = serve_live(make_app(EchoEngine(pause=0.2)), **connections.settings())
    host, port = server.url.removeprefix("http://").split(":")
    silent, slow = (socket.create_connection((host, int(port)), 5) for _ in range(2))
    slow.sendall(b"GET /healthz HTTP/1.1\r\nHost: ")
    reply = httpx.post(f"{server.url}{CHAT}", json={"messages": [{"role": "user", "content": "말 " * 8}]}, timeout=30)
    assert reply.status_code == 200  # it took longer than a request's headers may
    for one in (silent, slow):
        one.settimeout(10)
        assert one.recv(1) == b""
        one.close()


def test_too_many_connections_push_out_the_oldest_idle_one(serve_live, monkeypatch):
    monkeypatch.setattr(connections, "most_connections", lambda: 3)
    server = serve_live(make_app(EchoEngine(pause=0.05)), **connections.settings())
    host, port = server.url.removeprefix("http://").split(":")
    idle = [socket.create_connection((host, int(port)), 5) for _ in range(6)]
    assert httpx.post(f"{server.url}{CHAT}", json={"messages": HELLO}, timeout=30).status_code == 200
    idle[0].settimeout(10)
    with contextlib.suppress(ConnectionResetError):
        assert idle[0].recv(1) == b""
    for one in idle:
        one.close()


def test_a_body_that_trickles_in_is_given_up(serve_live, monkeypatch):
    monkeypatch.setattr(gate, "BODY_SECONDS", 0.2)
    server = serve_live(make_app())
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 5) as one:
        one.sendall(f"POST {CHAT} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 100\r\n\r\n{{".encode())
        one.settimeout(10)
        assert b" 408 " in one.recv(200)


def test_a_connection_between_requests_stays_open_longer_than_proxies_keep_theirs():
    assert connections.settings()["timeout_keep_alive"] > 60


def test_the_file_limit_is_raised_and_bounds_the_connections():
    connections.raise_file_limit()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert soft == resource.RLIM_INFINITY or soft >= min(connections.FILES, hard)
    assert 64 <= connections.most_connections() <= max(64, soft // 2)


def test_the_feedback_database_is_its_owners_alone(tmp_path):
    store = FeedbackStore(str(tmp_path / "feedback.db"), str)
    modes = {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.glob("feedback.db*")}
    store.close()
    assert modes == {0o600}


def test_a_database_error_says_nothing_of_what_was_to_be_written(tmp_path):
    store = FeedbackStore(str(tmp_path / "feedback.db"), str)
    assert store.engine.hide_parameters
    store.close()
