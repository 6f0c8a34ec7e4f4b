"""From options to a server: who may be let in, what is refused, and following promotions."""

import asyncio
import json
import socket
from types import SimpleNamespace

import pytest
from fastapi.testclient import TestClient

from mnatune.model.engine.local import open_engine
from mnatune.model.engine.protocol import Sampling, Task
from mnatune.model.engine.scheduler import BatchLimits
from mnatune.model.engine.upstream import Upstream
from mnatune.model.registry import Lineage, Pointer, Registry
from mnatune.runs.errors import EnvironmentFault, UsageError
from mnatune.service import model_desk, server
from mnatune.service.keys import KeyStore
from mnatune.service.model_desk import PointerFollower
from mnatune.service.server import ServeOptions, build, serve


def options(tmp_path, **more):
    return ServeOptions(
        **{"keys": tmp_path / "keys.json", "feedback": "", "echo": True, "port": 0, "keyless": True, **more}
    )


def test_other_machines_are_let_in_only_with_keys(tmp_path):
    for host in ("0.0.0.0", "192.168.0.7", "::"):
        with pytest.raises(UsageError, match="without API keys") as refused:
            build(options(tmp_path, host=host))
        assert "keys create" in refused.value.next_step
    KeyStore(tmp_path / "keys.json").create("kim")
    assert models_status(build(options(tmp_path, host="0.0.0.0"))) == 401


def models_status(app, **more):
    with TestClient(app, base_url=more.pop("base", "http://127.0.0.1")) as client:
        return client.get("/v1/models", **more).status_code


def test_on_loopback_an_existing_key_is_required_and_otherwise_only_loopback_names_are_served(tmp_path):
    assert models_status(build(options(tmp_path))) == 200
    assert models_status(build(options(tmp_path)), base="http://evil.example") == 403
    KeyStore(tmp_path / "keys.json").create("kim")
    assert models_status(build(options(tmp_path))) == 401


