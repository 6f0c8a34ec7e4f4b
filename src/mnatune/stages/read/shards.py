"""Rows collected as columns and written to Parquet shards: no object per row, memory bounded by one shard."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ...runs.records import DROPPED_SCHEMA, QA, QA_SCHEMA, SOURCE_TYPE, Source, content_id, content_ids
from ...runs.workspace import atomic_path
from .counts import ReadTally

SHOWN = 2000  # characters of a dropped row that are kept
DROPS_AT_ONCE = 2000  # dropped rows that gather before they are written


@dataclass(frozen=True, slots=True)
class Origin:
    """The part of provenance that all rows of one archive share."""

    name: str
    archive: str
    licence: str
    split: str


class ReadRow(NamedTuple):
    """A row as read. Without a group it is its own."""

    member: str
    position: int
    question: str
    answer: str
    category: str = ""
    group: str = ""
    reference: str = ""
    alternatives: Sequence[str] = ()
    flags: Sequence[str] = ()
    history: Sequence[str] = ()
    system: str = ""
    place: str = ""


@dataclass
class Columns:
    """Rows of one origin, column by column."""

    origin: Origin
    tally: ReadTally = field(default_factory=ReadTally)
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    drops: list[dict[str, Any]] = field(default_factory=list)
    characters: int = 0
    _tables: list[pa.Table] = field(default_factory=list)

    def add(self, row: ReadRow) -> None:
        """Append a row."""
        self.rows.append(row)
        self.characters += len(row.question) + len(row.answer) + sum(map(len, row.alternatives))

    def add_table(self, table: pa.Table) -> None:
        """Append rows that are a table of `QA_SCHEMA` already."""
        self._settle()
        self._tables.append(table)
        self.characters += sum(table[name].nbytes for name in ("question", "answer")) // 3

    def drop(self, member: str, index: int, reason: str, shown: str = "", question: str = "", *, rows: int = 1) -> None:
        """Count `rows` rejected rows under a reason and keep the beginning of their text."""
        self.tally.dropped[reason] += rows
        origin = self.origin
        source = Source(origin.name, origin.archive, member, index, origin.licence, origin.split)
        asked, answer = (text[:SHOWN].encode("utf-8", "replace").decode("utf-8") for text in (question, shown))
        row = QA(content_id(origin.archive, member, str(index), reason), asked, answer, "", "", source)
        self.drops.append({**asdict(row), "drop_reason": reason})

    @property
    def count(self) -> int:
        """Rows that have gathered."""
        return len(self.rows) + sum(map(len, self._tables))

    def table(self) -> pa.Table:
        """The rows as an Arrow table of `QA_SCHEMA`, in the order in which they came."""
        self._settle()
        return pa.concat_tables(self._tables)

    def _settle(self) -> None:
        """Make the rows that came one by one a table."""
        if not self.rows:
            return
        read = dict(zip(ReadRow._fields, zip(*self.rows, strict=True), strict=True))
        columns = {name: _column(name, values) for name, values in read.items()}
        self._tables.append(table_of(self.origin, columns))
        self.rows.clear()

    def clear(self) -> None:
        """Forget the rows (their counts stay)."""
        self.rows.clear()
        self._tables.clear()
        self.characters = 0


def table_of(origin: Origin, read: Mapping[str, pa.Array]) -> pa.Table:
    """A table of `QA_SCHEMA` from what was read; a row without a group is its own.

    Args:
        read: `ReadRow`'s fields as columns; those with a default may be left out.
    """
    question, answer, group = read["question"], read["answer"], read["group"]
    count = len(question)

    def same(value: Any, kind: Any = None) -> pa.Array:
        return pa.repeat(pa.scalar(value, kind or pa.string()), count)

    empty = _lists([()] * count)
    none = dict.fromkeys(("reference", "system", "place"), same(""))
    read = none | dict.fromkeys(("alternatives", "flags", "history"), empty) | dict(read)
    ids = content_ids(question, answer, read["history"])
    place = [read["member"], read["position"]]
    named = [same(origin.name), same(origin.archive), *place, same(origin.licence), same(origin.split), read["place"]]
    columns = [
        *(ids, question, answer, read["category"], pc.if_else(pc.equal(group, ""), ids, group)),
        pa.StructArray.from_arrays(named, fields=list(SOURCE_TYPE)),
        *(read["alternatives"], read["reference"], read["flags"]),
        *(same(""), same(-1, pa.int16()), same(""), same(""), read["history"], read["system"]),
    ]
    return pa.Table.from_arrays(columns, schema=QA_SCHEMA)


def _column(name: str, values: Sequence[Any]) -> pa.Array:
    if name in ("alternatives", "flags", "history"):
        return _lists(values)
    return pa.array(values, pa.int64() if name == "position" else pa.string())


def _lists(values: Sequence[Sequence[str]]) -> pa.Array:
    """A column of lists of texts."""
    if not any(values):
        return pa.ListArray.from_arrays(pa.array(np.zeros(len(values) + 1, np.int32)), pa.array([], pa.string()))
    return pa.array([list(value) for value in values], pa.list_(pa.string()))


class ShardWriter:
    """Writes a shard in row groups as rows come, under its name only when closed without an error."""

    def __init__(self, path: Path, origin: Origin, dropped: Path | None = None, flush_at: int = 3_000_000) -> None:
        self.columns = Columns(origin)
        self._path = path
        self._flush_at = flush_at
        self._context = atomic_path(path)
        self._writer: pq.ParquetWriter | None = None
        self._dropped = DropWriter(dropped) if dropped else None

    def __enter__(self) -> "ShardWriter":
        self._partial = self._context.__enter__()
        return self

    def _open(self) -> pq.ParquetWriter:
        """Quick to write rather than small: the files are read once, and text that hardly repeats needs no dictionary."""
        of_source = (f"source.{name}" for name in ("name", "archive", "member", "licence", "split"))
        options = {"compression": "snappy", "write_statistics": False}
        return pq.ParquetWriter(self._partial, QA_SCHEMA, use_dictionary=["category", "group", *of_source], **options)

    def flush(self, least: int | None = None) -> None:
        """Write what has gathered once it holds `least` characters (by default the writer's own bound)."""
        columns = self.columns
        if self._dropped and len(columns.drops) >= DROPS_AT_ONCE:
            self._dropped.write(columns.drops)
        if not columns.count or columns.characters < (self._flush_at if least is None else least):
            return
        if self._writer is None:
            self._writer = self._open()
        columns.tally.rows += columns.count
        columns.tally.splits[columns.origin.split or "none"] += columns.count
        self._writer.write_table(columns.table())
        columns.clear()

    def __exit__(self, *error: Any) -> None:
        if error[0] is None:
            self.flush(0)
            if self._writer is None:
                self._writer = self._open()
        if self._writer is not None:
            self._writer.close()
        if self._dropped:
            self._dropped.write(self.columns.drops)
            self._dropped.close()
        self._context.__exit__(*error)


class DropWriter:
    """Writes rejected rows with their reasons; creates no file without any."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: pq.ParquetWriter | None = None

    def write(self, drops: list[dict[str, Any]]) -> None:
        """Write the rows and forget them."""
        if drops:
            self._writer = self._writer or pq.ParquetWriter(self._path, DROPPED_SCHEMA, compression="zstd")
            self._writer.write_table(pa.Table.from_pylist(drops, schema=DROPPED_SCHEMA))
            drops.clear()

    def close(self) -> None:
        """End the file."""
        if self._writer:
            self._writer.close()
