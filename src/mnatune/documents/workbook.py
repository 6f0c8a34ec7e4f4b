"""Reads workbooks with calamine: sheets as grids of text, or as blocks with their cell ranges."""

import re
import zipfile
from collections.abc import Iterator
from datetime import date, datetime, time
from pathlib import Path
from typing import Any, NamedTuple

from ..runs.errors import needs
from .blocks import Reading, Spot, Unreadable, repeat_merged

ROWS_PER_PAGE = 45
MOST_CELLS = 2_000_000
COMMENT = re.compile(rb"<(?:\w+:)?(?:comment|threadedComment)[ >]")


class Worksheet(NamedTuple):
    """The used area of a sheet; `top` and `left` are its first cell, counted from 0."""

    name: str
    rows: list[list[str]]
    top: int
    left: int
    spans: list[tuple[int, int, int, int]]


def read_workbook(path: Path) -> Reading:
    """The tables and texts of all visible sheets.

    Raises:
        Unreadable: it is damaged or encrypted, or holds nothing.
    """
    reading = Reading()
    for sheet in read_sheets(path, reading):
        reading.pages += 1 + len(sheet.rows) // ROWS_PER_PAGE
        reading.add("heading", sheet.name, Spot(sheet.name, 1, 1, "A1:A1"), 1)
        for start, rows in _stretches(sheet.rows):
            _add(reading, sheet, start, rows)
    reading.left_out["comments"] = _comments(path)
    if not reading.blocks:
        raise Unreadable("no text")
    return reading


def read_sheets(path: Path, reading: Reading | None = None) -> list[Worksheet]:
    """The visible sheets that are not empty; hidden ones are counted in the reading.

    Raises:
        Unreadable: the file is damaged or encrypted, or has too many cells.
    """
    with needs("python-calamine", "documents"):
        import python_calamine as calamine
    try:
        book = calamine.CalamineWorkbook.from_path(str(path))
    except calamine.PasswordError as error:
        raise Unreadable("encrypted") from error
    except calamine.CalamineError as error:
        raise Unreadable("damaged file") from error
    found, cells = [], 0
    for facts in book.sheets_metadata:
        if facts.typ != calamine.SheetTypeEnum.WorkSheet:
            continue
        if facts.visible != calamine.SheetVisibleEnum.Visible:
            if reading:
                reading.left_out["hidden sheets"] += 1
            continue
        try:
            sheet = book.get_sheet_by_name(facts.name)
        except calamine.CalamineError as error:
            raise Unreadable("damaged file") from error
        if sheet.start is None:
            continue
        cells += sheet.height * sheet.width
        if cells > MOST_CELLS:
            raise Unreadable(f"more than {MOST_CELLS:,} cells")
        top, left = sheet.start
        spans = [
            (a - top, b - left, c - a + 1, d - b + 1)
            for (a, b), (c, d) in sheet.merged_cell_ranges or []
            if a >= top and b >= left
        ]
        rows = [[cell_text(value) for value in row] for row in sheet.to_python(skip_empty_area=True)]
        added = repeat_merged(rows, spans)
        if reading:
            reading.repeated += added
        found.append(Worksheet(facts.name, rows, top, left, spans))
    return found


def cell_text(value: Any) -> str:
    """The text of a cell: whole numbers without a decimal point, dates as ISO 8601."""
    match value:
        case bool():
            return "TRUE" if value else "FALSE"
        case float():
            return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
        case datetime() if value.time() == time():
            return value.date().isoformat()
        case datetime() | date() | time():
            return value.isoformat(*([" "] if isinstance(value, datetime) else []))
    return str(value)


def column_name(number: int) -> str:
    """A, …, Z, AA of a column counted from 0."""
    name, number = "", number + 1
    while number:
        number, rest = divmod(number - 1, 26)
        name = chr(65 + rest) + name
    return name


def _stretches(rows: list[list[str]]) -> Iterator[tuple[int, list[list[str]]]]:
    """Runs of rows that are text in one cell, or that form a table; empty rows separate them."""
    start, kind = 0, ""
    for at, row in enumerate([*rows, []]):
        filled = sum(map(bool, row))
        now = "" if not filled else "text" if len({cell for cell in row if cell}) == 1 else "table"
        if kind == "table" and now == "text":
            now = "table"  # a table's row may have one value, or be a merged subtitle
        if now != kind:
            if kind:
                yield start, rows[start:at]
            start, kind = at, now


def _add(reading: Reading, sheet: Worksheet, start: int, rows: list[list[str]]) -> None:
    used = [n for n in range(max(map(len, rows))) if any(n < len(row) and row[n] for row in rows)]
    first, last = used[0], used[-1]
    top = sheet.top + start + 1
    names = column_name(sheet.left + first), column_name(sheet.left + last)
    bottom = top + len(rows) - 1
    if first == last or all(len({cell for cell in row if cell}) == 1 for row in rows):
        for number, row in enumerate(rows, top):
            spot = Spot(sheet.name, number, number, f"{names[0]}{number}:{names[1]}{number}")
            reading.add("paragraph", next(cell for cell in row if cell), spot)
    else:
        spot = Spot(sheet.name, top, bottom, f"{names[0]}{top}:{names[1]}{bottom}")
        reading.add_table([row[first : last + 1] for row in rows], spot)


def _comments(path: Path) -> int:
    if not zipfile.is_zipfile(path):
        return 0
    with zipfile.ZipFile(path) as archive:
        names = [n for n in archive.namelist() if re.search(r"xl/(?:threadedC|c)omments", n) and n.endswith(".xml")]
        return sum(len(COMMENT.findall(archive.read(name))) for name in names)
