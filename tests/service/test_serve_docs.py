"""docs/api.md is run against a live server: every curl command and the openai example, fields compared with those shown."""

import json
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from served_app import make_app

from mnatune.model.engine.echo import EchoEngine
from mnatune.service.keys import KeyStore, KeyTerms
from mnatune.service.service import Settings

TEXT = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", TEXT, re.S)
SHOWN = [(code, shown, kind) for (shell, code), (kind, shown) in pairwise(BLOCKS)
         if shell == "sh" and code.startswith("curl") and kind != "sh"]  # fmt: skip
(PYTHON,) = [code for kind, code in BLOCKS if kind == "python" and "langchain" not in code]


@pytest.fixture
def run(serve_live, tmp_path):
    """Runs an example's command on a server with the example's models; returns what it prints."""
    store = KeyStore(tmp_path / "keys.json")
    _, secret = store.create("reader", KeyTerms())
    engine = EchoEngine(("starter-tuned", "starter"))
    server = serve_live(make_app(engine, keys=store, settings=Settings(require_keys=True)))

    def run(*command):
        command = [part.replace("http://127.0.0.1:8000", server.url) for part in command]
        environment = os.environ | {"MNATUNE_KEY": secret}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120)
        return done.stdout

    return run


def fields(value):
    """The names of a JSON value's fields, all the way down; of a list, those of its first element."""
    if isinstance(value, dict):
        return {name: fields(inner) for name, inner in value.items()}
    return [fields(inner) for inner in value[:1]] if isinstance(value, list) else None


def events(text):
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]


@pytest.mark.parametrize(("code", "shown", "kind"), SHOWN, ids=range(len(SHOWN)))
def test_a_curl_command_gets_the_fields_that_are_shown(run, code, shown, kind):
    got = run("bash", "-c", code)
    if kind == "json":
        assert fields(json.loads(got)) == fields(json.loads(shown))
    elif "/metrics" in code:
        told = [set(re.findall(r"^mnatune_engine\w+|^\{.*\}$", text, re.M)) for text in (got, shown)]
        assert told[0] == told[1] != set()
    else:
        ours, theirs = events(got), events(shown)
        assert [fields(ours[0]), fields(ours[-1])] == [fields(theirs[0]), fields(theirs[-1])]
        assert got.rstrip().endswith("data: [DONE]")


def test_the_openai_example_runs(run):
    pytest.importorskip("openai", reason="the openai client is not installed")
    lines = run(sys.executable, "-c", PYTHON).splitlines()
    assert lines[0] == "['starter-tuned', 'starter']"
    assert lines[2] == "True"
    assert [line.split()[:2] for line in lines[-2:]] == [["NotFoundError", "404"], ["BadRequestError", "400"]]


def test_nothing_is_left_to_show():
    assert len(SHOWN) >= 9
