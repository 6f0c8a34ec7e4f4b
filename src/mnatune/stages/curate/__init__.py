"""`curate`: records → clean, unique records. Every row that does not come out is in `dropped.parquet` with its reason."""

from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ...job import Job
from ...records import DROPPED_SCHEMA, QA_SCHEMA, content_id, shards
from ...text.normalize import normalize
from ...workspace import atomic_path
from .rules import Drops, Rules

BATCH = 4096
CLUSTER_SCHEMA = pa.schema([("id", pa.string()), ("cluster", pa.string())])


def curate(job: Job) -> None:
    """Clean, judge by the pack's rules, and remove duplicates.

    Writes `qa.parquet`, `dropped.parquet` (the record and `drop_reason`) and `clusters.parquet` (id, cluster).
    """
    rules = Rules(Drops.of(job.pack))
    manifest = job.manifest
    seen: set[str] = set()
    counts: dict[str, Counter[str]] = {}
    files = shards(job.run.require("read", "qa"))
    with (
        atomic_path(job.path("qa.parquet")) as kept_path,
        atomic_path(job.path("dropped.parquet")) as dropped_path,
        pq.ParquetWriter(kept_path, QA_SCHEMA, compression="zstd") as kept,
        pq.ParquetWriter(dropped_path, DROPPED_SCHEMA, compression="zstd") as dropped,
    ):
        for file in job.track(files, "curate"):
            for batch in pq.ParquetFile(file).iter_batches(batch_size=BATCH):
                rows = [_clean(row) for row in batch.to_pylist()]
                reasons = rules.reasons(
                    [r["question"] for r in rows], [r["answer"] for r in rows], [r["category"] for r in rows]
                )
                out: list[dict[str, Any]] = []
                lost: list[dict[str, Any]] = []
                for row, reason in zip(rows, reasons, strict=True):
                    reason = reason or ("duplicate" if row["id"] in seen else "")
                    count = counts.setdefault(row["source"]["name"], Counter())
                    count["rows_in"] += 1
                    if reason:
                        lost.append({**row, "drop_reason": reason})
                        count[f"dropped/{reason}"] += 1
                        manifest.drop(reason)
                    else:
                        seen.add(row["id"])
                        out.append(row)
                        count["rows_out"] += 1
                manifest.rows_in += len(rows)
                manifest.rows_out += len(out)
                kept.write_table(pa.Table.from_pylist(out, schema=QA_SCHEMA))
                dropped.write_table(pa.Table.from_pylist(lost, schema=DROPPED_SCHEMA))
    manifest.per_source = {name: dict(sorted(count.items())) for name, count in counts.items()}
    with atomic_path(job.path("clusters.parquet")) as partial:
        pq.write_table(CLUSTER_SCHEMA.empty_table(), partial)


def _clean(row: dict[str, Any]) -> dict[str, Any]:
    row["question"], row["answer"] = normalize(row["question"]), normalize(row["answer"])
    row["alternatives"] = [normalize(text) for text in row["alternatives"]]
    row["reference"] = normalize(row["reference"])
    own = row["group"] == row["id"]
    row["id"] = content_id(row["question"], row["answer"])
    if own:
        row["group"] = row["id"]
    row["cluster"] = row["id"]
    return row
