"""The judge stage offline: every row has one place, a reason and a count."""

import json
from pathlib import Path

import pyarrow.parquet as pq
from known_rows import make_job, make_rows, make_run

from mnatune.stages.judge import judge


def test_every_row_ends_in_one_file_with_a_reason(tmp_path: Path) -> None:
    rows, useful = make_rows(500, 0.2, plain=0.0)
    run = make_run(tmp_path, rows)
    job = make_job(run)
    judge(job)
    kept = pq.read_table(job.path("qa.parquet")).to_pylist()
    dropped = pq.read_table(job.path("dropped.parquet")).to_pylist()
    assert {r["id"] for r in kept} | {r["id"] for r in dropped} == {r.id for r in rows}
    assert len(kept) + len(dropped) == job.manifest.rows_in == 500
    assert job.manifest.rows_out == len(kept)
    assert job.manifest.dropped == {"score-at-most-30": len(dropped)}
    assert all(r["reason"] for r in kept + dropped)
    assert len({r["id"] for r in kept} & useful) >= 0.95 * len(useful)


def test_always_keep_keeps_and_still_scores(tmp_path: Path) -> None:
    rows, _ = make_rows(60, 0.0)
    job = make_job(make_run(tmp_path, rows), judge={"always_keep": ["replica"]})
    judge(job)
    assert job.manifest.rows_out == 60
    assert job.manifest.per_source == {"replica": {"rows": 60, "kept": 60}}
    assert set(pq.read_table(job.path("qa.parquet"))["score"].to_pylist()) != {100}
    told = json.loads(job.path("judge.json").read_text(encoding="utf-8"))
    assert {example["kind"] for example in told["examples"]} == {"kept-best", "kept-just"}
    assert "warnings" not in job.manifest.facts


def test_a_source_to_keep_that_no_row_is_of_is_named(tmp_path: Path) -> None:
    rows, _ = make_rows(20, 0.5)
    job = make_job(make_run(tmp_path, rows), judge={"always_keep": ["replica", "딜룸"]})
    judge(job)
    assert job.manifest.facts["warnings"] == ["judge.always_keep names no source of these rows: 딜룸"]


def test_thresholds_tell_what_would_be_kept(tmp_path: Path) -> None:
    rows, _ = make_rows(400, 0.3)
    job = make_job(make_run(tmp_path, rows))
    judge(job)
    told = json.loads(job.path("judge.json").read_text(encoding="utf-8"))
    scores = pq.read_table(job.path("scores.parquet"))["score"].to_pylist()
    assert [t["rows"] for t in told["thresholds"]] == [sum(s > t["above"] for s in scores) for t in told["thresholds"]]
    topics = [t["topics"] for t in told["thresholds"]]
    assert topics == sorted(topics, reverse=True)
    assert topics[0] > 1


def test_no_rows_give_empty_tables(tmp_path: Path) -> None:
    job = make_job(make_run(tmp_path, []))
    judge(job)
    for name in ("qa.parquet", "dropped.parquet", "scores.parquet"):
        assert pq.read_table(job.path(name)).num_rows == 0
