"""Tasks of lm-evaluation-harness: asked of both models, paired item by item, part of table and verdict."""

import json
import sys
from pathlib import Path

import pytest

from mnatune.model.endpoint.fake import FakeEndpoint
from mnatune.model.engine.local import LocalEngine
from mnatune.pack import Pack
from mnatune.runs.errors import DataError, EnvironmentFault
from mnatune.runs.recipe import EvaluateSection, Recipe
from mnatune.runs.workspace import Run
from mnatune.stages.evaluate import evaluate
from mnatune.stages.evaluate.general_guards import Harness, guard_rows, guard_tasks


@pytest.fixture(scope="module")
def scores(own_pack: Pack, engine: LocalEngine) -> dict[str, dict]:
    harness = Harness(own_pack)
    return {model: harness.in_process(engine, model) for model in ("base", "tuned")}


def test_every_item_of_every_task_gets_a_score_under_both_models(own_pack: Pack, scores: dict[str, dict]) -> None:
    for found in scores.values():
        assert {task: len(items) for task, items in found.items()} == {"own_choice": 12, "own_generated": 12}
        assert set(found["own_choice"].values()) <= {0.0, 1.0}
    assert scores["base"]["own_choice"] != scores["tuned"]["own_choice"]  # the adapter is off in one, on in the other


def test_base_and_tuned_are_paired_item_by_item(own_pack: Pack) -> None:
    base = {"own_choice": {str(n): float(n % 4 < 2) for n in range(40)}, "own_generated": {"0": 1.0}}
    tuned = {"own_choice": {str(n): float(n % 4 < 1) for n in range(44)}, "own_generated": {"1": 1.0}}
    [row] = guard_rows(own_pack, base, tuned)  # the other task has no item in common
    assert (row["name"], row["guard"], row["difference"]["n"]) == ("own_choice", True, 40)
    assert (row["base"]["value"], row["tuned"]["value"], row["difference"]["value"]) == (50, 25, -25)
    assert row["detectable"] > 0


def test_a_server_gets_the_tasks_that_generate_and_scores_the_same(
    own_pack: Pack, own_server: str, scores: dict[str, dict]
) -> None:
    found = Harness(own_pack, "generate").served(own_server, "base-tuned")
    assert found == {"own_generated": scores["tuned"]["own_generated"]}


def test_the_servers_key_goes_along(own_pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNATUNE_API_KEY", "geheim")
    with FakeEndpoint(lambda body: "3") as server:
        found = Harness(own_pack, "generate", limit=2).served(server.base_url, "m")
        assert server.served.keys == {"bearer geheim"}
    assert len(found["own_generated"]) == 2


def test_guards_are_part_of_table_and_verdict(tmp_path: Path, trained, perform, recipe: Recipe, own_pack: Pack) -> None:
    section = EvaluateSection(items=2, exam=False, guards=4)
    folder = perform(trained(tmp_path / "run"), recipe.model_copy(update={"evaluate": section}), evaluate, own_pack)
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    rows = {row["name"]: row for row in metrics["metrics"] if row["area"] == "guard"}
    assert rows.keys() == {"own_choice", "own_generated"}
    assert all(row["difference"]["p"] <= row["difference"]["p_holm"] for row in rows.values())
    assert metrics["counts"]["harness"]["tasks"] == ["own_choice", "own_generated"]
    assert not rows.keys() & {row["name"] for row in metrics["not_computed"]}
    stored = json.loads((folder / "guards.json").read_text(encoding="utf-8"))
    assert {model: len(found["own_choice"]) for model, found in stored.items()} == {"base": 4, "tuned": 4}
    guards = sum(row["guard"] for row in metrics["metrics"])
    reasons = " ".join(json.loads((folder / "verdict.json").read_text(encoding="utf-8"))["reasons"])
    worse = [row for row in metrics["metrics"] if row["guard"] and row["label"] in reasons]
    assert worse or f"{guards}개" in reasons


def test_missing_data_are_told_before_anything_is_answered(tmp_path: Path, trained, perform, recipe: Recipe) -> None:
    """The bundled tasks take theirs from the hub, which tests may not reach."""
    section = EvaluateSection(items=2, guards=100)
    run: Run = trained(tmp_path / "run")
    with pytest.raises(EnvironmentFault, match="kmmlu_direct_law") as fault:
        perform(run, recipe.model_copy(update={"evaluate": section}), evaluate)
    assert fault.value.exit_code == 4
    assert "evaluate.guards: off" in fault.value.next_step
    assert not (run.folder("evaluate") / "state").exists()


def test_the_bundled_list_names_tasks_that_the_harness_has(pack: Pack) -> None:
    from lm_eval.tasks import TaskManager

    assert {task["task"] for task in guard_tasks(pack)} <= set(TaskManager().all_tasks)
    areas = ("law", "accounting", "taxation", "economics", "kbl", "click", "haerae")
    assert all(any(area in task["task"] for task in guard_tasks(pack)) for area in areas)


def test_an_unknown_task_or_metric_is_told(
    own_pack: Pack, engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = own_pack.yaml("evaluate.yaml")
    monkeypatch.setattr(Pack, "yaml", lambda self, name: words)
    words["guards"][0]["metric"] = "acc,other-filter"
    with pytest.raises(DataError, match="no scores"):
        Harness(own_pack, limit=2).in_process(engine, "base")
    words["guards"][0]["task"] = "own_chioce"
    with pytest.raises(DataError, match="own_chioce"):
        Harness(own_pack)


def test_without_the_extra_the_cure_is_named(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval.tasks", None)
    with pytest.raises(EnvironmentFault) as fault:
        Harness(pack)
    assert "lm-eval" in fault.value.next_step
