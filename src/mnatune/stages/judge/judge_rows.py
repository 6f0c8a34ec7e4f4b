"""Reads the rows to judge, batch by batch and repeatedly, and writes the result files."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from ...runs.records import iter_qa, shards
from ...runs.workspace import Run, atomic_path

GROUP_ROWS = 65_536

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


class Sink:
    """Writes a Parquet file row by row with bounded memory; the file appears only if the block succeeds."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._path, self._schema = path, schema
        self._rows: list[Row] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        partial = self._stack.enter_context(atomic_path(self._path))
        self._writer = self._stack.enter_context(pq.ParquetWriter(partial, self._schema, compression="zstd"))
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is None:
            self._flush()
        self._stack.__exit__(kind, error, trace)

    def add(self, row: Row) -> None:
        """Append a row."""
        self._rows.append(row)
        if len(self._rows) >= GROUP_ROWS // 8:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema), row_group_size=GROUP_ROWS)
            self._rows = []
