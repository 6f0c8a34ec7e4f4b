"""`mnatune runs`, the language switch, system errors in words, and commands that only look and leave nothing behind."""

import errno
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mnatune.cli import app
from mnatune.runs.errors import MnatuneError, from_system
from mnatune.runs.recipe import Recipe, save_lock
from mnatune.runs.workspace import Run, write_json

METRICS = {"metrics": [{"name": "chrf", "base": {"value": 20.0}, "tuned": {"value": 31.5}}]}


def make_run(root: Path, *, epochs: float, verdict: str = "") -> None:
    run = Run(root)
    recipe = Recipe.model_validate({"name": root.name, "train": {"epochs": epochs}})
    run.perform("train", {}, {}, 42, "", lambda place: setattr(place.manifest, "rows_in", 80))
    if verdict:

        def evaluated(place):
            write_json(place.path("verdict.json"), {"verdict": verdict, "primary": "chrf"})
            write_json(place.path("metrics.json"), METRICS)

        run.perform("evaluate", {}, {}, 42, "", evaluated)
    save_lock(recipe, root / "recipe.lock.yaml")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MNATUNE_LANG", "en")  # and what --lang sets goes with the test
    return tmp_path


def told(*words: str) -> str:
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


def test_runs_are_listed_with_figures_and_what_differs(here: Path) -> None:
    make_run(here / "runs" / "a", epochs=1, verdict="promote")
    make_run(here / "runs" / "b", epochs=3)
    (here / "runs" / "notes").mkdir()
    text = told("runs")
    assert "a  evaluate  80  promote  chrf 20.00 -> 31.50" in text
    assert "b  train  80  -  -" in text
    facts = json.loads(told("runs", "--json"))
    assert facts["settings"] == {"train.epochs": {"a": 1.0, "b": 3.0}}
    assert [run["run"] for run in facts["runs"]] == ["a", "b"]
    assert "학습 행" in told("--lang", "ko", "runs")


@pytest.mark.parametrize(
    "words",
    [("runs",), ("models", "list"), ("keys", "list"), ("feedback", "list"), ("feedback", "stats"), ("models", "show", "x"),
     ("ask", "질문", "--run", "none"), ("judge", "quickstart", "--estimate"), ("report", "none"), ("export", "hub", "a//b"),
     ("feedback", "retain"), ("models", "rollback"), ("keys", "create", " ", "--file", "keys.json"),
     ("export", "merged", "--run", "none", "--out", "o"), ("feedback", "list", "--db", "sqlite:///f.db"), ("evaluate", "--compare", "none", "other"), ("pack", "check", "none")],
)  # fmt: skip
def test_looking_creates_nothing_and_says_that_there_is_nothing(here: Path, words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, list(words))
    assert done.output.strip() or isinstance(done.exception, MnatuneError)
    assert list(here.rglob("*")) == []


@pytest.mark.parametrize("name", ["../x", "a/b/c", "한글/x", "a", "a/b..c", "a/b--c", "/", "a/", "a/b."])
def test_a_malformed_repository_is_named(here: Path, name: str) -> None:
    done = CliRunner().invoke(app, ["export", "hub", "--run", "x", "--", name])
    assert "is no repository name" in str(done.exception)


@pytest.mark.parametrize("out", ["file", "file/run", "n" * 300])
def test_a_path_that_cannot_be_a_run_folder_is_told(here: Path, out: str) -> None:
    (here / "file").touch()
    done = subprocess.run(
        [sys.executable, "-m", "mnatune", "read", "quickstart", "--out", out], capture_output=True, text=True, cwd=here
    )
    assert done.returncode == 4, done.stderr
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EMFILE])
def test_what_the_system_refuses_is_said_in_words(code: int) -> None:
    fault = from_system(OSError(code, "x", "/data/run"))
    assert fault is not None
    assert fault.where == "/data/run"
    assert fault.next_step
    assert from_system(OSError(errno.EPIPE, "x")) is None


def test_short_help_and_an_unknown_language() -> None:
    for words in (["-h"], ["models", "-h"], ["models", "list", "-h"]):
        assert "Usage:" in told(*words)
    assert "one of ko, en" in str(CliRunner().invoke(app, ["--lang", "fr", "runs"]).exception)
    assert "--show-completion" in told("-h")


@pytest.mark.parametrize(
    ("language", "line", "reason"), [("en", "6 dropped", "short answer"), ("ko", "6행 뺌", "답변이 너무 짧음")]
)
def test_a_stage_is_told_in_one_language(
    here: Path, monkeypatch: pytest.MonkeyPatch, language: str, line: str, reason: str
) -> None:
    rows = [{"question": f"{n}번째 합병 절차는 무엇인가요?", "answer": "네."} for n in range(6)]
    (here / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    (here / "r.yaml").write_text("name: t\nread: {sources: [{kind: qa, path: rows.jsonl}]}\n", encoding="utf-8")
    monkeypatch.setenv("MNATUNE_LANG", language)
    told("read", "r.yaml")
    text = told("curate", "r.yaml")
    assert line in text
    assert reason in text
    assert bool(re.search("[가-힣]", text)) == (language == "ko")
    assert not re.search("[a-z]{3}", text) or language == "en"
