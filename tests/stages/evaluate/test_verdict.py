"""The rule that ends an evaluation."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnatune.pack import Pack
from mnatune.runs.errors import UsageError
from mnatune.runs.job import Job
from mnatune.runs.recipe import Recipe
from mnatune.runs.workspace import Manifest, Run, Stage
from mnatune.stages.evaluate import evaluate
from mnatune.stages.evaluate.computable import check
from mnatune.stages.evaluate.metrics import Sample
from mnatune.stages.evaluate.verdict import decide, guard_state, guard_states, margin_of, most_changed, with_usability


def row(name: str, low: float, value: float, high: float, kind: str = "higher", guard: bool = False) -> dict[str, Any]:
    return {
        "name": name, "label": name, "kind": kind, "unit": "percent", "guard": guard, "detectable": 3.0,
        "base": {"value": 50.0}, "tuned": {"value": 50.0 + value},
        "difference": {"value": value, "low": low, "high": high, "n": 200},
    }  # fmt: skip


BETTER = row("chrf", 1, 3, 5)


@pytest.mark.parametrize(
    ("rows", "verdict"),
    [
        ([BETTER], "promote"),
        ([row("chrf", -1, 3, 7)], "hold"),
        ([row("chrf", -7, -3, -1)], "reject"),
        ([row("chrf", -5, -3, -1, kind="lower")], "promote"),
        ([BETTER, row("stop_rate", -1.9, -1, 0, guard=True)], "promote"),  # passed
        ([BETTER, row("stop_rate", -6, -2.1, 1, guard=True)], "promote"),  # open: too few items to tell
        ([BETTER, row("stop_rate", -6, -3, -1, guard=True)], "hold"),  # worse, but perhaps within the margin
        ([BETTER, row("stop_rate", -9, -6, -3, guard=True)], "reject"),  # failed
        ([BETTER, row("false_citations", 3, 18, 33, kind="lower", guard=True)], "reject"),
        ([row("chrf", -1, 3, 7), row("false_citations", 3, 18, 33, kind="lower", guard=True)], "reject"),
        ([BETTER, row("kana", 1, 30, 50, kind="lower")], "promote"),  # no guard
        ([BETTER, row("kmmlu_law", -9, -5, -2.5, guard=True)], "reject"),  # a guard that is no metric of ours
    ],
)
def test_rule(rows: list[dict[str, Any]], verdict: str) -> None:
    found = decide(rows, "chrf", 2.0)
    assert found["verdict"] == verdict
    assert len(found["reasons"]) >= 2
    assert len(found["guards"]) == sum(one["guard"] for one in rows)


INTERVALS = st.tuples(st.floats(-50, 50), st.floats(0, 30), st.floats(0, 30))


@settings(deadline=None)
@given(INTERVALS, st.floats(0.1, 20))
def test_a_guard_is_in_one_state_and_more_items_never_undo_it(
    interval: tuple[float, float, float], margin: float
) -> None:
    """Narrowing the interval around the estimate keeps a guard that failed or passed in its state."""
    value, below, above = interval
    state = guard_state(row("g", value - below, value, value + above), margin).state
    narrow = guard_state(row("g", value - below / 3, value, value + above / 3), margin).state
    assert state in ("failed", "worse", "passed", "open")
    if state in ("failed", "passed"):
        assert narrow == state
    if state == "worse":
        assert narrow != "passed"
    mirrored = guard_state(row("g", -value - above, -value, -value + below, kind="lower"), margin).state
    assert mirrored == state


def test_one_guard_of_many_may_look_worse_by_chance_unless_serious_harm_is_possible() -> None:
    """Alone it holds a model; among nine that did not change it is chance; an interval that reaches five margins holds anyway."""
    worse, serious = row("g", -4.6, -2.4, -0.2), row("g", -10.2, -5.2, -0.2)
    same = [row(f"g{at}", -1, 0, 1) for at in range(9)]
    sure = row("g", -4.4, -2.9, -1.4)
    assert [guard_states([one], 2.0)[0].state for one in (worse, serious, sure)] == ["worse"] * 3
    assert [guard_states([one, *same], 2.0)[0].state for one in (worse, serious, sure)] == ["open", "worse", "worse"]
    assert [guard.row["name"] for guard in guard_states([worse, *same], 2.0)] == ["g", *(f"g{at}" for at in range(9))]


def test_margins_by_name_and_relative() -> None:
    one = row("false_citations", 1, 4, 9, kind="lower", guard=True)
    assert margin_of(one, 2.0) == 2
    assert margin_of(one, {"default": 3, "loss": 1}) == 3
    assert margin_of(one, {"false_citations": "10%"}) == pytest.approx(5)
    assert margin_of(one, {"loss": 1}) == 2
    assert decide([BETTER, one], "chrf", 2)["verdict"] == "hold"
    assert decide([BETTER, one], "chrf", {"false_citations": 0.5})["verdict"] == "reject"
    assert decide([BETTER, one], "chrf", {"false_citations": "20%"})["verdict"] == "promote"


def test_an_open_guard_names_the_items_it_takes() -> None:
    found = decide([BETTER, row("stop_rate", -6, -2.1, 1, guard=True)], "chrf", 2.0)
    assert found["guards"][0]["needed"] == 450  # 200 items find 3.0 points; 2.0 take (3/2)² times as many
    assert any("450문항" in reason for reason in found["reasons"])


def test_a_better_model_that_is_unusable_is_held() -> None:
    found = decide([BETTER], "chrf", 2.0)
    held = with_usability(found, [BETTER], {"chrf": {"at_least": 60}})
    assert (held["verdict"], held["usable"]["met"]) == ("hold", False)
    assert "60.0% 이상" in held["usable"]["reasons"][0]
    assert with_usability(found, [BETTER], {"chrf": {"at_least": 40, "at_most": 60}})["verdict"] == "promote"
    rejected = decide([row("chrf", -7, -3, -1)], "chrf", 2.0)
    assert with_usability(rejected, [BETTER], {"chrf": {"at_least": 60}})["verdict"] == "reject"


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
        ({"guard_margin": {"false_citation": 1}}, "no such metric"),
        ({"guard_margin": -1}, "guard_margin of default"),
        ({"guard_margin": {"loss": "5x"}}, "guard_margin of loss"),
        ({"guard_margin": {"loss": -1}}, "guard_margin of loss"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(pack: Pack, section: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        check(Recipe.model_validate({"name": "t", "evaluate": section}), pack)
