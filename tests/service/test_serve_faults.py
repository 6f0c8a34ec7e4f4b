"""What the server must survive: poison, floods, wrong keys, clients that leave, and being told to stop."""

import json
import logging
import signal
import socket
import subprocess
import sys
import threading
import time

import httpx
import pytest
from fastapi.testclient import TestClient
from served_app import make_app, wait_for

from mnatune.model.engine.echo import EchoEngine
from mnatune.service.keys import KeyStore, KeyTerms
from mnatune.service.service import LOOPBACK_HOSTS, Settings

CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "합병 계약의 비밀 조항"}]
JSON = {"content-type": "application/json"}


def asking(content):
    return json.dumps({"messages": [{"role": "user", "content": content}]}).encode()


POISON = {
    "a million characters": (asking("가" * 1_000_000), 400),
    "NaN temperature": (b'{"messages": [{"role": "user", "content": "x"}], "temperature": NaN}', 400),
    "a thousand million answers": (b'{"messages": [{"role": "user", "content": "x"}], "n": 1000000000}', 400),
    "an empty prompt": (asking(""), 400),
    "a lone surrogate": (b'{"messages": [{"role": "user", "content": "\\ud800"}]}', 400),
    "nesting 10,000 deep": (b'{"messages": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", 400),
    "a number of 10,000 digits": (b'{"messages": [], "n": ' + b"9" * 10_000 + b"}", 400),
    "no JSON": (b"\xff\xfe{", 400),
    "20 MB": (asking("x" * 20_000_000), 413),
}


@pytest.mark.parametrize(("body", "status"), POISON.values(), ids=POISON.keys())
def test_poison_is_refused_quickly_while_another_request_succeeds(serve_live, body, status):
    server = serve_live(make_app(EchoEngine(pause=0.05)))
    results = []

    def good():
        results.append(httpx.post(f"{server.url}{CHAT}", json={"messages": HELLO}, timeout=30))

    other = threading.Thread(target=good)
    other.start()
    reply = httpx.post(f"{server.url}{CHAT}", content=body, headers=JSON, timeout=30)
    other.join()
    assert reply.status_code == status
    assert reply.json()["error"]["type"] == "invalid_request_error"
    assert results[0].json()["choices"][0]["message"]["content"] == HELLO[0]["content"]


def test_a_body_of_undeclared_length_is_cut_too():
    with TestClient(make_app(settings=Settings(max_body=1000))) as client:
        reply = client.post(CHAT, content=iter([b"x" * 600] * 4), headers=JSON)
    assert reply.status_code == 413
    assert reply.json()["error"]["message"].startswith("the body is larger")


def test_200_clients_that_leave_in_mid_stream_free_everything(serve_live):
    engine = EchoEngine(pause=0.05, reply=lambda task: "말 " * 10_000)
    server = serve_live(make_app(engine))
    host, port = server.url.removeprefix("http://").split(":")
    body = json.dumps({"messages": HELLO, "stream": True}).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    clients = [socket.create_connection((host, int(port)), timeout=20) for _ in range(200)]
    for client in clients:
        client.sendall(request)
    for client in clients:
        assert client.recv(200).startswith(b"HTTP/1.1 200")
    assert server.gauge("mnatune_answers_in_flight") == 200
    for client in clients:
        client.close()
    assert wait_for(lambda: server.gauge("mnatune_answers_in_flight") == 0, 5)
    assert wait_for(lambda: engine.load().running == 0, 1)
    assert 'outcome="cancelled"} 200.0' in server.service.metrics.render().decode()


def test_a_client_that_leaves_before_a_whole_answer_frees_the_engine(serve_live):
    engine = EchoEngine(pause=0.05, reply=lambda task: "말 " * 10_000)
    server = serve_live(make_app(engine))
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{server.url}{CHAT}", json={"messages": HELLO}, timeout=0.3)
    assert wait_for(lambda: engine.load().running == 0 and server.gauge("mnatune_answers_in_flight") == 0, 5)


def test_sigterm_finishes_the_answer_in_flight_and_takes_no_new_one(tmp_path):
    script = (
        "from mnatune.service.server import ServeOptions, serve\n"
        f"serve(ServeOptions(echo=True, port=0, keyless=True, feedback='', keys=__import__('pathlib').Path({str(tmp_path)!r}) / 'k'),"
        " ready=lambda address: print(address, flush=True))\n"
    )
    server = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        url = server.stdout.readline().strip()
        long = " ".join(f"말{i}" for i in range(60))
        body = {"messages": [{"role": "user", "content": long}], "stream": True}
        with httpx.stream("POST", f"{url}{CHAT}", json=body, timeout=30) as reply:
            lines = reply.iter_lines()
            next(lines)
            server.send_signal(signal.SIGTERM)
            rest = list(lines)
        assert rest[-2] == "data: [DONE]"
        assert sum("말" in line for line in rest) == 60
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{url}/healthz")
        assert server.wait(20) in (0, -signal.SIGTERM)
    finally:
        server.kill()
        server.wait()


def test_while_draining_a_kept_connection_gets_503():
    app = make_app()
    with TestClient(app) as client:
        app.state.service.draining = True
        assert client.post(CHAT, json={"messages": HELLO}).status_code == 503
        assert client.get("/readyz").json() == {"status": "draining"}


class Clock:
    """A clock that tests can turn."""

    def __init__(self):
        self.now = time.time()

    def __call__(self):
        return self.now


@pytest.fixture
def keyed(tmp_path):
    clock = Clock()
    store = KeyStore(tmp_path / "keys.json", clock)
    with TestClient(make_app(keys=store, settings=Settings(require_keys=True))) as client:
        yield client, store, clock


def bearer(secret):
    return {"authorization": f"Bearer {secret}"}


@pytest.mark.parametrize("path", ["/v1/models", "/api/admin/usage"])
def test_without_a_valid_key_nothing_is_answered(keyed, path):
    client, store, clock = keyed
    _, secret = store.create("a", KeyTerms(days=1, admin=True))
    assert client.get(path, headers=bearer(secret)).status_code == 200
    for headers in ({}, bearer("mna_wrong"), bearer(secret[:-1]), {"authorization": secret}):
        reply = client.get(path, headers=headers)
        assert reply.status_code == 401
        assert reply.json()["error"]["code"] == "invalid_api_key"
        assert reply.headers["www-authenticate"] == "Bearer"
    clock.now += 86_401
    assert client.get(path, headers=bearer(secret)).status_code == 401


def test_a_revoked_key_is_refused_without_a_restart(keyed, monkeypatch):
    client, store, _ = keyed
    key, secret = store.create("a")
    assert client.get("/v1/models", headers=bearer(secret)).status_code == 200
    KeyStore(store.path).revoke(key.id)  # another process, the CLI
    monkeypatch.setattr("mnatune.service.keys.RECHECK", 0.0)
    assert client.get("/v1/models", headers=bearer(secret)).status_code == 401


def test_a_wrong_key_is_refused_before_the_body_is_read(keyed):
    client, _, _ = keyed
    reply = client.post(CHAT, content=b"{" * 5_000_000, headers=JSON)
    assert reply.status_code == 401


def test_only_administrators_see_the_admin_api(keyed):
    client, store, _ = keyed
    _, plain = store.create("user")
    assert client.get("/api/admin/usage", headers=bearer(plain)).status_code == 403
    assert client.get("/api/page", headers=bearer(plain)).json()["admin"] is False
    assert client.get("/api/page").json() == {"title": "mnatune", "signed_in": False}


def test_over_the_limit_of_requests_comes_429_with_a_time_to_wait(keyed):
    client, store, _ = keyed
    _, secret = store.create("a", KeyTerms(requests_per_minute=3))
    statuses = [client.get("/v1/models", headers=bearer(secret)).status_code for _ in range(5)]
    assert statuses == [200] * 3 + [429] * 2
    refused = client.get("/v1/models", headers=bearer(secret))
    assert 1 <= int(refused.headers["retry-after"]) <= 61
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    _, other = store.create("b")
    assert client.get("/v1/models", headers=bearer(other)).status_code == 200


def test_every_generated_answer_counts_as_a_request(tmp_path):
    store = KeyStore(tmp_path / "keys.json")
    several = {"messages": HELLO, "n": 4}
    raw = {"prompt": ["합병", "분할"], "n": 2}
    pair = {"messages": HELLO, "store": True}
    with TestClient(make_app(EchoEngine(("tuned", "base")), store)) as client:
        for path, body, answers in ((CHAT, several, 4), ("/v1/completions", raw, 4), ("/api/compare", pair, 2)):
            _, secret = store.create(path, KeyTerms(requests_per_minute=answers))
            assert client.post(path, json=body, headers=bearer(secret)).status_code == 200
            assert client.post(path, json=body, headers=bearer(secret)).status_code == 429, path


def test_tokens_are_charged_and_debt_is_waited_off(keyed):
    client, store, _ = keyed
    _, secret = store.create("a", KeyTerms(tokens_per_minute=50))
    body = {"messages": [{"role": "user", "content": "말 " * 60}]}
    assert client.post(CHAT, json=body, headers=bearer(secret)).status_code == 200
    refused = client.post(CHAT, json=body, headers=bearer(secret))
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 30


def test_keys_are_stored_as_hashes_only_and_for_the_owner_only(keyed):
    _, store, _ = keyed
    key, secret = store.create("a")
    text = store.path.read_text()
    assert secret not in text
    assert secret[len(key.shown) :] not in text
    assert store.path.stat().st_mode & 0o077 == 0


def test_a_damaged_file_of_keys_lets_nobody_in(keyed, monkeypatch):
    client, store, _ = keyed
    _, secret = store.create("a")
    monkeypatch.setattr("mnatune.service.keys.RECHECK", 0.0)
    store.path.write_text("{")
    assert client.get("/v1/models", headers=bearer(secret)).status_code == 401


def test_no_text_of_a_request_reaches_the_logs(caplog):
    caplog.set_level(logging.DEBUG)
    with TestClient(make_app()) as client:
        for body in ({"messages": HELLO}, {"messages": HELLO, "n": 99}, {"messages": HELLO, "store": True}):
            client.post(CHAT, json=body)
            client.post(CHAT, json={**body, "stream": True})
    ours = [record for record in caplog.records if record.name.startswith(("mnatune", "uvicorn"))]
    assert any("/v1/chat/completions" in record.getMessage() for record in ours)
    assert all("비밀" not in record.getMessage() for record in caplog.records)


def test_without_keys_other_sites_and_host_names_are_refused():
    with TestClient(make_app(settings=Settings(hosts=LOOPBACK_HOSTS)), base_url="http://127.0.0.1:8000") as client:
        body = {"messages": HELLO}
        assert client.post(CHAT, json=body).status_code == 200
        assert client.post(CHAT, json=body, headers={"origin": "http://127.0.0.1:8000"}).status_code == 200
        assert client.post(CHAT, json=body, headers={"origin": "https://evil.example"}).status_code == 403
        assert client.get("/v1/models", headers={"host": "evil.example"}).status_code == 403


def test_every_answer_has_a_strict_content_security_policy():
    with TestClient(make_app()) as client:
        for path in ("/", "/admin", "/page/chat.js", "/v1/models", "/none"):
            policy = client.get(path).headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert client.get(path).headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", ["..%2fapp.py", "%2e%2e%2fkeys.py", "app.py", "chat.js%00"])
def test_only_the_pages_own_files_are_served(name):
    with TestClient(make_app()) as client:
        assert client.get(f"/page/{name}").status_code == 404
