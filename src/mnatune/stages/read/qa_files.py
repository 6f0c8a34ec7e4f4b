"""Question–answer files of a team: JSON, JSON Lines, CSV or Excel; columns in English or Korean, dialogues of any length."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from ...documents import Lost, attempt, read_sheets
from ...runs.errors import DataError
from ...runs.records import content_id
from .dialogues import Dialogue, Malformed, dialogue_of, history_of
from .headers import TITLE_LINES, columns_of, is_header, more_answers, records
from .shards import ReadRow, ShardWriter

SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv")
WORKBOOKS = (".xlsx", ".xlsm", ".xls")
OTHER = "not a JSON, JSONL, CSV or Excel file"


def read_tables(path: Path, writer: ShardWriter) -> None:
    """Write the rows of a file, or of every QA file of a folder; other files of a folder are counted.

    Raises:
        DataError: a file cannot be read, or no column is a question or an answer.
    """
    named = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    files = [p for p in named if p.suffix.lower() in (*SUFFIXES, *WORKBOOKS) and not p.name.startswith("~$")]
    for other in (p for p in named if path.is_dir() and p not in files):
        writer.columns.tally.members_skipped[OTHER] += 1
        writer.columns.tally.warnings.append(f"{other.relative_to(path)}: {OTHER}")
    if not files:
        raise DataError("the folder holds no JSON, JSONL, CSV or Excel file", where=str(path))
    for file in files:
        member = file.relative_to(path).as_posix() if path.is_dir() else file.name
        _read_table(file, member, writer)


def _read_table(file: Path, member: str, writer: ShardWriter) -> None:
    known: dict[tuple[Any, ...], dict[str, str]] = {}  # rows of one file may differ in their keys
    seen = False
    for index, (row, reason, place) in enumerate(_rows(file)):
        if reason or not isinstance(row, dict):
            writer.columns.drop(member, index, reason or "wrong-type", str(row) if reason else repr(row))
            continue
        try:
            spoken = dialogue_of(row)
        except Malformed as fault:
            writer.columns.drop(member, index, str(fault), repr(row))
            seen = True
            continue
        columns = known.get(tuple(row))
        if columns is None:
            columns = known[tuple(row)] = columns_of(row)
        if not seen and not spoken and ("question" not in columns or not _answers(row, columns)):
            missing = [name for name in ("question", "answer") if name not in columns]
            raise DataError(
                f"no column is the {' or the '.join(missing)}; the columns are: {', '.join(map(str, row)) or '(none)'}",
                where=f"{file}: row {index + 1}",
                next_step="name the columns question and answer (or 질문 and 답변), or give messages",
            )
        seen = True
        _add(row, columns, ReadRow(member, index, "", "", place=place), spoken, writer)
        writer.flush()
    if not seen:
        raise DataError("the file holds no row", where=str(file))


def _rows(file: Path) -> Iterator[tuple[Any, str, str]]:
    """(row, reason, cell) of every row; a row that cannot be a record has a reason."""
    suffix = file.suffix.lower()
    if suffix in WORKBOOKS:
        yield from _workbook_rows(file)
        return
    text = _text_of(file)
    rows = _csv_rows(text, file) if suffix in (".csv", ".tsv") else _json_rows(text, file)
    for row, reason in rows:
        yield row, reason, ""


def _add(
    row: dict[str, Any], columns: dict[str, str], at: ReadRow, spoken: Dialogue | None, writer: ShardWriter
) -> None:
    values = {field: row.get(column) for field, column in columns.items()}
    reference = _plain(values.get("reference"))
    group = _plain(values.get("group")) or (content_id(" ".join(reference.split())) if reference.strip() else "")
    own = row.get("system")
    system = own.strip() if isinstance(own, str) else ""
    at = at._replace(category=_plain(values.get("category")), group=group, reference=reference, system=system)
    if spoken:
        writer.columns.add(at._replace(**spoken._asdict() | {"system": spoken.system or system}))
        return
    question, answers = values.get("question"), [row.get(name) for name in _answers(row, columns)]
    answers = [part for value in answers for part in (value if isinstance(value, list) and value else [value])]
    told = [value for value in answers if not (value is None or value == "")] or answers[:1] or [None]
    for label, value in (("question", question), *(("answer", value) for value in told)):
        if value is None or not isinstance(value, str):
            reason = f"missing-{label}" if value is None else "wrong-type"
            writer.columns.drop(at.member, at.position, reason, repr(row))
            return
    try:
        history = history_of(row.get("history"))
    except Malformed as fault:
        writer.columns.drop(at.member, at.position, str(fault), repr(row))
        return
    for answer in told:  # several answers to one question are as many rows
        writer.columns.add(at._replace(question=str(question), answer=str(answer), history=history))


def _answers(row: dict[str, Any], columns: dict[str, str]) -> list[str]:
    """The columns that hold answers."""
    first = columns.get("answer", "")
    return [*([first] if first else []), *more_answers(row, first)]


def _plain(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


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


def _csv_rows(text: str, file: Path) -> Iterator[tuple[Any, str]]:
    csv.field_size_limit(1 << 24)
    first = text.split("\n", 1)[0]
    delimiter = "\t" if file.suffix.lower() == ".tsv" else max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        for _, row, reason in records(reader):
            yield row, reason
    except csv.Error as error:
        raise DataError(f"not a CSV file: {error}", where=f"{file}:{reader.line_num}") from error


def _workbook_rows(file: Path) -> Iterator[tuple[Any, str, str]]:
    """The rows of every sheet that has a header, or of all sheets if none has one."""
    if file.suffix.lower() == ".xls":
        raise DataError("an old Excel file", where=str(file), next_step="save it as .xlsx")
    (found,) = attempt(read_sheets, [(file,)], 1)
    if isinstance(found, Lost):
        raise DataError(f"the workbook cannot be read: {found.reason}", where=str(file))
    tables = [sheet for sheet in found if any(map(is_header, sheet.rows[:TITLE_LINES]))]
    for sheet in tables or found:
        for number, row, reason in records(sheet.rows):
            yield row, reason, f"{sheet.name}!A{sheet.top + number + 1}"


def _json_rows(text: str, file: Path) -> Iterator[tuple[Any, str]]:
    body = text.lstrip()
    if body.startswith("["):
        try:
            value = msgspec.json.decode(body)
        except (msgspec.DecodeError, RecursionError) as error:
            raise DataError(f"not a JSON array: {error}", where=str(file)) from error
        yield from ((row, "") for row in value)
        return
    for line in body.split("\n"):  # not splitlines: strings may hold U+2028, U+0085 and the like as they are
        if not line.strip():
            continue
        try:
            yield msgspec.json.decode(line), ""
        except (msgspec.DecodeError, RecursionError):
            yield line, "invalid-json"
