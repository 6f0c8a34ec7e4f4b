"""What became of every row, and the files that say so."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ...runs.job import Job
from ...runs.records import DROPPED_SCHEMA, QA_SCHEMA
from ...runs.workspace import atomic_path
from .clean import HIDDEN, ROWS_PER_SHARD, Cleaned

KEPT, DUPLICATE, NEAR_DUPLICATE = range(3)
REASONS = ("", "duplicate", "near-duplicate")
CLUSTER_SCHEMA = pa.schema([("id", pa.string()), ("cluster", pa.string())])
FIRST_REASONS = ("empty", "echo", "category")  # in this order at the head of the funnel, as AI Hub users count

Counts = dict[tuple[str, str], Counter[str]]


class Fate:
    """What becomes of the rows that passed the rules.

    Attributes:
        status: KEPT, DUPLICATE or NEAR_DUPLICATE for every row.
        clusters: place → name of the cluster, for rows in clusters of two or more.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self._starts = np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)
        self.status = np.zeros(int(self._starts[-1]), np.uint8)
        self.clusters: dict[int, str] = {}

    def places(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Positions of rows, by their row numbers, in `status`."""
        return self._starts[rows // ROWS_PER_SHARD] + rows % ROWS_PER_SHARD

    def rows(self, mask: npt.NDArray[np.bool_]) -> list[int]:
        """Row numbers of the rows that a mask over `status` takes."""
        places = np.flatnonzero(mask)
        shard = np.searchsorted(self._starts, places, side="right") - 1
        return (shard * ROWS_PER_SHARD + places - self._starts[shard]).tolist()  # type: ignore[no-any-return]


def write(job: Job, kept: Sequence[Path], lost: Sequence[Path], fate: Fate) -> Counts:
    """Write qa, dropped and clusters; returns the numbers of duplicates per source and split."""
    counts: Counts = {}
    hidden: dict[str, str] = {}
    with (
        atomic_path(job.path("qa.parquet")) as good_path,
        atomic_path(job.path("dropped.parquet")) as bad_path,
        atomic_path(job.path("clusters.parquet")) as cluster_path,
        pq.ParquetWriter(good_path, QA_SCHEMA, compression="zstd") as good,
        pq.ParquetWriter(bad_path, DROPPED_SCHEMA, compression="zstd") as bad,
        pq.ParquetWriter(cluster_path, CLUSTER_SCHEMA, compression="zstd") as clusters,
    ):
        for kept_file, lost_file in zip(kept, lost, strict=True):
            for batch in pq.ParquetFile(lost_file).iter_batches():
                bad.write_table(_numbered(pa.Table.from_batches([batch]), hidden))
            for batch in pq.ParquetFile(kept_file).iter_batches():
                _write_batch(_numbered(pa.Table.from_batches([batch]), hidden), fate, (good, bad, clusters), counts)
    return counts


def _numbered(table: pa.Table, hidden: dict[str, str]) -> pa.Table:
    """The table with hidden group names replaced by numbers in order of appearance."""
    groups = table["group"]
    if not pc.any(pc.starts_with(groups, HIDDEN)).as_py():
        return table
    names = [
        hidden.setdefault(name, f"개인정보 {len(hidden) + 1}") if name.startswith(HIDDEN) else name
        for name in groups.to_pylist()
    ]
    return table.set_column(QA_SCHEMA.get_field_index("group"), "group", pa.array(names, pa.string()))


def _write_batch(table: pa.Table, fate: Fate, writers: tuple[Any, Any, Any], counts: Counts) -> None:
    good, bad, clusters = writers
    places = fate.places(table["row"].to_numpy())
    status = fate.status[places]
    ids = table["id"].to_pylist()
    members = [(n, fate.clusters[place]) for n, place in enumerate(places.tolist()) if place in fate.clusters]
    if members:
        named = dict(members)
        names = [named.get(n, row_id) for n, row_id in enumerate(ids)]
        table = table.set_column(QA_SCHEMA.get_field_index("cluster"), "cluster", pa.array(names, pa.string()))
        rows = [{"id": ids[n], "cluster": name} for n, name in members]
        clusters.write_table(pa.Table.from_pylist(rows, schema=CLUSTER_SCHEMA))
    table = table.drop_columns(["row"])
    good.write_table(table.filter(pa.array(status == KEPT)))
    again = table.filter(pa.array(status != KEPT))
    if len(again):
        reasons = [REASONS[s] for s in status[status != KEPT]]
        bad.write_table(again.append_column("drop_reason", pa.array(reasons, pa.string())))
        for source, reason in zip(again["source"].to_pylist(), reasons, strict=True):
            counts.setdefault((source["name"], source["split"]), Counter())[reason] += 1


def report(job: Job, cleaned: Sequence[Cleaned], duplicates: Counts) -> None:
    """Fill the manifest: rows, drops by reason, both per source and split, and the funnel of each split."""
    counts: Counts = {key: Counter(value) for key, value in duplicates.items()}
    masked: Counter[str] = Counter()
    for c in cleaned:
        masked.update(c.masked)
        for key, value in c.counts.items():
            counts.setdefault(key, Counter()).update(value)
    manifest = job.manifest
    splits: dict[str, Counter[str]] = {}
    for (name, split), count in sorted(counts.items()):
        facts = manifest.per_source.setdefault(name, {"rows": 0, "rows_out": 0, "dropped": {}})
        left = 2 * count["rows"] - count.total()
        facts["rows"] += count["rows"]
        facts["rows_out"] += left
        facts[f"split/{split or 'none'}"] = left
        manifest.rows_in += count["rows"]
        manifest.rows_out += left
        splits.setdefault(split or "none", Counter()).update(count)
        for reason, number in count.items():
            if reason != "rows":
                facts["dropped"][reason] = facts["dropped"].get(reason, 0) + number
                manifest.drop(reason, number)
    manifest.facts["funnel"] = {split: funnel(count) for split, count in sorted(splits.items())}
    manifest.facts["masked"] = dict(sorted(masked.items()))
    manifest.facts["thoughts_removed"] = sum(c.thoughts for c in cleaned)


def funnel(count: Counter[str]) -> list[dict[str, Any]]:
    """The rows of a split left after each reason, in the order in which the reasons apply."""
    left = count["rows"]
    steps: list[dict[str, Any]] = [{"step": "read", "rows": left}]
    last = REASONS[1:]
    middle = sorted(set(count) - set(FIRST_REASONS) - set(last) - {"rows"})
    for reason in (*FIRST_REASONS, *middle, *last):
        if reason in count or reason in FIRST_REASONS:
            left -= count[reason]
            steps.append({"step": reason, "dropped": count[reason], "rows": left})
    return steps
