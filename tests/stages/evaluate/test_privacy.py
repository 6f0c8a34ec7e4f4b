"""The privacy measure: ranks, what comes out, and what the verdict makes of it."""

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnatune.model.engine.local import LocalEngine
from mnatune.model.engine.protocol import Answer
from mnatune.pack import Pack
from mnatune.runs.job import Job
from mnatune.runs.recipe import Recipe
from mnatune.runs.workspace import Run, read_jsonl, write_jsonl
from mnatune.stages.compose.planting import canaries
from mnatune.stages.evaluate import evaluate
from mnatune.stages.evaluate.backends import LocalSide
from mnatune.stages.evaluate.computable import not_computed
from mnatune.stages.evaluate.privacy import auc, exposures, extracted, longest_run, with_privacy

CLEAN = {way: {p: {"base": 0, "tuned": 0} for p in ("question", "opening", "half")} for way in ("greedy", "sampled")}
FOUND = {
    "levels": {level: {"n": 3, "extracted": deepcopy(CLEAN)} for level in "01"},
    "masked": {"rows": 0, "base": 0, "tuned": 0},
}
PROMOTE = {"verdict": "promote", "label": "승격", "reasons": ["나아졌습니다."], "guards": []}


class Knowing:
    """An engine that finds the second choice of every list likeliest, and says what it was told to."""

    def __init__(self, engine: LocalEngine, says: str) -> None:
        self.loaded, self.says = engine.loaded, says

    def choice_costs(self, model, prompts, choices):
        return [[1.0 if at == 1 else 2.0 + at for at in range(len(row))] for row in choices]

    def answers(self, tasks):
        return [Answer(self.says, [], True) for _ in tasks]


@pytest.fixture
def job(tmp_path: Path, recipe: Recipe, pack: Pack) -> Job:
    kept: list[Job] = []
    run = Run(tmp_path)
    run.perform("evaluate", {}, {}, 1, "", lambda stage: kept.append(Job(recipe, pack, run, stage)))
    return kept[0]


def test_exposure_is_the_rank_in_bits(job: Job, engine: LocalEngine) -> None:
    secrets = [asdict(one) for one in canaries(1, 3)[:1]]
    side = LocalSide(Knowing(engine, ""), "tuned", "tuned")  # type: ignore[arg-type]
    assert exposures(job, side, secrets) == [5.0]  # second of 64


def test_a_secret_counts_only_where_its_rest_is_said(job: Job, engine: LocalEngine) -> None:
    number = asdict(canaries(1, 3)[0])
    first, second = number["secret"].split(" ")
    whole = LocalSide(Knowing(engine, f"확인번호는 {first}{second}입니다"), "tuned", "tuned")  # type: ignore[arg-type]
    rest = LocalSide(Knowing(engine, f"{second}입니다"), "tuned", "tuned")  # type: ignore[arg-type]
    assert all(hit for by in extracted(job, whole, [number])[0].values() for hit in by.values())
    assert extracted(job, rest, [number])[0]["greedy"] == {"question": False, "opening": False, "half": True}


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.lists(st.integers(0, 5), min_size=1, max_size=8))
def test_auc_is_the_share_of_pairs_in_order(a: list[int], b: list[int]) -> None:
    pairs = [1.0 if x > y else 0.5 if x == y else 0.0 for x in a for y in b]
    assert auc(a, b) == pytest.approx(sum(pairs) / len(pairs))
    assert auc(a, b) + auc(b, a) == pytest.approx(1)


def test_the_longest_run() -> None:
    assert longest_run([1, 2, 3, 9, 4, 5], [7, 2, 3, 9, 4, 8]) == 4
    assert longest_run([], [1]) == 0


def test_the_verdict_is_held_by_what_was_seen_once_and_came_out() -> None:
    assert with_privacy(PROMOTE, {}) == PROMOTE
    passed = with_privacy(PROMOTE, FOUND)
    assert (passed["verdict"], passed["guards"][0]["state"]) == ("promote", "passed")
    leaking = deepcopy(FOUND)
    leaking["levels"]["1"]["extracted"]["greedy"]["opening"]["tuned"] = 2
    held = with_privacy(PROMOTE, leaking)
    assert (held["verdict"], held["label"], held["guards"][0]["state"]) == ("hold", "보류", "worse")
    assert "답의 첫머리까지 준 탐욕 2개" in held["reasons"][-1]
    by_chance = deepcopy(leaking)
    by_chance["levels"]["0"] = deepcopy(leaking["levels"]["1"])
    assert with_privacy(PROMOTE, by_chance)["verdict"] == "promote"
    filled = deepcopy(FOUND) | {"masked": {"rows": 4, "base": 0, "tuned": 1}}
    assert with_privacy(PROMOTE, filled)["verdict"] == "hold"
    assert with_privacy({**PROMOTE, "verdict": "reject"}, leaking)["verdict"] == "reject"


def test_servers_cannot_be_measured_and_it_is_said(recipe: Recipe, pack: Pack) -> None:
    sections = {"compose": recipe.compose.model_copy(update={"canaries": 2})}
    sections["evaluate"] = recipe.evaluate.model_copy(update={"answered_by": {"base": "http://a/v1#b"}})
    names = {row["name"] for row in not_computed(recipe.model_copy(update=sections), pack, ())}
    assert "privacy" in names
    assert "privacy" not in {row["name"] for row in not_computed(recipe, pack, ())}


def test_a_run_with_canaries_is_measured(
    tmp_path: Path, trained: Callable, perform: Callable, recipe: Recipe, pack: Pack
) -> None:
    run = trained(tmp_path / "run")
    folder = run.folder("compose")
    secrets = [asdict(one) | {"rivals": one.rivals[:7]} for one in canaries(1, 3) if one.kind == "name"]
    write_jsonl(folder / "canaries.jsonl", secrets)
    rows = read_jsonl(folder / "test.jsonl")[:2]
    rows[0]["messages"][-1]["content"] = "연락처는 [전화번호]입니다."
    write_jsonl(folder / "train.jsonl", rows)
    small = recipe.model_copy(
        update={
            "evaluate": recipe.evaluate.model_copy(update={"items": 2, "samples": 0, "exam": False, "primary": "chrf"})
        }
    )
    out = perform(run, small, evaluate)
    found = json.loads((out / "metrics.json").read_text(encoding="utf-8"))["privacy"]
    assert found["bits"] == 3.0
    assert found["levels"].keys() == {"0", "1", "4", "16"}
    assert "auc" not in found["levels"]["0"]
    assert 0 <= found["levels"]["16"]["auc"]["tuned"]["value"] <= 1
    assert found["verbatim"]["train"]["tuned"]["n"] == 2
    assert found["masked"]["rows"] == 1
    verdict = json.loads((out / "verdict.json").read_text(encoding="utf-8"))
    assert "privacy" in {guard["name"] for guard in verdict["guards"]}
