"""Walls between matters: what one key uses, says and stores is not there for a key behind another wall."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient
from served_app import make_app

from mnatune.law import LawIndex
from mnatune.law.building import build as build_memory
from mnatune.model.engine.echo import EchoEngine
from mnatune.model.evidence_prompt import EvidenceWords
from mnatune.pack import Pack
from mnatune.runs.errors import DataError, UsageError
from mnatune.service.evidence import LawEvidence
from mnatune.service.feedback.datasets import Options, export, known_of
from mnatune.service.keys import KeyStore, KeyTerms, Wall
from mnatune.service.service import Settings

PACK = Pack.load("mna_ko")
CHAT = "/v1/chat/completions"
SERVED = ("production", "han-tuned", "dul-tuned", "base")
ROLES = {"user": {}, "reviewer": {"reviewer": True}, "admin": {"admin": True}}
SECRET = "한빛인수대금팔백억"


@pytest.fixture
def firm(tmp_path):
    """Keys of every role behind two walls and behind none, on one server; `ask` and `call` act as one of them."""
    return Firm(tmp_path)


class Firm:
    def __init__(self, folder, law=None):
        self.keys = KeyStore(folder / "keys.json")
        self.keys.put_wall(Wall("han", ("han-tuned",), str(folder / "han")))
        self.keys.put_wall(Wall("dul", ("dul-tuned",), str(folder / "dul")))
        self.raters, self.secrets = {}, {}
        for wall in ("han", "dul", ""):
            for role, given in ROLES.items():
                key, secret = self.keys.create(f"{wall}-{role}", KeyTerms(0, 0, 0, **given, wall=wall))
                self.raters[wall, role], self.secrets[wall, role] = f"key:{key.id}", secret
        engine = EchoEngine(SERVED)
        self.app = make_app(engine, self.keys, Settings(system=PACK.system_prompt, require_keys=True), law=law)
        self.client = TestClient(self.app)

    def call(self, who, method, path, body=None):
        return self.client.request(method, path, json=body, headers={"authorization": f"Bearer {self.secrets[who]}"})

    def ask(self, who, question, model="", **more):
        messages = [{"role": "user", "content": question}]
        return self.call(who, "POST", CHAT, {"model": model, "messages": messages, "store": True, **more})

    def get(self, who, path):
        return self.call(who, "GET", path).json()

    def stored(self, who, question):
        """An answer that is stored and rated, with a secret in the question and in the comment; its id."""
        made = self.ask(who, question).json()["id"]
        said = {"thumb": -1, "comment": question}
        assert self.call(who, "PUT", f"/api/generations/{made}/rating", said).status_code == 204
        return made


def names(firm, who):
    return [model["id"] for model in firm.get(who, "/v1/models")["data"]]


def test_a_key_sees_its_walls_models_then_the_common_ones(firm):
    assert names(firm, ("han", "user")) == ["han-tuned", "production", "base"]
    assert names(firm, ("dul", "admin")) == ["dul-tuned", "production", "base"]
    assert names(firm, ("", "user")) == ["production", "base"]
    assert names(firm, ("", "admin")) == list(SERVED)
    assert firm.get(("han", "user"), "/api/page")["models"] == names(firm, ("han", "user"))
    assert firm.ask(("han", "user"), "합병이란?").json()["model"] == "han-tuned"
    assert firm.ask(("", "user"), "합병이란?").json()["model"] == "production"


@pytest.mark.parametrize("who", [("dul", "user"), ("dul", "admin"), ("", "user"), ("", "reviewer")])
def test_a_foreign_model_is_answered_like_an_unknown_one(firm, who):
    for ask in (
        lambda name: firm.ask(who, "합병이란?", name),
        lambda name: firm.ask(who, "합병이란?", name, stream=True),
        lambda name: firm.call(who, "POST", "/v1/completions", {"model": name, "prompt": "합병"}),
        lambda name: firm.call(who, "GET", f"/v1/models/{name}"),
    ):
        foreign, unknown = ask("han-tuned"), ask("no-such-model")
        assert foreign.status_code == unknown.status_code == 404
        assert foreign.text == unknown.text
        assert "han-tuned" not in foreign.text


def test_a_model_that_is_unloaded_this_moment_names_no_foreign_ones(firm, monkeypatch):
    engine = firm.app.state.service.engine
    served = engine.models()
    monkeypatch.setattr(engine, "_models", [model for model in served if model.id != "han-tuned"])
    monkeypatch.setattr(engine, "models", lambda: served)
    refused = firm.ask(("han", "user"), "합병이란?", "han-tuned")
    assert refused.status_code == 404
    assert "dul-tuned" not in refused.text


def test_a_comparison_takes_the_walls_own_models(firm):
    body = {"messages": [{"role": "user", "content": "합병이란?"}], "store": True}
    text = firm.call(("han", "user"), "POST", "/api/compare", body).text
    pair = json.loads(text.split("data: ", 1)[1].split("\n", 1)[0])["pair"]
    picked = firm.call(("han", "user"), "PUT", f"/api/pairs/{pair}/choice", {"choice": "left"}).json()
    assert set(picked.values()) == {"han-tuned", "production"}
    assert firm.get(("dul", "admin"), "/api/admin/reviews")["total"] == 0
    assert firm.get(("han", "admin"), "/api/admin/reviews")["total"] == 1
    assert firm.get(("dul", "admin"), "/api/admin/usage")["days"] == []


def test_what_is_stored_is_seen_behind_its_wall_and_over_all_of_them_only(firm):
    made = {wall: firm.stored((wall, "user"), f"{wall}{SECRET}") for wall in ("han", "dul", "")}
    for wall in ("han", "dul", ""):
        desk = firm.get((wall, "reviewer"), "/api/rating")
        assert [item["id"] for item in desk["items"]] == [made[wall]]
        assert firm.call((wall, "reviewer"), "PUT", f"/api/rating/{made[wall]}", {"grade": 4}).status_code == 204
    over_all = ("", "admin")
    for path, count in (("reviews", lambda told: told["total"]), ("usage", lambda told: len(told["days"]))):
        assert count(firm.get(over_all, f"/api/admin/{path}")) == 3
        for wall in ("han", "dul"):
            assert count(firm.get((wall, "admin"), f"/api/admin/{path}")) == 1
            assert count(firm.get(over_all, f"/api/admin/{path}?wall={wall}")) == 1
        assert count(firm.get(over_all, f"/api/admin/{path}?wall=")) == 1
    for path in ("/api/admin/reviews.csv", "/api/rating/sheet.csv"):
        sheets = {wall: firm.call((wall, "admin"), "GET", path).text for wall in ("han", "dul")}
        assert f"han{SECRET}" in sheets["han"]
        assert f"han{SECRET}" not in sheets["dul"]
    assert {row["rater"] for row in firm.get(over_all, "/api/admin/agreement")["raters"]} == {
        firm.raters[wall, "reviewer"] for wall in ("han", "dul", "")
    }
    assert [row["rater"] for row in firm.get(("dul", "admin"), "/api/admin/agreement")["raters"]] == [
        firm.raters["dul", "reviewer"]
    ]


@pytest.mark.parametrize("path", ["usage", "reviews", "reviews.csv", "agreement"])
def test_a_foreign_wall_is_answered_like_an_unknown_one(firm, path):
    foreign, unknown = (firm.call(("dul", "admin"), "GET", f"/api/admin/{path}?wall={wall}") for wall in ("han", "x"))
    assert (foreign.status_code, foreign.text) == (unknown.status_code, unknown.text)
    assert foreign.status_code == 404
    assert firm.call(("", "admin"), "GET", f"/api/admin/{path}?wall=x").status_code == 404
    assert firm.call(("dul", "admin"), "GET", f"/api/admin/{path}?wall=dul").status_code == 200


def test_nothing_of_another_wall_can_be_changed(firm):
    made = firm.stored(("han", "user"), SECRET)
    item = firm.get(("han", "admin"), "/api/admin/reviews")["items"][0]["id"]
    for who in (("dul", "admin"), ("dul", "reviewer")):
        for path, body in ((f"/api/rating/{made}", {"grade": 1}), (f"/api/generations/{made}/edit", {"text": "다름"})):
            foreign = firm.call(who, "PUT", path, body)
            unknown = firm.call(who, "PUT", path.replace(made, "chatcmpl-none"), body)
            assert (foreign.status_code, foreign.text) == (unknown.status_code, unknown.text)
            assert foreign.status_code == 404
    admin = ("dul", "admin")
    decided = [firm.call(admin, "PUT", f"/api/admin/reviews/{one}", {"state": "rejected"}) for one in (item, "none")]
    assert decided[0].status_code == 404
    assert decided[0].text == decided[1].text
    bulk = firm.call(admin, "PUT", "/api/admin/reviews", {"items": [item], "state": "rejected"}).json()
    assert bulk == {"done": [], "unknown": [item]}
    for role in ROLES:
        assert firm.call(admin, "DELETE", f"/api/admin/raters/{firm.raters['han', role]}").json() == {"deleted": 0}
    assert firm.get(("han", "admin"), "/api/admin/reviews")["total"] == 1
    assert firm.call(("han", "admin"), "DELETE", f"/api/admin/raters/{firm.raters['han', 'user']}").json() == {
        "deleted": 1
    }


def test_who_sees_over_all_walls_leaves_a_matters_answers_behind_its_wall(firm):
    firm.ask(("", "admin"), SECRET, "han-tuned")
    assert firm.get(("han", "reviewer"), "/api/rating")["total"] == 1
    assert firm.get(("", "reviewer"), "/api/rating")["total"] == 0


def test_the_page_lists_walls_to_those_who_may_see_them(firm):
    own = firm.get(("dul", "admin"), "/api/admin/walls")["walls"]
    assert [wall["name"] for wall in own] == ["dul"]
    assert [key["role"] for key in own[0]["keys"]] == ["user", "reviewer", "admin"]
    assert [wall["name"] for wall in firm.get(("", "admin"), "/api/admin/walls")["walls"]] == ["", "han", "dul"]
    assert firm.call(("han", "reviewer"), "GET", "/api/admin/walls").status_code == 403
    for method, path in (("GET", "models"), ("PUT", "models/x"), ("DELETE", "models/x"), ("PUT", "production")):
        refused = firm.call(("dul", "admin"), method, f"/api/admin/{path}", {"model": "abc"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "all_walls_only")


def test_metrics_name_no_walled_model(firm):
    firm.ask(("han", "user"), "합병이란?")
    firm.ask(("", "user"), "합병이란?")
    told = firm.client.get("/metrics").text
    assert 'model="production"' in told
    assert "han-tuned" not in told


def document_memory(folder, documents):
    """Build a law memory that holds nothing but documents, given as (title, text)."""
    rows = [{"title": title, "text": text, "in_force": "", "source": None} for title, text in documents]
    table = folder.parent / f"{folder.name}.parquet"
    pq.write_table(pa.Table.from_pylist(rows), table)
    build_memory([table], folder, PACK)


def test_documents_are_evidence_behind_their_wall_only(tmp_path):
    """The echo engine answers with what it was given, so whatever evidence it got can be seen."""
    for wall in ("han", "dul"):
        document_memory(tmp_path / wall, [(f"{wall} 계약", f"주식매매계약의 진술보장 조항은 {wall}비밀이다.")])
    law = LawEvidence(LawIndex(PACK.root / "law"), EvidenceWords.of(PACK.prompts))
    firm = Firm(tmp_path, law)
    question = "주식매매계약의 진술보장 조항은?"
    for wall, own in (("han", ["han"]), ("dul", ["dul"]), ("", [])):
        reply = firm.ask((wall, "user"), question, evidence=True)
        found = [p for p in reply.json()["evidence"]["passages"] if p["kind"] == "document"]
        assert [p["title"] for p in found] == [f"{name} 계약" for name in own]
        assert [name for name in ("han", "dul") if f"{name}비밀" in reply.text] == own
    (tmp_path / "han" / "law.json").write_text("{", encoding="utf-8")  # damaged: answered without
    document_memory(tmp_path / "dul", [("새 계약", "진술보장 조항은 새비밀이다.")])  # built anew: followed
    reply = firm.ask(("han", "user"), question, evidence=True).json()
    assert reply["evidence"]["status"] == "found"
    assert all(p["kind"] == "article" for p in reply["evidence"]["passages"])
    assert "새비밀" in firm.ask(("dul", "user"), question, evidence=True).text


def test_feedback_of_a_matter_becomes_training_rows_of_that_matter_alone(firm, tmp_path):
    made = {
        wall: firm.ask((wall, "user"), f"{wall} 질문: 합병의 절차를 설명해 주십시오.").json()["id"]
        for wall in ("han", "")
    }
    for wall, generation in made.items():
        firm.call((wall, "reviewer"), "PUT", f"/api/rating/{generation}", {"grade": 4})
    store = firm.app.state.service.feedback
    for wall, other in (("han", ""), ("", "han")):
        result = export(store.within(wall), tmp_path / f"out-{wall}", known_of(PACK, None), Options())
        assert (result.rows["unpaired.jsonl"], result.dropped) == (1, {"other-wall": 1})
        text = (tmp_path / f"out-{wall}" / "unpaired.jsonl").read_text(encoding="utf-8")
        assert f"{wall} 질문" in text
        assert not other or f"{other} 질문" not in text


def test_a_file_without_walls_stays_as_it_was_and_keys_of_before_are_behind_none(tmp_path):
    store = KeyStore(tmp_path / "keys.json")
    store.create("kim")
    rows = json.loads(store.path.read_text(encoding="utf-8"))
    for row in rows:
        del row["wall"]
    store.path.write_text(json.dumps(rows), encoding="utf-8")
    assert [key.wall for key in store.all()] == [""]
    store.put_wall(Wall("han", ("m",)))
    assert [key.name for key in store.all()] == ["kim"]
    assert store.walls == {"han": Wall("han", ("m",))}


def test_a_key_of_an_unknown_wall_is_not_made_and_not_let_in(tmp_path):
    store = KeyStore(tmp_path / "keys.json")
    with pytest.raises(UsageError, match="there is no wall 'han'"):
        store.create("kim", KeyTerms(wall="han"))
    store.put_wall(Wall("han"))
    _, secret = store.create("kim", KeyTerms(wall="han"))
    assert store.find(secret)
    held = json.loads(store.path.read_text(encoding="utf-8"))
    store.path.write_text(json.dumps({**held, "walls": []}), encoding="utf-8")
    assert KeyStore(store.path).find(secret) is None
    store.path.write_text('{"walls": [{}]}', encoding="utf-8")
    with pytest.raises(DataError):
        store.all()
    assert KeyStore(store.path).find(secret) is None


@pytest.mark.parametrize("name", ["", " han", "x" * 81])
def test_a_wall_has_a_name_that_can_be_told(tmp_path, name):
    with pytest.raises(UsageError, match="1 to 80"):
        KeyStore(tmp_path / "keys.json").put_wall(Wall(name))


def test_walls_are_set_up_and_listed_from_the_command_line(tmp_path):
    from typer.testing import CliRunner

    from mnatune.cli import app

    def run(*arguments):
        done = CliRunner().invoke(app, ["keys", *arguments, "--file", str(tmp_path / "keys.json")])
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.stdout

    with pytest.raises(UsageError, match="there is no wall"):
        run("create", "kim", "han")
    document_memory(tmp_path / "han", [("계약", "진술보장 조항")])
    run("wall", "han", "han-tuned", "han-short", "--documents", str(tmp_path / "han"))
    secret = run("create", "kim", "han").strip()
    assert KeyStore(tmp_path / "keys.json").find(secret).wall == "han"
    listed = run("list")
    assert "kim  wall han" in listed
    assert f"wall han: models han-tuned, han-short  documents {tmp_path / 'han'}" in listed
    with pytest.raises(UsageError, match="holds no documents"):
        run("wall", "han", "--documents", str(PACK.root / "law"))


def test_a_store_of_before_keeps_everything_behind_no_wall(firm):
    """The schema goes back to what it was without walls, with rows in it, and forward again."""
    from alembic import command
    from alembic.config import Config

    from mnatune.service.feedback import database

    firm.stored(("", "user"), "합병이란?")
    before = firm.app.state.service.feedback
    config = Config()
    config.set_main_option("script_location", str(Path(database.__file__).parent / "migrations"))
    with before.engine.execution_options(writing=True).begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0001")
        database.migrate(connection)
    page = before.within("").review_queue()
    assert [(item.value, item.comment) for item in page.items] == [("down", "합병이란?")]
    assert before.within("han").review_queue().total == 0
