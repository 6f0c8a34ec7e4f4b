"""Score every row 0–100 for usefulness in the domain, with a reason, and keep what scores above the threshold.

`lexicon` works offline, `llm` asks an endpoint about every row, `cascade` about as few rows as the recall target allows.
Rows without a usable verdict are dropped under their own reason, never as low scores.

Does not: correct rows, or judge what it was not given (an answer's source is checked in `synthesize`).
"""

import heapq
from collections.abc import Callable
from typing import Any

from ...runs.job import Job
from ...runs.records import DROPPED_SCHEMA, QA_SCHEMA, RowWriter, question_of, write_table
from ...runs.workspace import write_json
from ...text.lexicon import Lexicon
from .calibrate import calibrate
from .estimate import estimate, estimate_table
from .judge_rows import JudgeRows, Row, Verdict
from .judge_summary import Summary

__all__ = ["calibrate", "estimate", "estimate_table", "judge"]

GiveVerdict = Callable[[int, Row], Verdict]


def judge(job: Job) -> None:
    """Write qa.parquet (kept), dropped.parquet, scores.parquet (all) and judge.json (see `summary`)."""
    rows = JudgeRows(job.run)
    lexicon = Lexicon(job.pack.yaml("lexicon.yaml"))

    def by_lexicon(number: int, row: Row) -> Verdict:
        return Verdict(*lexicon.score(question_of(row), row["answer"]), "lexicon")

    offline = job.recipe.judge.scorer == "lexicon"
    give, extra = (by_lexicon, {}) if offline else _by_endpoint(job, rows)
    summary = _write(job, rows, give, Summary(job.recipe.judge.scorer, job.recipe.judge.keep_above, lexicon))
    facts = summary.facts() | extra
    write_json(job.path("judge.json"), facts)
    short = ("scorer", "keep_above", "failed", "histogram", "endpoint", "canaries", "cascade", "warnings")
    job.manifest.facts = {name: facts[name] for name in short if name in facts}
    if unknown := sorted(set(job.recipe.judge.always_keep) - job.manifest.per_source.keys()):
        told = f"judge.always_keep names no source of these rows: {', '.join(unknown)}"
        job.manifest.facts.setdefault("warnings", []).append(told)


def _by_endpoint(job: Job, rows: JudgeRows) -> tuple[GiveVerdict, dict[str, Any]]:
    """Ask the endpoint for `llm` or `cascade`; returns a function from row to verdict, and facts for judge.json."""
    from .canaries import REPEATED, run_canaries
    from .cascade import Cascade
    from .llm import NOT_ASKED, LlmJudge

    asker = LlmJudge(job)
    extra: dict[str, Any] = {}
    if job.recipe.judge.scorer == "cascade":
        cascade = Cascade(job, asker)
        cascade.prepare(rows)
        extra["cascade"] = cascade.plan.facts
        judged = (row for number, row in enumerate(rows) if cascade.plan.everything or cascade.plan.judged[number])
        give: GiveVerdict = cascade.verdict
    else:
        asker.judge(rows, rows.count, "judging")
        judged = (row for row in rows)

        def give(number: int, row: Row) -> Verdict:
            return asker.verdict(row) or Verdict(-1, "", asker.name, NOT_ASKED)

    extra["canaries"] = run_canaries(asker, heapq.nsmallest(REPEATED, judged, key=lambda row: row["id"]))
    extra["endpoint"] = asker.facts()
    extra["warnings"] = extra["endpoint"].pop("warnings") + extra["canaries"]["warnings"]
    return give, extra


def _write(job: Job, rows: JudgeRows, give: GiveVerdict, summary: Summary) -> Summary:
    """Write every row with its verdict to the kept or dropped table; only ids and scores stay in memory."""
    import pyarrow as pa

    keep_above, always_keep = job.recipe.judge.keep_above, set(job.recipe.judge.always_keep)
    scores: list[tuple[str, int, str]] = []
    with (
        RowWriter(job.path("qa.parquet"), QA_SCHEMA) as kept,
        RowWriter(job.path("dropped.parquet"), DROPPED_SCHEMA) as dropped,
    ):
        for number, row in enumerate(job.track(rows, "scoring", rows.count)):
            verdict = give(number, row)
            row["score"], row["reason"], row["judge"] = verdict.score, verdict.reason, verdict.judge
            name = row["source"]["name"]
            stays = name in always_keep or verdict.score > keep_above
            scores.append((row["id"], verdict.score, verdict.judge))
            summary.add(row, verdict, stays)
            counts = job.manifest.per_source.setdefault(name, {"rows": 0, "kept": 0})
            counts["rows"] += 1
            counts["kept"] += stays
            if stays:
                kept.add(row)
                continue
            reason = f"judge-failed-{verdict.failed}" if verdict.failed else f"score-at-most-{keep_above}"
            job.manifest.drop(reason)
            dropped.add(row | {"drop_reason": reason})
    job.manifest.rows_in = rows.count
    job.manifest.rows_out = rows.count - sum(job.manifest.dropped.values())
    scores.sort()
    kinds = [("id", pa.string()), ("score", pa.int64()), ("judge", pa.string())]
    columns = [pa.array([row[at] for row in scores], kind) for at, (_, kind) in enumerate(kinds)]
    write_table(pa.table(columns, schema=pa.schema(kinds)), job.path("scores.parquet"))
    return summary
