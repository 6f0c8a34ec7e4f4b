"""The commands around the loop, as typed: feedback, models, export, improve; each error says what to do next."""

import json

import pytest
from typer.testing import CliRunner

from mnatune.cli import app
from mnatune.model.registry import Lineage, Registry
from mnatune.pack import Pack
from mnatune.runs.errors import MnatuneError, UsageError
from mnatune.service.feedback.sink import Edit, Generation, Rating
from mnatune.service.feedback.store import open_store


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def invoke(*words):
        result = CliRunner().invoke(app, list(words))
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.output

    return invoke


@pytest.fixture
def said(tmp_path):
    """A store with one correction and one thumb of one user."""
    pack = Pack.load("mna_ko")
    store = open_store(str(tmp_path / "feedback.db"), pack)
    turns = [{"role": "system", "content": pack.system_prompt}, {"role": "user", "content": "포합주식이란 무엇입니까?"}]
    facts = ("key:a", "tuned", "starter", "", "", turns, "010-1234-5678", {}, "stop", 1, 1, True, 1.0, 0.1, 0.0)
    store.save_generation(Generation("g", "c", *facts))
    store.edit(Edit("g", "key:a", "합병회사가 가진 피합병회사의 주식입니다."))
    store.rate(Rating("g", "key:a", -1))
    store.close()


def test_review_export_and_erase(run, said, tmp_path):
    listed = run("feedback", "list")
    assert "2 of 2" in listed
    for line in listed.splitlines()[:-1]:
        run("feedback", "review", line.split()[0], "approved", "--reviewer", "admin")
    assert "nothing is open" in run("feedback", "list")
    assert "up  down" in run("feedback", "stats")
    told = run("feedback", "export", "--out", "out")
    rows = {line.split()[0]: line.split()[1] for line in told.splitlines() if line.split()[0].endswith(".jsonl")}
    assert rows == {"train.jsonl": "1", "preferences.jsonl": "1", "unpaired.jsonl": "1"}
    exported = json.loads((tmp_path / "out" / "manifest.json").read_text())["export"]
    assert "1234-5678" not in "".join(p.read_text() for p in (tmp_path / "out").iterdir())
    gone = run("feedback", "delete-user", "key:a", "--yes")
    assert "1 answers" in gone
    assert exported[:12] in gone
    assert "0 answers" in run("feedback", "retain")


def test_models(run, tmp_path):
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    (adapter / "adapter_model.safetensors").write_bytes(b"w")
    model = Registry(tmp_path / "models").register(adapter, Lineage(base="starter", verdict={"verdict": "hold"}))
    assert "the base serves alone" in run("models", "list")
    with pytest.raises(UsageError, match="hold"):
        run("models", "promote", model.name)
    run("models", "promote", model.name[:5], "--override", "시험")
    assert f"* {model.name}" in run("models", "list")
    assert json.loads(run("models", "show", model.name))["base"] == "starter"
    assert "the base serves alone again" in run("models", "rollback")


@pytest.mark.parametrize(
    "words",
    [
        ("feedback", "list", "--state", "new"),
        ("feedback", "review", "none", "approved", "--reviewer", "a"),
        ("models", "show", "none"),
        ("export", "merged", "--out", "x"),
        ("export", "vllm", "--out", "x", "--run", "a", "--model", "b"),
        ("export", "gguf", "--out", "x", "--run", "none"),
        ("improve", "quickstart", "--out", "x"),
        ("improve", "quickstart", "--out", "x", "--from", "none"),
    ],
)
def test_every_mistake_is_told_in_words(run, words):
    with pytest.raises(MnatuneError) as told:
        run(*words)
    assert told.value.exit_code in (2, 3)
