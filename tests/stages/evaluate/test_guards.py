"""Tasks of lm-evaluation-harness: what it is asked, and how its samples become paired rows."""

import sys
from types import ModuleType
from typing import Any

import pytest

from mnatune.errors import DataError, EnvironmentFault
from mnatune.pack import Pack
from mnatune.stages.evaluate.guards import guard_rows, guard_tasks, run_in_process, run_served


class Harness(ModuleType):
    """Stands in for lm_eval: remembers the call and scores every item of every task."""

    def __init__(self, score: float) -> None:
        super().__init__("lm_eval")
        self.score = score
        self.called: dict[str, Any] = {}
        self.metrics: dict[str, str] = {}

    def simple_evaluate(self, **call: Any) -> dict[str, Any]:
        self.called = call
        samples = {}
        for task in call["tasks"]:
            metric, _, chosen = self.metrics[task].partition(",")
            name = f"{task}_part" if task == "click" else task
            samples[name] = [{"doc_id": n, "filter": chosen, metric: float(n % 4 < self.score)} for n in range(40)] + [
                {"doc_id": 0, "filter": "another", metric: 1.0}
            ]
        return {"samples": samples}


@pytest.fixture
def harness(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> Harness:
    fake = Harness(2)
    fake.metrics = {task["task"]: task["metric"] for task in guard_tasks(pack)}
    monkeypatch.setitem(sys.modules, "lm_eval", fake)
    return fake


def test_a_server_gets_the_tasks_that_generate(pack: Pack, harness: Harness) -> None:
    found = run_served(pack, "http://127.0.0.1:9/v1/", "mnatune", limit=40)
    assert harness.called["model"] == "local-chat-completions"
    assert harness.called["model_args"]["base_url"] == "http://127.0.0.1:9/v1/chat/completions"
    assert found.keys() == {task["task"] for task in guard_tasks(pack, "generate")}
    assert all(task["requests"] == "generate" for task in guard_tasks(pack, "generate"))


def test_base_and_tuned_are_paired_item_by_item(pack: Pack, harness: Harness, tmp_path) -> None:
    base = run_in_process(pack, "base")
    harness.score = 1
    tuned = run_in_process(pack, "base", tmp_path)
    assert harness.called["model_args"] == {"pretrained": "base", "peft": str(tmp_path)}
    rows = guard_rows(pack, base, tuned)
    assert [row["name"] for row in rows] == [task["task"] for task in guard_tasks(pack)]
    for row in rows:
        assert row["guard"]
        assert (row["base"]["value"], row["tuned"]["value"], row["difference"]["value"]) == (50, 25, -25)
        assert row["difference"]["n"] == 40


def test_a_metric_that_the_harness_does_not_give_is_told(pack: Pack, harness: Harness) -> None:
    harness.metrics = dict.fromkeys(harness.metrics, "acc,other-filter")
    with pytest.raises((DataError, KeyError)):
        run_served(pack, "http://127.0.0.1:9/v1", "m")


def test_without_the_extra_the_cure_is_named(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(EnvironmentFault) as fault:
        run_served(pack, "http://127.0.0.1:9/v1", "m")
    assert "lm-eval" in fault.value.next_step
