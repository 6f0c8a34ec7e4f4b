"""The two record types of the pipeline, `QA` and `Document`, with typed provenance, and their Parquet schemas.

Every stage reads and writes only these. A record always says where it came from (archive, member, index, licence)
and which group (source document) it belongs to, so that splits can respect it and an answer can be traced back.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Self, get_type_hints

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .workspace import atomic_path

ROWS_AT_ONCE = 5000  # that `RowWriter` gathers
ID_LENGTH = 20  # hex digits: 80 bits, so a billion rows collide with probability below 1e-6

CANARY = "canary"  # source and category of planted rows; nothing but training and the privacy measure may use them


def is_canary(row: Mapping[str, Any]) -> bool:
    """Whether a composed row is a planted secret."""
    source = row.get("source")
    return isinstance(source, dict) and source.get("name") == CANARY


def content_id(*parts: str) -> str:
    """The identity of a record: a hash of its text alone, the same on every machine."""
    joined = "\x1f".join(parts).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(joined, digest_size=ID_LENGTH // 2).hexdigest()


def content_ids(questions: pa.Array, answers: pa.Array, histories: pa.Array | None = None) -> pa.Array:
    """`content_id(*history, question, answer)` of every row, from columns without nulls; hashed from Arrow's bytes."""
    count = len(questions)
    if histories is not None and len(histories.values):
        before = pc.binary_join(histories, "\x1f")
        alone = pc.equal(pc.list_value_length(histories), 0)
        questions = pc.if_else(alone, questions, pc.binary_join_element_wise(before, questions, "\x1f"))
    joined = pc.binary_join_element_wise(questions, answers, "\x1f")
    _, offsets, data = joined.buffers()
    places = np.frombuffer(offsets, np.int32, count + 1).tolist() if count else [0]
    text, size, blake2b = memoryview(data or b""), ID_LENGTH // 2, hashlib.blake2b
    hashes = b"".join([blake2b(text[a:b], digest_size=size).digest() for a, b in pairwise(places)])
    ends = pa.py_buffer(np.arange(count + 1, dtype=np.int32) * ID_LENGTH)
    return pa.Array.from_buffers(pa.string(), count, [None, ends, pa.py_buffer(hashes.hex().encode())])


def asked(history: Sequence[str], question: str) -> str:
    """The question with the turns before it, without which it may mean nothing."""
    return "\n".join([*history, question]) if history else question


def questions_in(turns: Sequence[Mapping[str, Any]]) -> list[str]:
    """Every question of a dialogue of messages with the turns before it: training learns the answer to each of them."""
    said = [turn for turn in turns if turn.get("role") != "system"]
    texts = [str(turn.get("content", "")) for turn in said]
    return [asked(texts[:at], texts[at]) for at, turn in enumerate(said) if turn.get("role") == "user"]


def question_of(row: Mapping[str, Any]) -> str:
    """The question of a row of plain values, with the turns before it."""
    return asked(row.get("history") or (), row["question"])


@dataclass(frozen=True, slots=True)
class Source:
    """Where a record came from.

    Attributes:
        name: the data set ("aihub-71748", "mna_ko", a site).
        archive: the file it was in, relative to the source's root.
        member: the member of the archive; empty for plain files.
        index: position within the member, from 0.
        licence: a short licence note.
        split: the publisher's own split, "train" or "valid"; empty where there is none.
        place: where it stands in a document, such as 3–4쪽 or 실사 목록!A3:F20; empty elsewhere.
    """

    name: str
    archive: str = ""
    member: str = ""
    index: int = 0
    licence: str = ""
    split: str = ""
    place: str = ""


