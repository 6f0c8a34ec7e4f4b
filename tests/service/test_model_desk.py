"""Loading, unloading and promoting registered models on a running server: by API, from the command line, over a restart."""

import asyncio

import pytest
from served_app import live
from typer.testing import CliRunner

from mnatune.cli import app as cli
from mnatune.model.registry import Lineage, Registry
from mnatune.service.evidence import LawEvidence
from mnatune.service.keys import KeyStore, KeyTerms, Wall
from mnatune.service.server import ServeOptions, build

HELLO = [{"role": "user", "content": "합병이란?"}]


@pytest.fixture
def house(tiny_model, tiny_adapters, tmp_path, monkeypatch):
    """A registry with two models of the tiny base, and a key over all walls; no law memory, which takes seconds to warm."""
    monkeypatch.setattr(LawEvidence, "of", lambda pack: LawEvidence(None, None))
    return House(tiny_model, tiny_adapters, tmp_path)


class House:
    def __init__(self, model, adapters, folder):
        self.registry = Registry(folder / "models")
        self.models = [self.registry.register(adapter, Lineage(base=str(model))) for adapter in adapters]
        self.keys = KeyStore(folder / "keys.json")
        self.key = self.keys.create("boss", KeyTerms(0, 0, 0, admin=True))[1]
        self.options = ServeOptions(
            registry=self.registry.root, base=str(model), keys=self.keys.path, feedback="", port=0, adapters=1
        )

    def run(self, server, *arguments, key=None):
        env = {"MNATUNE_KEY": self.key if key is None else key, "MNATUNE_SERVER": server.url}
        return CliRunner().invoke(cli, ["models", *arguments], env=env)


def call(server, method, path, key, body=None):
    import httpx

    return httpx.request(
        method, server.url + path, json=body, headers={"authorization": f"Bearer {key}"}, timeout=60, trust_env=False
    )


def served(server, key):
    return [model["id"] for model in call(server, "GET", "/v1/models", key).json()["data"]]


def answer(server, key, model):
    body = {"model": model, "messages": HELLO, "max_tokens": 8, "temperature": 0}
    reply = call(server, "POST", "/v1/chat/completions", key, body)
    return reply.json()["choices"][0]["message"]["content"] if reply.status_code == 200 else reply.status_code


def test_models_are_loaded_and_unloaded_while_the_server_runs(house):
    one, two = house.models
    house.keys.put_wall(Wall("han", ("han-tuned",)))
    kim = house.keys.create("kim", KeyTerms(0, 0, 0, wall="han"))[1]
    base = house.options.base.rpartition("/")[2]
    with live(build(house.options)) as server:
        assert answer(server, kim, "han-tuned") == 404
        done = house.run(server, "load", one.name[:6], "han-tuned")
        assert done.exit_code == 0, done.output
        assert f"{one.name} is served as han-tuned" in done.output
        assert house.run(server, "load", two.name).exit_code == 0  # one place for two adapters
        assert served(server, kim) == ["han-tuned", two.name, base]
        answers = [answer(server, house.key, name) for name in ("han-tuned", two.name, base, "han-tuned")]
        assert len(set(answers)) == 3
        assert answers[0] == answers[3]
        assert house.run(server, "unload", two.name).exit_code == 0
        assert answer(server, house.key, two.name) == 404
    with live(build(house.options)) as server:  # what was loaded is served again
        assert served(server, house.key) == ["han-tuned", base]
        assert answer(server, kim, "") == answers[0]
    assert [(e["action"], e["model"], e["reason"]) for e in house.registry.history()[2:]] == [
        ("load", one.name, "as han-tuned"), ("load", two.name, f"as {two.name}"), ("unload", two.name, f"as {two.name}"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["load", "abcdef"], "there is no model"),
        (["load", "ONE", "production"], "cannot be called 'production'"),
        (["unload", "production"], "no loaded model"),
        (["unload", "nothing"], "no loaded model"),
    ],
)
def test_what_cannot_be_done_is_told_and_changes_nothing(house, arguments, told):
    with live(build(house.options)) as server:
        before = served(server, house.key)
        done = house.run(server, *[house.models[0].name if word == "ONE" else word for word in arguments])
        assert done.exception.exit_code == 2
        assert told in str(done.exception)
        assert served(server, house.key) == before
        assert house.run(server, "load", house.models[0].name, key="mna_wrong").exception.exit_code == 2
    assert house.registry.served == {}


def test_a_changed_model_is_neither_loaded_nor_served_again(house):
    one, two = house.models
    with live(build(house.options)) as server:
        assert house.run(server, "load", one.name, "han").exit_code == 0
        with (two.adapter / "adapter_model.safetensors").open("ab") as weights:
            weights.write(b"x")
        assert house.run(server, "load", two.name, "dul").exception.exit_code == 2
        assert "han" in served(server, house.key)
    with (one.adapter / "adapter_config.json").open("a") as config:
        config.write(" ")
    with live(build(house.options)) as server:  # the others are served all the same
        assert "han" not in served(server, house.key)


def test_a_promotion_by_the_page_needs_a_reason_and_is_followed(house):
    one, _ = house.models
    app = build(house.options)
    with live(app) as server:
        refused = call(server, "PUT", "/api/admin/production", house.key, {"model": one.name})
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "model_refused")
        body = {"model": one.name, "reason": "두 평가자가 검토함"}
        assert call(server, "PUT", "/api/admin/production", house.key, body).status_code == 200
        asyncio.run(app.state.follow.look())
        assert served(server, house.key)[0] == "production"
        facts = call(server, "GET", "/api/admin/models", house.key).json()
        assert [model["name"] for model in facts["registered"] if model["production"]] == [one.name]
    assert house.registry.history()[-1]["reason"] == "두 평가자가 검토함"
