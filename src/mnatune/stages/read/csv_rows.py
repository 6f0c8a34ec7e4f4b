"""Strict CSV: unbalanced quotation marks are an error that names the line."""

import csv
import io
from collections import Counter
from collections.abc import Iterator
from typing import Any

from ...runs.errors import DataError

FIELD_CHARACTERS = 1 << 24
EXTRA = "too-many-columns"


def csv_rows(text: str, where: str, *, tabs: bool) -> Iterator[tuple[Any, str]]:
    """Each row as a dict keyed by the header, or its fields with the reason it is rejected.

    Raises:
        DataError: a quotation mark is not closed or stands within a field, or a column stands twice.
    """
    csv.field_size_limit(FIELD_CHARACTERS)
    delimiter = "\t" if tabs else max(",;\t", key=text.split("\n", 1)[0].count)
    lines = _parsed(text, delimiter, where)
    _, header = next(lines, (1, []))
    twice = [name for name, count in Counter(name.strip() for name in header).items() if count > 1 and name]
    if twice:
        told = f"the column {twice[0]!r} stands {header.count(twice[0])} times: one would hide the other"
        raise DataError(told, where=f"{where}:1", next_step="give each column a name of its own")
    for _, fields in lines:
        if len(fields) > len(header):
            yield fields, EXTRA
        else:
            yield dict(zip(header, [*fields, *[None] * (len(header) - len(fields))], strict=True)), ""


def _parsed(text: str, delimiter: str, where: str) -> Iterator[tuple[int, list[str]]]:
    """(line, fields) of each row; quotes are doubled as in RFC 4180, or else escaped by a backslash as by MySQL."""
    try:
        return iter(_rows(text, delimiter, escape=None))
    except csv.Error as error:
        try:
            return iter(_rows(text, delimiter, escape="\\")) if '\\"' in text else _refuse(error, where)
        except csv.Error:
            return _refuse(error, where)


def _rows(text: str, delimiter: str, escape: str | None) -> list[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, escapechar=escape)
    rows: list[tuple[int, list[str]]] = []
    begun = 1
    try:
        for fields in reader:
            if fields:
                rows.append((begun, fields))
            begun = reader.line_num + 1
    except csv.Error as error:
        raise csv.Error(f"{error}; the row begins in line {begun}, read up to line {reader.line_num}", begun) from None
    return rows


def _refuse(error: csv.Error, where: str) -> Iterator[Any]:
    told, line = error.args
    raise DataError(
        f"not a CSV file: {told}",
        where=f"{where}:{line}",
        next_step='close every quotation mark; within a quoted field write "" for one',
    )