@dataclass(frozen=True, slots=True)
class QA:
    """One question with its answer.

    Attributes:
        id: hash of question and answer, and of the turns before them.
        group: the source document; records of one group never stand on both sides of a split.
        alternatives: lower-ranked answers, best first, kept for preference training.
        reference: the statute, standard or page that the answer rests on; empty if unknown.
        flags: remarks of the reader, such as "unpaired-numbering".
        cluster: near-duplicate cluster, set by `curate`; empty before.
        score: usefulness for the domain, 0–100, set by `judge`; -1 before.
        reason: why the judge gave that score.
        judge: which judge gave it.
        history: the turns before the question, user and assistant in turn; empty for a single question.
        system: the row's own system prompt; empty takes the pack's.
    """

    id: str
    question: str
    answer: str
    category: str
    group: str
    source: Source
    alternatives: list[str] = field(default_factory=list)
    reference: str = ""
    flags: list[str] = field(default_factory=list)
    cluster: str = ""
    score: int = -1
    reason: str = ""
    judge: str = ""
    history: list[str] = field(default_factory=list)
    system: str = ""

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Self:
        return cls(**{**row, "source": Source(**row["source"])})


@dataclass(frozen=True, slots=True)
class Document:
    """One source text: a statute article, a decision, a page.

    Attributes:
        in_force: date of the text, ISO 8601; empty if unknown.
    """

    id: str
    title: str
    text: str
    group: str
    source: Source
    in_force: str = ""
    flags: list[str] = field(default_factory=list)

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Self:
        return cls(**{**row, "source": Source(**row["source"])})


ARROW_TYPES = {str: pa.string(), int: pa.int64(), list[str]: pa.list_(pa.string())}
SOURCE_TYPE = pa.struct([(name, ARROW_TYPES[kind]) for name, kind in get_type_hints(Source).items()])
ARROW_TYPES[Source] = SOURCE_TYPE


def _schema(record: type[QA | Document], **narrower: pa.DataType) -> pa.Schema:
    kinds = get_type_hints(record)
    return pa.schema([(name, narrower.get(name) or ARROW_TYPES[kind]) for name, kind in kinds.items()])


QA_SCHEMA = _schema(QA, score=pa.int16())
DOCUMENT_SCHEMA = _schema(Document)

# A dropped record with its reason; text that never became a record is kept in `answer`, cut to 2,000 characters.
DROPPED_SCHEMA = QA_SCHEMA.append(pa.field("drop_reason", pa.string()))


def to_table(records: Iterable[QA] | Iterable[Document], schema: pa.Schema, **columns: list[Any]) -> pa.Table:
    """The records as an Arrow table of `schema`; `columns` adds what the records lack."""
    rows = [asdict(r) for r in records]
    for name, values in columns.items():
        for row, value in zip(rows, values, strict=True):
            row[name] = value
    return pa.Table.from_pylist(rows, schema=schema)


def write_table(table: pa.Table, path: Path) -> None:
    """Write an Arrow table as Parquet, atomically; equal tables give equal bytes."""
    with atomic_path(path) as partial:
        pq.write_table(table, partial, compression="zstd", row_group_size=65_536)


class RowWriter:
    """Writes a Parquet file row by row with bounded memory; the file appears only if the block ends without error."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._path, self._schema = path, schema
        self._rows: list[dict[str, Any]] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        partial = self._stack.enter_context(atomic_path(self._path))
        self._writer = self._stack.enter_context(pq.ParquetWriter(partial, self._schema, compression="zstd"))
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is None:
            self._flush()
        self._stack.__exit__(kind, error, trace)

    def add(self, row: dict[str, Any]) -> None:
        """Append a row."""
        self._rows.append(row)
        if len(self._rows) >= ROWS_AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
            self._rows = []


def iter_qa(path: Path, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """Rows of a Parquet file or folder of shards, batch by batch, as plain dicts (bounded memory)."""
    for shard in shards(path):
        with pq.ParquetFile(shard) as file:
            for batch in file.iter_batches(batch_size=8192, columns=columns):
                yield from batch.to_pylist()


def shards(path: Path) -> list[Path]:
    """The Parquet files of `path`: itself, or the files of a folder in name order."""
    return sorted(path.glob("*.parquet")) if path.is_dir() else [path]


def read_qa(path: Path) -> list[QA]:
    """All `QA` of a Parquet file or folder of shards."""
    return [QA.from_row(row) for row in iter_qa(path)]
