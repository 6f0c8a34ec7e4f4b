"""Any two evaluated runs against each other: their tuned models on the items that both have answered.

An item counts once, with its own value, so that figures can differ a little from the runs' tables, where metrics such
as the loss weigh an answer by its tokens.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import DataError
from ...workspace import Run, read_jsonl
from .metrics import BY_NAME, Metric, Sample, table

NAMES = ("A", "B")


def compare(run_a: Run, run_b: Run, seed: int = 0) -> dict[str, Any]:
    """Metrics of run B's tuned model against run A's, in the shape of metrics.json (base is A, tuned is B).

    Raises:
        UsageError: one of them has not been evaluated.
        DataError: they have no item in common.
    """
    answers = [_by_id(read_jsonl(run.require("evaluate", "answers.jsonl"))) for run in (run_a, run_b)]
    exams = [_by_id(read_jsonl(run.require("evaluate", "exam.jsonl"))) for run in (run_a, run_b)]
    shared = [name for name, row in answers[0].items() if _same(row, answers[1].get(name), "reference")]
    asked = [name for name, row in exams[0].items() if _same(row, exams[1].get(name), "key")]
    if not shared and not asked:
        raise DataError("the two runs have no item in common", where=f"{run_a.root}, {run_b.root}")
    samples = [
        Sample(metric, name, str(a["group"]), str(a["category"]), (x, 1.0), (y, 1.0))
        for name in shared
        for a, b in [(answers[0][name], answers[1][name])]
        for metric, x, y in _values(a["metrics"]["tuned"], b["metrics"]["tuned"])
    ]
    for name in asked:
        a, b = exams[0][name], exams[1][name]
        if a["kind"] == "choice":
            for metric in a["tuned"]:
                pairs = (float(a["tuned"][metric] == a["key"]), 1.0), (float(b["tuned"][metric] == b["key"]), 1.0)
                samples.append(Sample(metric, name, name, str(a["topic"]), *pairs))
    return {
        "a": str(run_a.root),
        "b": str(run_b.root),
        "items": {"held_out": len(shared), "exam": len(asked)},
        "metrics": table(samples, seed),
    }


def compare_runs(run_a: Run, run_b: Run) -> str:
    """`compare` as a table for the terminal, in Korean."""
    found = compare(run_a, run_b)
    items = found["items"]
    lines = [
        f"A: {found['a']}",
        f"B: {found['b']}",
        f"공통 문항: 보류 {items['held_out']}개, 시험 {items['exam']}개",
        "",
        f"{'A':>9} {'B':>9} {'차이 (95% 신뢰구간)':<28} {'p(Holm)':>8}  지표",
    ]
    return "\n".join([*lines, *(_line(row) for row in found["metrics"])])


def _line(row: Mapping[str, Any]) -> str:
    difference = row["difference"]
    low, high = difference["low"], difference["high"]
    interval = f"{difference['value']:+.2f}" + (f" ({low:+.2f} ~ {high:+.2f})" if low is not None else "")
    arrow = {"higher": "↑", "lower": "↓"}[row["kind"]]
    values = f"{row['base']['value']:>9.2f} {row['tuned']['value']:>9.2f}"
    return f"{values} {interval:<32} {difference['p_holm']:>8.3f}  {row['label']} {arrow}"


def _by_id(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {str(row["id"]): row for row in rows}


def _same(a: Mapping[str, Any], b: Mapping[str, Any] | None, key: str) -> bool:
    """Both runs have the item, and measured it against the same text."""
    return b is not None and a.get(key) == b.get(key)


def _values(a: Mapping[str, float | None], b: Mapping[str, float | None]) -> list[tuple[str, float, float]]:
    """(metric, value of A, value of B) in stored units, where both have one."""
    known: list[Metric] = [BY_NAME[name] for name in a if name in BY_NAME and name in b]
    pairs = [(metric, a[metric.name], b[metric.name]) for metric in known]
    return [(m.name, x / m.scale, y / m.scale) for m, x, y in pairs if x is not None and y is not None]
