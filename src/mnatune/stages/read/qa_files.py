"""Question–answer files of a team: JSON, JSON Lines, or CSV as Excel saves it; columns in English or Korean."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from ...runs.errors import DataError
from ...runs.records import content_id
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
}
SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv")


def read_tables(path: Path, writer: ShardWriter) -> None:
    """Write the rows of a file, or of every QA file of a folder.

    Raises:
        DataError: a file is none of the three kinds, or no column is a question or an answer.
    """
    files = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES) if path.is_dir() else [path]
    if not files:
        raise DataError("the folder holds no JSON, JSONL or CSV file", where=str(path))
    for file in files:
        member = file.relative_to(path).as_posix() if path.is_dir() else file.name
        _read_table(file, member, writer)


def _read_table(file: Path, member: str, writer: ShardWriter) -> None:
    text = _text_of(file)
    suffix = file.suffix.lower()
    rows = _csv_rows(text, file) if suffix in (".csv", ".tsv") else _json_rows(text, file)
    known: dict[tuple[Any, ...], dict[str, str]] = {}  # rows of one file may differ in their keys
    seen = False
    for index, (row, reason) in enumerate(rows):
        if reason:
            writer.columns.drop(member, index, reason, str(row))
            continue
        if not isinstance(row, dict):
            writer.columns.drop(member, index, "wrong-type", repr(row))
            continue
        columns = known.get(tuple(row))
        if columns is None:
            columns = known[tuple(row)] = _columns_of(row)
        if not seen and ("question" not in columns or "answer" not in columns):
            missing = [name for name in ("question", "answer") if name not in columns]
            raise DataError(
                f"no column is the {' or the '.join(missing)}; the columns are: {', '.join(map(str, row)) or '(none)'}",
                where=f"{file}: row {index + 1}",
                next_step="name the columns question and answer (or 질문 and 답변)",
            )
        seen = True
        _add(row, columns, member, index, writer)
        writer.flush()
    if not seen:
        raise DataError("the file holds no row", where=str(file))


def _add(row: dict[str, Any], columns: dict[str, str], member: str, index: int, writer: ShardWriter) -> None:
    values = {field: row.get(column) for field, column in columns.items()}
    question, answer = values.get("question"), values.get("answer")
    for label, value in (("question", question), ("answer", answer)):
        if value is None:
            writer.columns.drop(member, index, f"missing-{label}", repr(row))
            return
        if not isinstance(value, str):
            writer.columns.drop(member, index, "wrong-type", repr(row))
            return
    reference = _plain(values.get("reference"))
    group = _plain(values.get("group")) or (content_id(" ".join(reference.split())) if reference.strip() else "")
    assert isinstance(question, str)
    assert isinstance(answer, str)
    writer.columns.add(ReadRow(member, index, question, answer, _plain(values.get("category")), group, reference))


def _plain(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _columns_of(row: dict[str, Any]) -> dict[str, str]:
    """Field → the row's own name for it, by the order of the aliases."""
    plain = {str(name).strip().lstrip("\ufeff").lower(): name for name in row}
    found = {}
    for field, names in ALIASES.items():
        name = next((n for n in names if n in plain), None)
        if name is not None:
            found[field] = plain[name]
    return found


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
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        for row in reader:
            extra = row.pop(None, None)  # type: ignore[call-overload]
            yield (row, "") if extra is None else (row, "too-many-columns")
    except csv.Error as error:
        raise DataError(f"not a CSV file: {error}", where=f"{file}:{reader.line_num}") from error


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
