"""Question–answer files of a team: JSON, JSON Lines, CSV or Excel; columns in English or Korean, dialogues of any length."""

from collections import Counter
from collections.abc import Collection, Iterator
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ...documents import Lost, attempt, read_sheets
from ...runs.errors import DataError
from ...runs.records import content_id
from ...text.normalize import decoded
from .csv_rows import csv_rows
from .dialogues import Dialogue, Malformed, dialogue_of, history_of, turns_column
from .headers import TITLE_LINES, columns_of, is_header, more_answers, records
from .json_rows import json_rows, unwrapped
from .paths import files_below, name_of
from .shards import ReadRow, ShardWriter

WORKBOOKS = (".xlsx", ".xlsm", ".xls")
TABLES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", *WORKBOOKS)
OTHER = "not a JSON, JSONL, CSV or Excel file"
EMPTY: tuple[Any, ...] = (None, "", [], {})
SHOWN_NAME = 80  # characters of a name shown in a warning
MANY = 10  # rows of one source from which a warning says that they stay together


def read_tables(path: Path, writer: ShardWriter, known: Collection[str] = ()) -> None:
    """Write the rows of a file, or of every QA file of a folder; warn about unused files and columns.

    Args:
        known: columns that are of use elsewhere, and of which no warning is given.

    Raises:
        DataError: a file cannot be read, or no column is a question or an answer.
    """
    below = files_below(path)
    tables = [file for file in below if file.suffix.lower() in TABLES and not file.name.startswith("~$")]
    files = tables if path.is_dir() else below
    if not files:
        raise DataError("the folder holds no JSON, JSONL, CSV or Excel file", where=str(path))
    others = ((name_of(file, path), OTHER) for file in below if file not in set(files))
    writer.columns.tally.leave_out(others, "members")
    for file in files:
        _Table(file, name_of(file, path), writer, known).read()


class _Names(NamedTuple):
    """A row's own names: field → column, and the columns that hold answers."""

    fields: dict[str, str]
    answers: list[str]

    @classmethod
    def of(cls, row: dict[str, Any]) -> "_Names":
        fields = columns_of(row)
        answer = fields.get("answer", "")
        return cls(fields, [*([answer] if answer else []), *more_answers(row, answer)])

    def used(self, row: dict[str, Any]) -> set[str]:
        """The columns that the row's record is made of."""
        turns = turns_column(row)
        if not turns:
            return {*self.fields.values(), *self.answers}
        return {turns, *(name for field, name in self.fields.items() if field in ("reference", "category", "group"))}


class _Table:
    """Reads one file into the writer."""

    def __init__(self, file: Path, member: str, writer: ShardWriter, known: Collection[str]) -> None:
        self._file, self._member, self._writer = file, member, writer
        self._silent = {*known, "system"}
        self._known: dict[tuple[Any, ...], _Names] = {}  # rows of one file may differ in their keys
        self._unused: Counter[str] = Counter()
        self._groups: Counter[str] = Counter()
        self._rows = 0
        self._seen = False

    def read(self) -> None:
        """Write all rows."""
        for index, (row, reason, place) in enumerate(_rows_of(self._file)):
            if not reason and not isinstance(row, dict):
                reason, row = "wrong-type", repr(row)
            if not reason:
                try:
                    self._add(row, ReadRow(self._member, index, "", "", place=place))
                except Malformed as fault:
                    reason = str(fault)
            if reason:
                self._writer.columns.drop(self._member, index, reason, str(row))
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

    def _names(self, row: dict[str, Any], index: int) -> _Names:
        names = self._known.get(tuple(row))
        if names is None:
            names = self._known[tuple(row)] = _Names.of(row)
        if not (self._seen or turns_column(row) or ("question" in names.fields and names.answers)):
            found = {"question": names.fields.get("question"), "answer": names.answers}
            missing = [label for label, columns in found.items() if not columns]
            raise DataError(
                f"no column is the {' or the '.join(missing)}; the columns are: {', '.join(map(str, row)) or '(none)'}",
                where=f"{self._file}: row {index + 1}",
                next_step="name the columns question and answer (or 질문 and 답변), or give messages",
            )
        self._seen = True
        return names

    def _add(self, row: dict[str, Any], at: ReadRow) -> None:
        """Add the row, once for each of its answers; raises `Malformed` with the reason if it cannot be a record."""
        names = self._names(row, at.position)
        used = names.used(row) | self._silent
        self._unused.update(str(name) for name, value in row.items() if name not in used and value not in EMPTY)
        values = {field: row.get(column) for field, column in names.fields.items()}
        spoken = dialogue_of(row)
        found = [spoken] if spoken else list(_dialogues(values, [row.get(name) for name in names.answers]))
        own, reference, group = row.get("system"), _plain(values.get("reference")), _plain(values.get("group"))
        system = own.strip() if isinstance(own, str) else ""
        if not group and reference.strip():
            group = content_id(" ".join(reference.split()))
            self._groups[reference] += 1
        self._rows += 1
        at = at._replace(category=_plain(values.get("category")), group=group, reference=reference)
        for one in found:
            self._writer.columns.add(at._replace(**one._asdict() | {"system": one.system or system}))


