"""The whole stage on a tiny model: three files of the agreed shape, the same twice, judged and compared."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from mnatune.model.endpoint.fake import FakeEndpoint
from mnatune.runs.errors import DataError, UsageError
from mnatune.runs.job import Job
from mnatune.runs.recipe import EndpointSection, EvaluateSection, Recipe
from mnatune.runs.workspace import Run, read_jsonl, write_jsonl
from mnatune.stages.evaluate import evaluate
from mnatune.stages.evaluate.metrics import BY_NAME

Perform = Callable[[Run, Recipe, Callable[[Job], None]], Path]


def load(folder: Path, name: str):
    return json.loads((folder / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def judged_reply() -> Callable[[dict], str]:
    """A judge that finds every rubric line met, and prefers whatever stands first."""

    def reply(body: dict) -> str:
        pairwise = "답변 A" in body["messages"][-1]["content"]
        return json.dumps({"reason": "까닭", "winner": "A"} if pairwise else {"reason": "까닭", "met": True})

    return reply


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory, trained, perform: Perform, recipe: Recipe) -> Path:
    """The evaluate folder of a run on three items, with sampled answers."""
    return perform(trained(tmp_path_factory.mktemp("evaluated") / "run"), recipe, evaluate)


def test_the_stage(evaluated: Path) -> None:
    folder = evaluated
    answers, metrics, verdict = (
        read_jsonl(folder / "answers.jsonl"),
        load(folder, "metrics.json"),
        load(folder, "verdict.json"),
    )
    assert len(answers) == 3
    assert {row["split"] for row in answers} <= {"test", "valid"}
    rows = {row["name"]: row for row in metrics["metrics"]}
    open_book = {name for name, metric in BY_NAME.items() if metric.area == "evidence"}
    expected = {name for name in BY_NAME if name not in ("essay", "pairwise")} - open_book
    absent = {row["name"] for row in metrics["not_computed"]}
    assert rows.keys() | absent == BY_NAME.keys() - open_book | {"guards", "open_book"}
    assert expected - absent >= {"loss", "chrf", "exam_letter", "exam_text", "exam_generated", "agreement", "flip_rate"}
    for row in rows.values():
        assert {"label", "kind", "unit", "guard", "detectable"} <= row.keys()
        assert row["difference"]["p"] <= row["difference"]["p_holm"] <= 1
        if row["difference"]["low"] is not None:
            assert row["difference"]["low"] <= row["difference"]["value"] <= row["difference"]["high"]
    assert rows["loss"]["base"]["value"] != rows["loss"]["tuned"]["value"]
    assert verdict["verdict"] in ("promote", "hold", "reject")
    assert all(re.search("[가-힣]", reason) for reason in verdict["reasons"])
    assert set(verdict["improved"]) | set(verdict["worsened"]) <= {row["id"] for row in answers}
    for row in answers:
        for model in ("base", "tuned"):
            assert all(0 <= m["start"] < m["end"] <= len(row[model]) for m in row["marks"][model])
            assert row["metrics"][model]["stop_rate"] in (0.0, 100.0)
    exam = read_jsonl(folder / "exam.jsonl")
    assert {row["kind"] for row in exam} == {"choice", "false_premise"}
    assert not (folder / "state").exists()


def test_equal_runs_give_equal_files(
    tmp_path: Path, evaluated: Path, trained, perform: Perform, recipe: Recipe
) -> None:
    again = perform(trained(tmp_path / "again"), recipe, evaluate)
    for name in ("answers.jsonl", "exam.jsonl", "metrics.json", "verdict.json"):
        assert (evaluated / name).read_bytes() == (again / name).read_bytes()


def test_an_endpoint_marks_essays_and_pairs(
    tmp_path: Path, trained, perform: Perform, recipe: Recipe, judged_reply
) -> None:
    with FakeEndpoint(judged_reply) as server:
        endpoint = EndpointSection(base_url=server.base_url, model="qwen-judge", ledger=str(tmp_path / "ledger.sqlite"))
        quick = recipe.model_copy(update={"evaluate": EvaluateSection(items=1), "endpoint": endpoint})
        folder = perform(trained(tmp_path / "run"), quick, evaluate)
        calls = server.served.calls
        perform(trained(tmp_path / "again"), quick, evaluate)
        assert server.served.calls == calls  # paid once
    metrics = load(folder, "metrics.json")
    rows = {row["name"]: row for row in metrics["metrics"]}
    assert rows["essay"]["tuned"]["value"] == 100
    assert rows["pairwise"]["tuned"]["value"] == 50  # a judge that prefers the first place is no evidence
    assert metrics["counts"]["pairwise"]["consistency"] == 0
    assert metrics["counts"]["judge"]["same_family"] is False  # the tiny model has no family name


def test_a_judge_that_talks_nonsense_is_counted_and_left_out(
    tmp_path: Path, trained, perform: Perform, recipe: Recipe
) -> None:
    with FakeEndpoint(lambda body: "잘 모르겠습니다") as server:
        endpoint = EndpointSection(base_url=server.base_url, model="m", ledger=str(tmp_path / "ledger.sqlite"))
        quick = recipe.model_copy(update={"evaluate": EvaluateSection(items=1), "endpoint": endpoint})
        folder = perform(trained(tmp_path / "run"), quick, evaluate)
    metrics = load(folder, "metrics.json")
    assert {"essay", "pairwise"} <= {row["name"] for row in metrics["not_computed"]}
    assert sum(metrics["counts"]["judge"]["unusable"].values()) > 0


def test_a_primary_metric_that_was_not_computed_is_refused(
    tmp_path: Path, trained, perform: Perform, recipe: Recipe
) -> None:
    wrong = recipe.model_copy(update={"evaluate": EvaluateSection(items=1, exam=False, primary="essay")})
    with pytest.raises(UsageError, match="not computed"):
        perform(trained(tmp_path / "run"), wrong, evaluate)


def test_no_held_out_row_is_a_data_error(tmp_path: Path, trained, perform: Perform, recipe: Recipe) -> None:
    run = trained(tmp_path / "run")
    for name in ("test.jsonl", "valid.jsonl"):
        write_jsonl(run.folder("compose") / name, [])
    with pytest.raises(DataError, match="no held-out row"):
        perform(run, recipe, evaluate)
