"""What the rows are like: categories and lengths, streamed from Parquet columns."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..runs.errors import DataError
from ..runs.records import shards
from ..runs.workspace import Run

LENGTH_STEPS = {"question": 10, "answer": 50}  # characters per bar of the length histograms
LENGTH_BARS = 30  # the last bar holds everything longer
# the stages whose rows can be described, the most refined first, and where their rows are
ROWS = {"judge": "qa.parquet", "curate": "qa.parquet", "read": "qa"}


@dataclass(slots=True)
class Composition:
    """Kept and dropped rows of one stage by category, and lengths of the kept ones.

    Attributes:
        lengths: of "question" and "answer", rows per bar of `LENGTH_STEPS` characters; the last bar holds the rest.
        medians: of "question" and "answer", median characters.
    """

    stage: str
    kept: Counter[str]
    dropped: Counter[str]
    lengths: dict[str, list[int]]
    medians: dict[str, int]


def composition(run: Run) -> Composition | None:
    """The rows after the most refined stage that was done; None before `read`."""
    stage = next((s for s in ROWS if run.manifest(s) is not None), None)
    if stage is None:
        return None
    folder = run.folder(stage)
    lengths = {"question": Counter[int](), "answer": Counter[int]()}
    kept: Counter[str] = Counter()
    for batch in _batches(folder / ROWS[stage], ["question", "answer", "category"]):
        kept.update(batch.column("category").to_pylist())
        for name, counter in lengths.items():
            values = pc.value_counts(pc.utf8_length(batch.column(name)))
            counter.update({row["values"]: row["counts"] for row in values.to_pylist() if row["values"] is not None})
    dropped: Counter[str] = Counter()
    for batch in _batches(folder / "dropped.parquet", ["category"]):
        dropped.update(batch.column("category").to_pylist())
    return Composition(
        stage,
        kept,
        dropped,
        {name: _bars(counter, LENGTH_STEPS[name]) for name, counter in lengths.items()},
        {name: _median(counter) for name, counter in lengths.items()},
    )


def _batches(path: Path, columns: list[str]) -> Iterator[pa.RecordBatch]:
    for shard in shards(path):
        if shard.is_file():
            try:
                with pq.ParquetFile(shard) as file:
                    yield from file.iter_batches(batch_size=65_536, columns=columns)
            except (pa.ArrowInvalid, KeyError) as error:
                raise DataError(f"not a table of this version: {error}", where=str(shard)) from error


def _bars(lengths: Counter[int], step: int) -> list[int]:
    bars = [0] * LENGTH_BARS
    for length, rows in lengths.items():
        bars[min(length // step, LENGTH_BARS - 1)] += rows
    return bars


def _median(lengths: Counter[int]) -> int:
    """The lower median of counted values; 0 without any."""
    half, running = sum(lengths.values()) / 2, 0
    for length in sorted(lengths):
        running += lengths[length]
        if running >= half:
            return length
    return 0