def _dialogues(values: dict[str, Any], answers: list[Any]) -> Iterator[Dialogue]:
    """A question with each of its answers; a passage stands below the question.

    Raises:
        Malformed: the question or an answer is missing or no text, or the history has another shape.
    """
    question = values.get("question")
    answers = [part for value in answers for part in (value if isinstance(value, list) and value else [value])]
    told = [value for value in answers if not (value is None or value == "")] or answers[:1] or [None]
    for label, value in (("question", question), *(("answer", value) for value in told)):
        if not isinstance(value, str):
            raise Malformed(f"missing-{label}" if value is None else "wrong-type")
    passage = _plain(values.get("passage")).strip()
    asked = f"{question}\n\n{passage}" if passage else str(question)
    history = history_of(values.get("history"))
    yield from (Dialogue(asked, answer, history, "") for answer in told)


def _plain(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _rows_of(file: Path) -> Iterator[tuple[Any, str, str]]:
    """(row, reason, cell) of every row; a row that cannot be a record has a reason."""
    suffix = file.suffix.lower()
    if suffix in WORKBOOKS:
        yield from _workbook_rows(file)
        return
    text, where, table = _text_of(file), str(file), suffix in (".csv", ".tsv")
    rows = csv_rows(text, where, tabs=suffix == ".tsv") if table else _json_rows(text, where)
    yield from ((row, reason, "") for row, reason in rows)


def _json_rows(text: str, where: str) -> Iterator[tuple[Any, str]]:
    """The rows of a JSON file; a single object that is not a row is searched for a list of rows."""
    rows = json_rows(text, where)
    first = next(rows, None)
    if first is None:
        return
    value, reason = first
    if not reason and isinstance(value, dict) and not _is_row(value):
        second = next(rows, None)
        if second is None:
            yield from ((row, "") for row in unwrapped(value, where))
            return
        rows = chain([second], rows)
    yield from chain([first], rows)


def _is_row(value: dict[str, Any]) -> bool:
    names = _Names.of(value)
    return bool(turns_column(value) or names.answers or "question" in names.fields)


def _workbook_rows(file: Path) -> Iterator[tuple[Any, str, str]]:
    """The rows of every sheet that has a header, or of all sheets if none has one."""
    if file.suffix.lower() == ".xls":
        raise DataError("an old Excel file", where=str(file), next_step="save it as .xlsx")
    (found,) = attempt(read_sheets, [(file,)], 1)
    if isinstance(found, Lost):
        raise DataError(f"the workbook cannot be read: {found.reason}", where=str(file))
    tables = [sheet for sheet in found if any(map(is_header, sheet.rows[:TITLE_LINES]))]
    for sheet in tables or found:
        placed = ((f"{sheet.name}!A{n}", cells) for n, cells in enumerate(sheet.rows, sheet.top + 1))
        for place, row, reason in records(placed, str(file)):
            yield row, reason, place


def _text_of(file: Path) -> str:
    data = file.read_bytes()
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16")
    text = decoded(data, "utf-8-sig")
    if text is None:
        raise DataError("the text is neither UTF-8 nor cp949", where=str(file), next_step="save the file as UTF-8")
    return text
