"""Question–answer files of a team: JSON, JSON Lines, or CSV as Excel saves it; columns in English or Korean."""

from collections import Counter
from collections.abc import Iterator
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any

import msgspec

from ...runs.errors import DataError
from ...runs.records import content_id
from ...text.normalize import folded
from .csv_rows import csv_rows
from .json_rows import json_rows, unwrapped
from .paths import files_below, name_of
from .shards import ReadRow, ShardWriter

ALIASES = {
    "question": ("question", "questions", "q", "query", "instruction", "prompt", "질문", "문의", "질의", "문제"),
    "answer": (
        "answer",
        "answers",
        "a",
        "response",
        "output",
        "completion",
        "답변",
        "응답",
        "대답",
        "답",
        "정답",
        "해설",
    ),
    "reference": ("source", "reference", "references", "citation", "출처", "근거", "참고", "참조"),
    "category": ("topic", "category", "subject", "분야", "주제", "분류", "카테고리"),
    "group": ("group", "document", "doc_id", "문서", "그룹"),
    "passage": ("input", "context", "passage", "지문", "본문", "입력", "맥락"),
    "history": ("history", "earlier", "이력", "이전 대화"),
}
SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv")
EMPTY: tuple[Any, ...] = (None, "", [], {})
SHOWN_NAME = 80  # characters of a name shown in a warning
MANY = 10  # rows of one source from which a warning says that they stay together


def read_tables(path: Path, writer: ShardWriter) -> None:
    """Write the rows of a file, or of every QA file of a folder; warn about unused files and columns.

    Raises:
        DataError: a file is none of the three kinds, or no column is a question or an answer.
    """
    below = files_below(path)
    files = [file for file in below if file.suffix.lower() in SUFFIXES] if path.is_dir() else below
    if not files:
        raise DataError("the folder holds no JSON, JSONL or CSV file", where=str(path))
    writer.columns.tally.leave_out((name_of(file, path), "not a QA file") for file in below if file not in set(files))
    for file in files:
        _Table(file, name_of(file, path), writer).read()


class _Table:
    """Reads one file into the writer."""

    def __init__(self, file: Path, member: str, writer: ShardWriter) -> None:
        self._file, self._member, self._writer = file, member, writer
        self._known: dict[tuple[Any, ...], dict[str, str]] = {}  # rows of one file may differ in their keys
        self._unused: Counter[str] = Counter()
        self._groups: Counter[str] = Counter()
        self._rows = 0
        self._seen = False

    def read(self) -> None:
        """Write all rows."""
        rows = _rows_of(self._file, str(self._file))
        for index, (row, reason) in enumerate(rows):
            if not reason and not isinstance(row, dict):
                reason, row = "wrong-type", repr(row)
            if reason:
                self._drop(index, reason, row)
            else:
                self._add(row, self._columns(row, index), index)
            self._writer.flush()
        if not self._seen:
            raise DataError("the file holds no row", where=str(self._file))
        self._tell()

    def _tell(self) -> None:
        tally = self._writer.columns.tally
        for column, rows in self._unused.items():
            tally.warn(f"{self._member}: the column {column[:SHOWN_NAME]!r} is not used ({rows:,} rows)")
        label, rows = max(self._groups.items(), key=itemgetter(1), default=("", 0))
        if rows >= MANY and 2 * rows > self._rows:
            told = f"{self._member}: {rows:,} of {self._rows:,} rows have the source (출처) {label[:SHOWN_NAME]!r}: "
            tally.warn(f"{told}as rows of one document they will stand on one side of the split")

    def _drop(self, index: int, reason: str, row: Any) -> None:
        self._writer.columns.drop(self._member, index, reason, str(row))

    def _columns(self, row: dict[str, Any], index: int) -> dict[str, str]:
        """Field → the row's own name for it."""
        columns = self._known.get(tuple(row))
        if columns is None:
            columns = self._known[tuple(row)] = _columns_of(row)
        if not self._seen and ("question" not in columns or "answer" not in columns):
            missing = [name for name in ("question", "answer") if name not in columns]
            raise DataError(
                f"no column is the {' or the '.join(missing)}; the columns are: {', '.join(map(str, row)) or '(none)'}",
                where=f"{self._file}: row {index + 1}",
                next_step="name the columns question and answer (or 질문 and 답변)",
            )
        self._seen = True
        return columns

    def _add(self, row: dict[str, Any], columns: dict[str, str], index: int) -> None:
        used = set(columns.values())
        self._unused.update(str(name) for name, value in row.items() if name not in used and value not in EMPTY)
        values = {field: row.get(column) for field, column in columns.items()}
        question, answer = values.get("question"), values.get("answer")
        if values.get("history") not in EMPTY:
            self._drop(index, "earlier-turns", row)
            return
        for label, value in (("question", question), ("answer", answer)):
            if not isinstance(value, str):
                self._drop(index, f"missing-{label}" if value is None else "wrong-type", row)
                return
        assert isinstance(question, str)
        assert isinstance(answer, str)
        passage, reference = _plain(values.get("passage")).strip(), _plain(values.get("reference"))
        asked = f"{question}\n\n{passage}" if passage else question
        group = _plain(values.get("group"))
        if not group and reference.strip():
            group = content_id(" ".join(reference.split()))
            self._groups[reference] += 1
        self._rows += 1
        category = _plain(values.get("category"))
        self._writer.columns.add(ReadRow(self._member, index, asked, answer, category, group, reference))


def _plain(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _columns_of(row: dict[str, Any]) -> dict[str, str]:
    """Field → the row's own name for it, by the order of the aliases; `input` alone is the question."""
    plain = {folded(str(name)).strip(): name for name in row}
    found = {}
    for field, names in ALIASES.items():
        name = next((n for n in names if n in plain), None)
        if name is not None:
            found[field] = plain[name]
    if "question" not in found and "passage" in found:
        found["question"] = found.pop("passage")
    return found


def _rows_of(file: Path, where: str) -> Iterator[tuple[Any, str]]:
    """The file's rows; a single object that is not a row is searched for a list of rows."""
    text = _text_of(file)
    if (suffix := file.suffix.lower()) in (".csv", ".tsv"):
        yield from csv_rows(text, where, tabs=suffix == ".tsv")
        return
    rows = json_rows(text, where)
    first = next(rows, None)
    if first is None:
        return
    value, reason = first
    if not reason and isinstance(value, dict) and not {"question", "answer"} & set(_columns_of(value)):
        second = next(rows, None)
        if second is None:
            yield from ((row, "") for row in unwrapped(value, where))
            return
        rows = chain([second], rows)
    yield from chain([first], rows)


def _text_of(file: Path) -> str:
    data = file.read_bytes()
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16")
    for encoding in ("utf-8-sig", "cp949"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise DataError("the text is neither UTF-8 nor cp949", where=str(file), next_step="save the file as UTF-8")
