"""Does the judge agree with people: labels of both kinds, kappa, both orders, and what cannot be used."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from mnatune.model.endpoint.fake import FakeEndpoint
from mnatune.runs.errors import DataError, UsageError
from mnatune.runs.human_labels import cohen_kappa
from mnatune.runs.recipe import EndpointSection, EvaluateSection, Recipe
from mnatune.runs.workspace import write_jsonl
from mnatune.stages.evaluate import evaluate
from mnatune.stages.evaluate.agreement import agreement_text, judge_agreement, read_labels


def judge(body: dict) -> str:
    """Prefers the longer answer, whatever its place, and finds a line met whose answer has it."""
    text = body["messages"][-1]["content"]
    parts = [part.split("<<<자료 끝>>>")[0].strip() for part in text.split("<<<자료 시작>>>")[1:]]
    if "답변 A" in text:
        _, a, b = parts
        return json.dumps({"reason": "길이", "winner": "tie" if len(a) == len(b) else "AB"[len(b) > len(a)]})
    line = text.split("채점 항목\n")[1].split("\n")[0]
    return json.dumps({"reason": "까닭", "met": line in parts[1]})


def pairs(count: int, wrong: int) -> list[dict[str, str]]:
    """Pairs of which people call the longer one better, but for the first `wrong`; every fifth is a tie."""
    rows = []
    for n in range(count):
        a, b = ("가" * 3, "가" * (3 if n % 5 == 0 else 1 + 5 * (n % 2)))
        better = "tie" if len(a) == len(b) else "AB"[len(b) > len(a)]
        human = {"A": "B", "B": "A", "tie": "A"}[better] if n < wrong else better
        rows.append({"question": f"질문 {n}", "answer_a": a, "answer_b": b, "winner": human})
    return rows


def endpoint(server: FakeEndpoint, folder: Path) -> EndpointSection:
    return EndpointSection(base_url=server.base_url, model="judge", ledger=str(folder / "ledger.sqlite"))


def measured(rows: list[dict[str, str]], folder: Path, reply=judge) -> dict:
    write_jsonl(folder / "labels.jsonl", rows)
    with FakeEndpoint(reply) as server:
        return judge_agreement(Recipe(name="t", endpoint=endpoint(server, folder)), folder / "labels.jsonl")


def test_pairs_in_both_orders(tmp_path: Path) -> None:
    found = measured(pairs(40, 8), tmp_path)
    facts = found["agreement"]["pairs"]
    assert (facts["rows"], facts["unusable"], facts["consistency"]) == (40, 0, 1.0)
    assert facts["agreement"]["value"] == 0.8
    assert facts["agreement"]["low"] < 0.8 < facts["agreement"]["high"]
    assert 0 < facts["kappa"]["low"] < facts["kappa"]["value"] < facts["kappa"]["high"] < 1
    assert sum(sum(row.values()) for row in facts["table"].values()) == 40
    assert "쌍대 비교 라벨" in agreement_text(found)
    assert measured(pairs(40, 0), tmp_path)["agreement"]["pairs"]["kappa"]["value"] == 1.0


def test_a_judge_that_prefers_a_place_agrees_with_nobody(tmp_path: Path) -> None:
    facts = measured(pairs(40, 0), tmp_path, lambda body: json.dumps({"reason": "", "winner": "A"}))
    assert facts["agreement"]["pairs"]["consistency"] == 0
    assert facts["agreement"]["pairs"]["kappa"]["value"] is None  # it calls everything a tie


def test_rubric_lines_and_a_mixed_file(tmp_path: Path) -> None:
    lines = [
        {"question": "문제", "answer": f"답안 요건{n % 2}", "rubric_line": "요건1", "met": n % 2 == 1 or n < 2}
        for n in range(20)
    ]
    found = measured([*lines, *pairs(10, 0)], tmp_path)["agreement"]
    assert found["lines"]["agreement"]["value"] == 0.95
    assert found["lines"]["table"] == {"False": {"False": 9, "True": 0}, "True": {"False": 1, "True": 10}}
    assert found["pairs"]["rows"] == 10


def test_unusable_replies_are_counted_apart(tmp_path: Path) -> None:
    def reply(body: dict) -> str:
        return "모르겠습니다" if "질문 7" in body["messages"][1]["content"] else judge(body)

    found = measured(pairs(20, 0), tmp_path, reply)
    assert (found["agreement"]["pairs"]["rows"], found["agreement"]["pairs"]["unusable"]) == (19, 1)
    assert found["unusable"] == {"no-json": 2}  # both orders


def test_labels_are_part_of_the_evaluation(tmp_path: Path, trained, perform, recipe: Recipe) -> None:
    write_jsonl(tmp_path / "labels.jsonl", pairs(20, 2))
    with FakeEndpoint(judge) as server:
        section = EvaluateSection(items=1, exam=False, labels=str(tmp_path / "labels.jsonl"))
        quick = recipe.model_copy(update={"evaluate": section, "endpoint": endpoint(server, tmp_path)})
        folder = perform(trained(tmp_path / "run"), quick, evaluate)
    counts = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["counts"]
    assert counts["judge"]["agreement"]["pairs"]["agreement"]["value"] == 0.9


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"question": "가", "answer_a": "나", "answer_b": "다", "winner": "C"}, "not A, B or tie"),
        ({"question": "가", "answer": "나", "rubric_line": "다", "met": "아마"}, "neither true nor false"),
        ({"question": "가", "answer": "나"}, "neither a labelled pair"),
    ],
)
def test_a_wrong_label_names_its_line(tmp_path: Path, row: dict[str, str], told: str) -> None:
    write_jsonl(tmp_path / "labels.jsonl", [*pairs(2, 0), row])
    with pytest.raises(DataError, match=told) as fault:
        read_labels(tmp_path / "labels.jsonl")
    assert fault.value.where.endswith(":3")


def test_labels_as_excel_writes_them(tmp_path: Path) -> None:
    text = "question,answer,rubric_line,met\n문제,답안,항목,예\n문제,답안,항목,0\n"
    (tmp_path / "l.csv").write_bytes(text.encode("cp949"))
    assert [met for _, met in read_labels(tmp_path / "l.csv").lines] == [True, False]


def test_too_few_labels_or_no_judge_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="10 are the least"):
        measured(pairs(9, 0), tmp_path)
    with pytest.raises(UsageError, match="no judge"):
        judge_agreement(Recipe(name="t"), tmp_path / "labels.jsonl")


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=2, max_size=60), st.booleans())
def test_kappa_is_scikit_learns(both: list[tuple[int, int]], quadratic: bool) -> None:
    ours, theirs = (np.array(side) for side in zip(*both, strict=True))
    expected = cohen_kappa_score(ours, theirs, labels=[0, 1, 2], weights="quadratic" if quadratic else None)
    if not np.isnan(expected):
        assert cohen_kappa(ours, theirs, 3, quadratic=quadratic) == pytest.approx(expected)