def test_a_first_key_closes_a_running_server_for_good(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("mnatune.service.keys.RECHECK", 0.0)
    with TestClient(build(options(tmp_path)), base_url="http://127.0.0.1") as client:
        assert "there is no API key" in caplog.text
        assert client.get("/api/admin/usage").status_code == 200
        _, secret = KeyStore(tmp_path / "keys.json").create("kim")  # another process, the CLI
        assert client.get("/api/admin/usage").status_code == 401
        assert client.get("/v1/models").status_code == 401
        assert client.get("/v1/models", headers={"authorization": f"Bearer {secret}"}).status_code == 200
        (tmp_path / "keys.json").unlink()
        assert client.get("/v1/models").status_code == 401


def test_a_door_without_a_key_is_opened_only_when_asked(tmp_path):
    with pytest.raises(UsageError, match="there is no API key") as refused:
        serve(options(tmp_path, keyless=False))
    assert "--keyless" in refused.value.next_step
    assert "keys create" in refused.value.next_step
    KeyStore(tmp_path / "keys.json").create("kim")
    with pytest.raises(UsageError, match="who answers"):  # with a key it goes on
        serve(options(tmp_path, keyless=False, echo=False))


def test_exactly_one_source_of_answers_must_be_named(tmp_path):
    for more in ({"echo": False}, {"registry": tmp_path}, {"upstream": Upstream("http://127.0.0.1:1/v1")}):
        with pytest.raises(UsageError, match="who answers"):
            build(options(tmp_path, **more))
    with pytest.raises(UsageError, match="not a run folder"):
        build(options(tmp_path, echo=False, run=tmp_path))


def test_a_taken_port_is_told_before_anything_is_loaded(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EnvironmentFault, match=f"port {port}"):
            serve(options(tmp_path, echo=False, run=tmp_path / "none", port=port))


def test_an_upstream_that_is_down_is_told_without_a_traceback(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(EnvironmentFault, match="does not answer"):
        serve(options(tmp_path, echo=False, upstream=Upstream(f"http://127.0.0.1:{port}/v1")))


def test_a_promotion_and_a_rollback_are_followed(tiny_model, tiny_adapters, tmp_path):
    registry = Registry(tmp_path / "models")
    one, two = (registry.register(adapter, Lineage(base=str(tiny_model))) for adapter in tiny_adapters)
    registry.promote(one.name, override="test")

    async def work():
        engine = open_engine(str(tiny_model), {"production": one.adapter})
        await engine.start()
        follower, hashes = PointerFollower(registry, engine, "production", registry.pointer), []
        try:
            for change in (lambda: None, lambda: registry.promote(two.name, override="test"), registry.rollback):
                change()
                await follower.look()
                sampling = Sampling(max_tokens=4)
                stream = await engine.open(Task("production", sampling, [{"role": "user", "content": "합병"}]))
                assert [piece async for piece in stream.pieces][-1].finish
                hashes.append(stream.model.adapter_hash)
        finally:
            await engine.stop()
            engine.close()
        return hashes

    assert asyncio.run(work()) == [one.adapter_sha256, two.adapter_sha256, one.adapter_sha256]


class Follows:
    """An engine that notes what it is told to serve."""

    def __init__(self, *_):
        self.told = []

    async def serve_adapter(self, name, adapter, *, first=False):
        self.told.append((name, adapter, first))


def registered(registry, folder, weights, recipe=None):
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_bytes(weights)
    return registry.register(folder, Lineage(base="from-lineage"), recipe=recipe)


def test_a_registered_model_is_served_as_its_recipe_says_and_a_promotion_meanwhile_is_followed(tmp_path, monkeypatch):
    recipe = tmp_path / "recipe.lock.yaml"
    lines = ["name: r", "model: {id: Org/M, revision: abc}", "generation: {temperature: 0.25, max_new_tokens: 99}"]
    recipe.write_text("\n".join([*lines, "train: {quantize: nf4}"]), encoding="utf-8")
    registry = Registry(tmp_path / "models")
    one = registered(registry, tmp_path / "one", b"1", recipe)
    two = registered(registry, tmp_path / "two", b"2", recipe)
    registry.promote(one.name, override="test")
    loaded = []

    def load(base, adapters, **values):
        loaded.append((base, adapters, values))
        registry.promote(two.name, override="test")  # while the first is being loaded
        return Follows()

    monkeypatch.setattr("mnatune.model.engine.local.open_engine", load)
    monkeypatch.setattr(server, "create_app", lambda engine, feedback, keys, settings, *_: Seen(engine, settings))
    seen = build(options(tmp_path, echo=False, registry=registry.root))
    values = {"revision": "abc", "quantize": "nf4", "name": "M", "new_tokens": 99, "limits": BatchLimits()}
    assert loaded == [("Org/M", {"production": one.adapter}, values)]
    assert seen.settings.generation.temperature == 0.25
    asyncio.run(seen.state.follow.look())
    assert seen.engine.told == [("production", two.adapter, True)]


class Seen:
    """What the application would be made of."""

    def __init__(self, engine, settings):
        self.engine, self.settings, self.state = engine, settings, SimpleNamespace(service=SimpleNamespace())


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (("starter", ""), ("starter", "starter-tuned")),
        (("Qwen/Qwen3-8B", server.PRODUCTION), ("Qwen3-8B", "production")),
        (("/models/production/", server.PRODUCTION), ("production", "production-tuned")),
    ],
)
def test_names_can_be_typed_and_differ(given, names):
    made = server._names(*given)
    assert (made.base, made.tuned) == names


def test_following_survives_any_failure(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(model_desk, "POINTER_SECONDS", 0)
    follower, looks = PointerFollower(Registry(tmp_path), Follows(), "production", Pointer()), []

    async def look():
        looks.append(1)
        if len(looks) == 1:
            raise OSError("stale file handle")
        raise asyncio.CancelledError

    monkeypatch.setattr(follower, "look", look)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(follower.run())
    assert len(looks) == 2
    assert "stale file handle" in caplog.text


def test_keys_are_shown_once_listed_without_secret_and_revoked(tmp_path):
    from typer.testing import CliRunner

    from mnatune.cli import app

    run, file = CliRunner(), str(tmp_path / "keys.json")
    secret = run.invoke(app, ["keys", "create", "김", "--file", file, "--admin"]).stdout.splitlines()[0]
    (row,) = json.loads((tmp_path / "keys.json").read_text(encoding="utf-8"))
    assert row["admin"] is True
    assert KeyStore(tmp_path / "keys.json").find(secret).name == "김"
    desk = run.invoke(app, ["keys", "create", "이", "--file", file, "--reviewer"]).stdout.splitlines()[0]
    reviewer = KeyStore(tmp_path / "keys.json").find(desk)
    assert (reviewer.reviewer, reviewer.admin) == (True, False)
    listed = run.invoke(app, ["keys", "list", "--file", file]).stdout
    assert "reviewer" in listed
    assert row["id"] in listed
    assert secret not in listed
    assert "active" in listed
    run.invoke(app, ["keys", "revoke", row["id"], "--file", file])
    assert KeyStore(tmp_path / "keys.json").find(secret) is None
    assert "revoked" in run.invoke(app, ["keys", "list", "--file", file]).stdout
