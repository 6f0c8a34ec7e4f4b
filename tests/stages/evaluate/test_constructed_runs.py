"""Three runs of known truth, from answers to the report's first sentence: better, worse in citations only, nothing shown.

The models are made up: each answers a question with its reference, or with a sentence that says nothing. Everything after
the answers is the stage's own.

    python tests/stages/evaluate/test_constructed_runs.py FOLDER     writes the three runs with their reports
"""

import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

import mnatune.stages.evaluate as stage
from mnatune.model.engine.protocol import Answer
from mnatune.pack import Pack
from mnatune.reports import report
from mnatune.reports.findings import evaluation, headline
from mnatune.reports.worsened import decline
from mnatune.runs.job import Job
from mnatune.runs.recipe import EvaluateSection, ModelSection, Recipe, save_lock
from mnatune.runs.workspace import Run, read_jsonl, write_jsonl

ROWS = 48
EMPTY_WORDS = "관련 규정과 계약의 내용을 검토하여 정하면 됩니다."
Writes = Callable[[str, str], str]  # item id and right answer → what the model writes


def share(name: str, salt: str) -> float:
    """A number from 0 to 1 that depends on the item and the salt alone."""
    return int(hashlib.sha256(f"{salt}/{name}".encode()).hexdigest()[:8], 16) / 2**32


def knowing(part: float, salt: str) -> Writes:
    """A model that answers a part of the questions rightly."""
    return lambda name, right: right if share(name, salt) < part else EMPTY_WORDS


def inventing(write: Writes) -> Writes:
    """The same model, which backs every third answer with an article that never was."""
    return lambda name, right: (
        write(name, right) + (" 상법 제987조에 따릅니다." if share(name, "invent") < 0.33 else "")
    )


BASE = knowing(0.5, "base")
TUNED = {
    "better": knowing(0.9, "tuned"),
    "worse in citations": inventing(BASE),
    "nothing shown": knowing(0.5, "other"),
}


class MadeUp:
    """A side of the comparison that is no model."""

    def __init__(self, write: Writes, right: dict[str, str]) -> None:
        self.write, self.right = write, right

    def answers(
        self, job: Job, asks: Sequence[Any], kind: str, *, limit: int | None = None, quoting: bool = False
    ) -> dict[str, Answer]:
        return {ask.id: Answer(self.write(ask.id, self.right[ask.id]), [], True) for ask in asks}


def construct(root: Path, pack: Pack, tuned: Writes, set_attribute: Callable[..., None]) -> Run:
    """A run whose evaluation is done, with its report."""
    rows = [row for row in read_jsonl(pack.path("qa.jsonl")) if "제" in row["answer"]][:ROWS]
    exam = [row for name in ("choice", "false_premise") for row in read_jsonl(pack.path(f"exam/{name}.jsonl"))]
    right = {f"row-{n}": row["answer"] for n, row in enumerate(rows)} | {row["id"]: row["answer"] for row in exam}
    recipe = Recipe(
        name=root.name,
        model=ModelSection(id="made-up"),
        evaluate=EvaluateSection(items=ROWS, guard_margin={"default": 3}),
    )
    run = Run(root)
    save_lock(recipe, root / "recipe.lock.yaml")
    lines = [
        {
            "id": f"row-{n}",
            "messages": [{"role": "user", "content": r["question"]}, {"role": "assistant", "content": r["answer"]}],
            "category": r["topic"], "group": f"g{n}", "source": {"name": "mna-qa"},
        }
        for n, r in enumerate(rows)
    ]  # fmt: skip
    run.perform("compose", {}, {}, 1, "", lambda place: write_jsonl(place.path("test.jsonl"), lines) and None)
    sides = {"base": MadeUp(BASE, right), "tuned": MadeUp(tuned, right)}
    set_attribute(stage, "open_sides", lambda job: nullcontext(sides))
    run.perform("evaluate", {}, {}, 1, "", lambda place: stage.evaluate(Job(recipe, pack, run, place)))
    report(run)
    return run


def load(run: Run, name: str) -> Any:
    return json.loads((run.folder("evaluate") / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("kind", "verdict", "sentence"),
    [
        ("better", "promote", "학습 후 모델이 더 낫습니다. 배포를 권합니다."),
        ("worse in citations", "reject", "법률 답변으로는 쓸 수 없습니다."),
        ("nothing shown", "hold", "단정하기 이릅니다"),
    ],
)
def test_the_verdict_is_the_truth(
    tmp_path: Path, pack: Pack, monkeypatch: pytest.MonkeyPatch, kind: str, verdict: str, sentence: str
) -> None:
    run = construct(tmp_path / "run", pack, TUNED[kind], monkeypatch.setattr)
    found, rows = load(run, "verdict.json"), {row["name"]: row for row in load(run, "metrics.json")["metrics"]}
    states = {guard["name"]: guard["state"] for guard in found["guards"]}
    assert found["verdict"] == verdict, found["reasons"]
    assert sentence in headline(run, evaluation(run)).sentence
    assert {"domain", "fact_overlap", "citation_f1", "exam_generated", "false_premise"} <= rows.keys()
    examples = decline(run).examples
    if kind == "worse in citations":
        assert states["false_citations"] == "failed"
        assert any("지어낸 조문 인용" in reason for reason in found["reasons"])
        assert len(examples) == 10
        assert all("제987조" in "".join(s.text for s in one.answer if s.tone == "bad") for one in examples)
        assert all("있었던 적이 없습니다" in one.faults[0] for one in examples)
    else:
        assert "failed" not in states.values()
        assert states["false_citations"] in ("passed", "open")
        assert not any("지어낸" in fault for one in examples for fault in one.faults)


if __name__ == "__main__":
    for name, write in TUNED.items():
        made = construct(Path(sys.argv[1]) / name.replace(" ", "-"), Pack.load("mna_ko"), write, setattr)
        print(made.root / "report.html", load(made, "verdict.json")["reasons"])
