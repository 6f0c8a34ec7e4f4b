"""Reads the rows to judge, batch by batch and repeatedly."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq

from ...runs.records import iter_qa, shards
from ...runs.workspace import Run

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Verdict:
    """A row's score and reason; on failure `failed` holds the code and the score is -1."""

    score: int
    reason: str
    judge: str
    failed: str = ""


class JudgeRows:
    """Curated and synthesized rows in a fixed order; a row's number is its position."""

    def __init__(self, run: Run) -> None:
        self.paths = [run.require("curate", "qa.parquet")]
        if run.manifest("synthesize") is not None:
            self.paths.append(run.require("synthesize", "qa.parquet"))
        self.count = sum(pq.ParquetFile(shard).metadata.num_rows for path in self.paths for shard in shards(path))

    def __iter__(self) -> Iterator[Row]:
        for path in self.paths:
            yield from iter_qa(path)

    def chosen(self, numbers: Sequence[int]) -> Iterator[tuple[int, Row]]:
        """The rows with these numbers, which must be sorted."""
        wanted = iter(numbers)
        following = next(wanted, None)
        for number, row in enumerate(self):
            if number == following:
                yield number, row
                following = next(wanted, None)
                if following is None:
                    return
