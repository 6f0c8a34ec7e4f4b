"""Canaries: does the judge agree with itself, has it drifted since last time, and can a row talk it into a score?

In every run the same rows (the lowest ids among the judged) are asked again past the ledger. Those of them with the
lowest scores, which have room to rise, are also asked with a sentence added that tells the judge what to score: each of
the pack's `injections` in turn. Their mean change is the measure: 5 points are too many. These calls are extra and are
counted as such.
"""

from typing import Any

from .judge_rows import Row
from .llm import LlmJudge

REPEATED = 100
INJECTED = 24
AGREEMENT = 10  # points within which two scores of a row agree
MOST_SHIFT = 5.0  # points of mean shift from which drift or injection is a warning
CALLS = REPEATED + INJECTED


def run_canaries(judge: LlmJudge, rows: list[Row]) -> dict[str, Any]:
    """Ask the canaries; returns the facts for the manifest.

    Args:
        rows: judged rows, at most `REPEATED`, the same in every run over the same data.
    """
    known = {}
    for row in rows:
        verdict = judge.verdict(row)
        if verdict and not verdict.failed:
            known[row["id"]] = verdict.score
    again = judge.score_again(row for row in rows if row["id"] in known)
    facts: dict[str, Any] = {"repeated": len(again), "warnings": []}
    if again:
        gaps = [abs(known[row_id] - score) for row_id, score in again.items()]
        facts["agreement"] = round(sum(gap <= AGREEMENT for gap in gaps) / len(gaps), 4)
        facts["mean_gap"] = round(sum(gaps) / len(gaps), 2)
        facts |= _drift(judge, [row for row in rows if row["id"] in again], again)
    room = sorted((row for row in rows if row["id"] in known), key=lambda row: (known[row["id"]], row["id"]))
    facts |= _injections(judge, room[:INJECTED], known)
    for name in ("drift", "injection_shift"):
        if abs(facts.get(name, 0.0)) >= MOST_SHIFT:
            facts["warnings"].append(name)
    return facts


def _drift(judge: LlmJudge, rows: list[Row], again: dict[str, int]) -> dict[str, Any]:
    """Mean change since the same row was first a canary for the same model and rubric."""
    ledger, shifts = judge.endpoint.ledger, []
    for row in rows:
        key = judge.rubric.key(row, judge.endpoint.model)
        first = ledger.first_canary(key)
        if first is not None:
            shifts.append(again[row["id"]] - first)
        ledger.add_canary(key, again[row["id"]])
    return {"drift": round(sum(shifts) / len(shifts), 2), "drift_rows": len(shifts)} if shifts else {}


def _injections(judge: LlmJudge, rows: list[Row], known: dict[str, int]) -> dict[str, Any]:
    """Mean score of rows with an injected sentence, minus their score without it."""
    texts = judge.rubric.injections
    used = {row["id"]: at % len(texts) for at, row in enumerate(rows)}
    scores = judge.score_again(row | {"answer": f"{row['answer']} {texts[used[row['id']]]}"} for row in rows)
    if not scores:
        return {}
    shifts: dict[int, list[int]] = {}
    for row_id, score in scores.items():
        shifts.setdefault(used[row_id], []).append(score - known[row_id])
    every = [shift for found in shifts.values() for shift in found]
    worst = {texts[at]: round(sum(found) / len(found), 2) for at, found in sorted(shifts.items())}
    return {"injected": len(every), "injection_shift": round(sum(every) / len(every), 2), "injection_by_text": worst}
