"""Score every row 0–100 for usefulness in the domain, with a reason, and keep what scores above the threshold."""

from ...job import Job
from ...records import DROPPED_SCHEMA, QA_SCHEMA, iter_qa
from ...text.lexicon import Lexicon

__all__ = ["judge"]


def judge(job: Job) -> None:
    """Write qa.parquet (kept), dropped.parquet and scores.parquet (all)."""
    import pyarrow as pa

    from ...records import write_table

    inputs = [job.run.require("curate", "qa.parquet")]
    if job.run.manifest("synthesize") is not None:
        inputs.append(job.run.require("synthesize", "qa.parquet"))
    lexicon = Lexicon(job.pack.yaml("lexicon.yaml"))
    kept, dropped, histogram = [], [], [0] * 101
    for row in job.track((row for path in inputs for row in iter_qa(path)), "scoring"):
        row["score"], row["reason"] = lexicon.score(row["question"], row["answer"])
        row["judge"] = "lexicon"
        histogram[row["score"]] += 1
        always = row["source"]["name"] in job.recipe.judge.always_keep
        (kept if always or row["score"] > job.recipe.judge.keep_above else dropped).append(row)
    everything = sorted(kept + dropped, key=lambda r: r["id"])
    scores = {name: [r[name] for r in everything] for name in ("id", "score", "judge")}
    write_table(pa.table(scores), job.path("scores.parquet"))
    write_table(pa.Table.from_pylist(kept, schema=QA_SCHEMA), job.path("qa.parquet"))
    for row in dropped:
        row["drop_reason"] = f"score-at-most-{job.recipe.judge.keep_above}"
        job.manifest.drop(row["drop_reason"])
    write_table(pa.Table.from_pylist(dropped, schema=DROPPED_SCHEMA), job.path("dropped.parquet"))
    job.manifest.rows_in, job.manifest.rows_out = len(kept) + len(dropped), len(kept)
    job.manifest.facts = {"histogram": histogram}
