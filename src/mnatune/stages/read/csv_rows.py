"""Strict CSV: unbalanced quotation marks are an error that names the line."""

import csv
import io
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from ...runs.errors import DataError
from .headers import records

FIELD_CHARACTERS = 1 << 24


def csv_rows(text: str, where: str, *, tabs: bool) -> Iterator[tuple[Any, str]]:
    """Each row as a dict keyed by the header, or its fields with the reason it is rejected.

    Raises:
        DataError: a quotation mark is not closed or stands within a field, or a column stands twice.
    """
    csv.field_size_limit(FIELD_CHARACTERS)
    delimiter = "\t" if tabs else max(",;\t", key=text.split("\n", 1)[0].count)
    lines = ((str(line), fields) for line, fields in _strict_rows(text, delimiter, where))
    for _, row, reason in records(lines, where):
        yield row, reason


def _strict_rows(text: str, delimiter: str, where: str) -> list[tuple[int, list[str]]]:
    """(line, fields) of each row; quotes are doubled as in RFC 4180, or else escaped by a backslash as by MySQL."""
    try:
        return _rows(text, delimiter, escape=None)
    except csv.Error as error:
        if '\\"' in text:
            with suppress(csv.Error):
                return _rows(text, delimiter, escape="\\")
        told, line = error.args
        step = 'close every quotation mark; within a quoted field write "" for one'
        raise DataError(f"not a CSV file: {told}", where=f"{where}:{line}", next_step=step) from None


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
