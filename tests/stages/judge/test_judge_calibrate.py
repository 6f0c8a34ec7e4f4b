"""Calibration against human labels, and the estimate before the first call."""

import json
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from known_rows import endpoint, knowing, make_rows, make_run
from sklearn.metrics import cohen_kappa_score

from mnatune.model.endpoint.fake import FakeEndpoint
from mnatune.runs.errors import DataError, UsageError
from mnatune.runs.recipe import Recipe
from mnatune.runs.workspace import Run
from mnatune.stages.judge import calibrate, estimate
from mnatune.stages.judge.calibrate import quadratic_kappa, read_labels


def labels(path: Path, lines: list[str], encoding: str = "utf-8") -> Path:
    path.write_text("\n".join(["question,answer,score", *lines]), encoding=encoding)
    return path


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=60))
def test_kappa_agrees_with_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    ours, theirs = (np.array(side, dtype=float) * 20 for side in zip(*pairs, strict=True))
    expected = cohen_kappa_score(ours, theirs, weights="quadratic", labels=[0, 20, 40, 60, 80, 100])
    if not np.isnan(expected):
        assert quadratic_kappa(ours, theirs) == pytest.approx(expected)


def test_a_judge_that_agrees_is_said_to_agree(tmp_path: Path) -> None:
    rows, useful = make_rows(60, 0.4)
    file = labels(tmp_path / "l.csv", [f'"{r.question}","{r.answer}",{90 if r.id in useful else 5}' for r in rows])
    with FakeEndpoint(knowing(useful)) as server:
        sections = {"judge": {"scorer": "llm"}, "endpoint": endpoint(server.base_url, tmp_path)}
        facts = calibrate(Recipe.model_validate({"name": "t", **sections}), file)
    assert facts["confusion"] == {"both": len(useful), "judge_only": 0, "human_only": 0, "neither": 60 - len(useful)}
    assert facts["spearman"]["low"] <= facts["spearman"]["value"] <= facts["spearman"]["high"]
    assert facts["spearman"]["value"] > 0.7
    assert facts["quadratic_kappa"]["value"] > 0.8


def test_people_who_give_one_score_make_correlation_undefined(tmp_path: Path) -> None:
    rows, _ = make_rows(20, 0.4)
    facts = calibrate(Recipe(name="t"), labels(tmp_path / "l.csv", [f'"{r.question}","{r.answer}",50' for r in rows]))
    assert facts["spearman"] == {"value": None, "low": None, "high": None}


@pytest.mark.parametrize(("line", "where"), [("가,나,120", ":2"), ("가,나,네", ":2"), ("가,나", ":2")])
def test_a_wrong_score_names_its_line(tmp_path: Path, line: str, where: str) -> None:
    with pytest.raises(DataError) as caught:
        read_labels(labels(tmp_path / "l.csv", [line]))
    assert caught.value.where.endswith(where)


def test_labels_in_cp949_are_read_and_a_missing_column_is_named(tmp_path: Path) -> None:
    rows, scores = read_labels(labels(tmp_path / "l.csv", ["합병이란?,둘이 하나가 됩니다,70"], "cp949"))
    assert (rows[0]["question"], scores) == ("합병이란?", [70.0])
    (tmp_path / "m.csv").write_text("question,score\n가,1\n", encoding="utf-8")
    with pytest.raises(DataError, match="answer"):
        read_labels(tmp_path / "m.csv")


def test_the_estimate_prices_every_plan_before_any_call(tmp_path: Path) -> None:
    rows, _ = make_rows(4000, 0.1, plain=0.0)
    limits = {"prices": (1.0, 2.0), "per_minute": (100, 10**6)}
    recipe = Recipe.model_validate({"name": "t", "model": {"id": "starter"}, "endpoint": limits})
    facts = estimate(recipe, make_run(tmp_path, rows))
    plans = facts["plans"]
    assert facts["rows"] == 4000
    assert plans["all"]["calls"] >= 4000 > plans["prefiltered"]["calls"] > 400
    assert plans["cascade_least"]["calls"] <= plans["cascade_most"]["calls"] <= 600
    for plan in plans.values():
        assert plan["cost"] == pytest.approx((plan["tokens_in"] + 2 * plan["tokens_out"]) / 1e6, abs=0.01)
        assert plan["hours"] >= plan["calls"] / 100 / 60 - 0.01


def test_the_command_line_tells_the_price_and_judges_nothing(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from mnatune.cli import app

    run = make_run(tmp_path, make_rows(300, 0.1)[0])
    done = CliRunner().invoke(app, ["judge", "quickstart", "--out", str(tmp_path), "--estimate"])
    assert done.exit_code == 0, done.output
    assert all(plan in done.output for plan in ("every row", "rows with a term", "cascade, at most"))
    assert not run.folder("judge").exists()
    told = CliRunner().invoke(app, ["judge", "quickstart", "--out", str(tmp_path), "--estimate", "--json"])
    assert json.loads(told.output)["rows"] == 300


def test_the_estimate_needs_curated_rows(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="curate"):
        estimate(Recipe(name="t"), Run(tmp_path))


@pytest.mark.parametrize("sign", ["\u2028", "\u2029", "\x85", "\v", "\f", "\n"])
def test_a_label_may_hold_any_line_separator(tmp_path: Path, sign: str) -> None:
    rows, scores = read_labels(
        labels(tmp_path / "l.csv", [f"합병{sign}이란?,나,70" if sign != "\n" else '"합병\n이란?",나,70'])
    )
    assert ([row["question"] for row in rows], scores) == ([f"합병{sign}이란?"], [70.0])


def test_each_set_of_labels_and_each_model_spends_under_its_own_name(tmp_path: Path) -> None:
    rows, useful = make_rows(24, 0.4)
    lines = [f'"{r.question}","{r.answer}",{90 if r.id in useful else 5}' for r in rows]
    with FakeEndpoint(knowing(useful)) as server:
        for size, model in ((12, "one"), (24, "one"), (24, "two")):
            section = endpoint(server.base_url, tmp_path, model=model)
            recipe = Recipe.model_validate({"name": "t", "judge": {"scorer": "llm"}, "endpoint": section})
            calibrate(recipe, labels(tmp_path / f"{size}.csv", lines[:size]))
    with sqlite3.connect(tmp_path / "ledger.sqlite3") as base:
        spent = dict(base.execute("SELECT run, calls FROM spending"))
    assert sorted(spent.values()) == [12, 12, 24]
