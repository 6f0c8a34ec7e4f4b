"""The first pass, one call per shard: tidy and mask every row, judge it, and set the dropped ones aside."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from ...runs.records import DROPPED_SCHEMA, QA_SCHEMA, asked, content_id, content_ids
from ...text.model_marks import marks_of, without_switches, without_thoughts
from ...text.normalize import normalize_all
from ...text.personal import Personal
from ...text.shingles import ExamOverlap
from .rules import Drops, Rules

BATCH = 4096
CLEAN_SCHEMA = QA_SCHEMA.append(pa.field("row", pa.int64()))
HIDDEN = "\x00"  # before the hash that stands for a group named by personal data
ROWS_PER_SHARD = 1 << 32  # row number = shard number × this + position


@dataclass
class Cleaned:
    """What a shard became.

    Attributes:
        ids: of the rows that stay.
        lengths: characters of their answers.
        licences: their licences, as positions in `licence_names`.
        counts: source → split → what happened → rows.
        masked: kind of personal data → occurrences.
        thoughts: answers from which a reasoning trace was taken out.
    """

    ids: npt.NDArray[np.bytes_]
    lengths: npt.NDArray[np.int32]
    licences: npt.NDArray[np.int32]
    licence_names: list[str]
    counts: dict[tuple[str, str], Counter[str]] = field(default_factory=dict)
    masked: Counter[str] = field(default_factory=Counter)
    thoughts: int = 0


@dataclass(frozen=True)
class Cleaner:
    """All that the pass depends on; it travels to worker processes."""

    drops: Drops
    personal: dict[str, Any] | None
    exam: list[str]

    def ready(self) -> tuple[Rules, Personal | None, ExamOverlap]:
        """The rules compiled, once per process: every task brings an equal copy to its worker."""
        if not _READY or _READY[0][0] != self:
            personal = Personal(self.personal) if self.personal else None
            _READY[:] = [(self, (Rules(self.drops), personal, ExamOverlap(self.exam)))]
        return _READY[0][1]


_READY: list[tuple[Cleaner, tuple[Rules, Personal | None, ExamOverlap]]] = []  # of the last cleaner, none or one


def clean_shard(cleaner: Cleaner, shard: Path, number: int, kept: Path, dropped: Path) -> Cleaned:
    """Clean one shard into two files: the rows that stay (`CLEAN_SCHEMA`) and the dropped ones (`DROPPED_SCHEMA`)."""
    rules, personal, exam = cleaner.ready()
    ids: list[str] = []
    lengths: list[int] = []
    licences: list[int] = []
    names: dict[str, int] = {}
    result = Cleaned(np.zeros(0, "S20"), np.zeros(0, np.int32), np.zeros(0, np.int32), [])
    with (
        pq.ParquetFile(shard) as file,
        pq.ParquetWriter(kept, CLEAN_SCHEMA, compression="zstd", compression_level=1) as keep,
        pq.ParquetWriter(dropped, DROPPED_SCHEMA, compression="zstd", compression_level=1) as drop,
    ):
        for batch in file.iter_batches(batch_size=BATCH):
            table = _tidy(batch, personal, result)
            answers = table["answer"].to_pylist()
            histories = table["history"].to_pylist()
            questions = list(map(asked, histories, table["question"].to_pylist()))
            reasons = rules.reasons(questions, answers, table["category"].to_pylist())
            for row, history in enumerate(histories):
                if not all(history):  # a turn was nothing but reasoning, or a switch
                    reasons[row] = reasons[row] or "empty-turn"
            for row in exam.find([f"{q}\n{a}" for q, a in zip(questions, answers, strict=True)]):
                reasons[row] = reasons[row] or "exam-overlap"
            _count(table, reasons, result.counts)
            stays = pa.array([not reason for reason in reasons])
            good = table.filter(stays)
            first = number * ROWS_PER_SHARD + len(ids)
            ids += good["id"].to_pylist()
            lengths += [len(answer) for answer, reason in zip(answers, reasons, strict=True) if not reason]
            licence = good["source"].combine_chunks().field("licence").to_pylist() if len(good) else []
            licences += [names.setdefault(name, len(names)) for name in licence]
            keep.write_table(good.append_column("row", pa.array(range(first, first + len(good)), pa.int64())))
            if len(good) < len(table):
                lost = [reason for reason in reasons if reason]
                drop.write_table(table.filter(pa.compute.invert(stays)).append_column("drop_reason", pa.array(lost)))
    result.ids = np.array(ids, "S20")
    result.lengths = np.array(lengths, np.int32)
    result.licences = np.array(licences, np.int32)
    result.licence_names = list(names)
    return result


def _tidy(batch: pa.RecordBatch, personal: Personal | None, result: Cleaned) -> pa.Table:
    """The batch with its texts normalised, masked and free of reasoning traces, and its ids made anew."""
    columns = {name: batch.column(name) for name in QA_SCHEMA.names}

    def tidy(texts: list[str]) -> list[str]:
        texts = normalize_all(texts)
        return personal.mask_all(texts, result.masked) if personal else texts

    def asking(texts: list[str]) -> list[str]:
        return [without_switches(text) for text in tidy(texts)]

    def answering(texts: list[str]) -> list[str]:
        freed = [without_thoughts(text) for text in normalize_all(texts)]
        result.thoughts += sum(had for _, had in freed)
        return tidy([text for text, _ in freed])

    questions = pa.array(asking(columns["question"].to_pylist()), pa.string())
    answers = pa.array(answering(columns["answer"].to_pylist()), pa.string())
    if len(columns["alternatives"].values):
        others = answering(columns["alternatives"].values.to_pylist())
        columns["alternatives"] = _listed(columns["alternatives"], ["" if marks_of(text) else text for text in others])
    if len(columns["history"].values):
        turns = columns["history"].values.to_pylist()  # user and assistant in turn: every row has an even number
        turns[::2], turns[1::2] = asking(turns[::2]), answering(turns[1::2])
        columns["history"] = _listed(columns["history"], turns)
    ids = content_ids(questions, answers, columns["history"])
    own = pa.compute.equal(columns["group"], columns["id"])
    for name in ("reference", "system"):
        if any(columns[name].to_pylist()):
            columns[name] = pa.array(tidy(columns[name].to_pylist()), pa.string())
    columns |= {
        "id": ids,
        "cluster": ids,
        "question": questions,
        "answer": answers,
        "group": pa.compute.if_else(own, ids, _groups(columns["group"], personal)),
        "category": _names(columns["category"], tidy),
        "source": masked_places(columns["source"], tidy),
    }
    return pa.Table.from_arrays([columns[name] for name in QA_SCHEMA.names], schema=QA_SCHEMA)


def _listed(column: pa.ListArray, texts: list[str]) -> pa.ListArray:
    """The column of lists with other texts."""
    return pa.ListArray.from_arrays(column.offsets, pa.array(texts, pa.string()))


def _names(column: pa.Array, tidy: Callable[[list[str]], list[str]]) -> pa.Array:
    """A column of few different texts, each tidied once."""
    coded = column.dictionary_encode()
    return pa.array(tidy(coded.dictionary.to_pylist()), pa.string()).take(coded.indices)


def masked_places(sources: pa.StructArray, tidy: Callable[[list[str]], list[str]]) -> pa.StructArray:
    """Where the rows came from, with masked names of files and members; they go on into cards and manifests."""
    fields = list(sources.type)
    named = ("name", "archive", "member")
    parts = [_names(sources.field(f.name), tidy) if f.name in named else sources.field(f.name) for f in fields]
    return pa.StructArray.from_arrays(parts, fields=fields)


def _groups(groups: pa.Array, personal: Personal | None) -> pa.Array:
    """The groups; names with personal data become hashes until `result` numbers them."""
    if personal is None:
        return groups
    coded = groups.dictionary_encode()
    names = coded.dictionary.to_pylist()
    masked = personal.mask_all(names, Counter())
    hidden = [HIDDEN + content_id(name) if name != mask else name for name, mask in zip(names, masked, strict=True)]
    return pa.array(hidden, pa.string()).take(coded.indices)


def _count(table: pa.Table, reasons: list[str], counts: dict[tuple[str, str], Counter[str]]) -> None:
    source = table["source"].combine_chunks()
    names, splits = source.field("name").to_pylist(), source.field("split").to_pylist()
    for (name, split, reason), rows in Counter(zip(names, splits, reasons, strict=True)).items():
        count = counts.setdefault((name, split), Counter())
        count["rows"] += rows
        if reason:
            count[reason] += rows
