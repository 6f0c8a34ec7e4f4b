"""The rule that ends an evaluation."""

from pathlib import Path
from typing import Any

import pytest

from mnatune.pack import Pack
from mnatune.runs.errors import UsageError
from mnatune.runs.job import Job
from mnatune.runs.recipe import Recipe
from mnatune.runs.workspace import Manifest, Run, Stage
from mnatune.stages.evaluate import evaluate
from mnatune.stages.evaluate.computable import check
from mnatune.stages.evaluate.metrics import Sample
from mnatune.stages.evaluate.verdict import decide, most_changed


def row(name: str, low: float, value: float, high: float, kind: str = "higher", guard: bool = False) -> dict[str, Any]:
    return {
        "name": name, "label": name, "kind": kind, "unit": "percent", "guard": guard, "detectable": 3.0,
        "base": {"value": 50.0}, "tuned": {"value": 50.0 + value},
        "difference": {"value": value, "low": low, "high": high},
    }  # fmt: skip


BETTER = row("chrf", 1, 3, 5)


@pytest.mark.parametrize(
    ("rows", "verdict"),
    [
        ([BETTER], "promote"),
        ([row("chrf", -1, 3, 7)], "hold"),
        ([row("chrf", -7, -3, -1)], "reject"),
        ([row("chrf", -5, -3, -1, kind="lower")], "promote"),
        ([BETTER, row("stop_rate", -3, -1.9, 0, guard=True)], "promote"),
        ([BETTER, row("stop_rate", -6, -2.1, 1, guard=True)], "hold"),
        ([BETTER, row("stop_rate", -6, -3, -1, guard=True)], "reject"),
        ([BETTER, row("empty", 1, 3, 5, kind="lower", guard=True)], "reject"),
        ([BETTER, row("kana", 1, 30, 50, kind="lower")], "promote"),  # no guard
        ([BETTER, row("kmmlu_law", -9, -5, -2, guard=True)], "reject"),  # a guard that is no metric of ours
    ],
)
def test_rule(rows: list[dict[str, Any]], verdict: str) -> None:
    found = decide(rows, "chrf", 2.0)
    assert found["verdict"] == verdict
    assert len(found["reasons"]) >= 2


def test_without_an_interval_nothing_is_promoted() -> None:
    lonely = {**BETTER, "difference": {"value": 3.0, "low": None, "high": None}}
    assert decide([lonely], "chrf", 2.0)["verdict"] == "hold"


def test_an_unknown_primary_metric_is_refused() -> None:
    with pytest.raises(UsageError, match="no such metric"):
        decide([BETTER], "bleu", 2.0)


def test_most_changed_in_both_directions() -> None:
    samples = [Sample("loss", str(n), "g", "t", (4.0, 1.0), (float(n), 1.0)) for n in range(9)]
    assert most_changed(samples, "loss", 2) == {"improved": ["0", "1"], "worsened": ["8", "7"]}
    assert most_changed(samples, "chrf") == {"improved": [], "worsened": []}


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ({"primary": "nosuch"}, "choose one of"),
        ({"primary": "essay"}, "endpoint.base_url"),
        ({"primary": "agreement", "samples": 0}, "evaluate.samples"),
        ({"primary": "exam_letter", "exam": False}, "evaluate.exam"),
        (
            {"primary": "loss", "answered_by": {"base": "http://x/v1#a", "tuned": "http://x/v1#b"}},
            "empty evaluate.answered",
        ),
    ],
)
def test_a_primary_metric_that_cannot_be_computed_is_refused_before_anything_is_loaded(
    tmp_path: Path, pack: Pack, section: dict[str, Any], key: str
) -> None:
    recipe = Recipe.model_validate({"name": "t", "evaluate": section})
    run = Run(tmp_path)
    job = Job(recipe, pack, run, Stage(run.folder("evaluate"), Manifest("evaluate", "", {}, {}, 42)))
    with pytest.raises(UsageError, match=r"evaluate\.primary") as refused:
        evaluate(job)
    assert key in refused.value.next_step


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({"answered_by": {"base": "http://x/v1#a"}}, "names one of two"),
        ({"answered_by": {"base": "http://x/v1#a", "tuned": "x/v1#b"}}, "not an address"),
        ({"answered_by": {"base": "http://x/v1#a", "tuned": "http://x/v1"}}, "not an address"),
        ({"labels": "l.csv"}, "needs a judge"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(section: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        check(Recipe.model_validate({"name": "t", "evaluate": section}))
