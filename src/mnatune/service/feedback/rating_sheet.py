"""What was said as a sheet: CSV that spreadsheets open with the right letters and never take for formulas."""

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from .sink import GradeFact, ReviewItem

BOM = "\ufeff"  # without it Excel reads UTF-8 as cp949
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a cell that begins so is run by a spreadsheet
REVIEW_COLUMNS = (
    "id", "kind", "state", "rater", "created", "model", "other_model", "question", "answer", "other", "value", "tags",
    "comment", "reviewer", "note",
)  # fmt: skip
GRADE_COLUMNS = ("generation", "rater", "created", "model", "question", "answer", "grade", "comment")


def review_sheet(items: Iterable[ReviewItem]) -> str:
    """The review queue's items as CSV."""
    rows = (
        [_when(item.created) if name == "created" else getattr(item, name) for name in REVIEW_COLUMNS] for item in items
    )
    return _csv(REVIEW_COLUMNS, rows)


def grade_sheet(grades: Iterable[GradeFact]) -> str:
    """Grades as CSV."""
    rows = (
        [_when(one.created) if name == "created" else getattr(one, name) for name in GRADE_COLUMNS] for one in grades
    )
    return _csv(GRADE_COLUMNS, rows)


def _csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(value) for value in row])
    return BOM + out.getvalue()


def _cell(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return f"'{text}" if text.startswith(FORMULA) else text


def _when(created: float) -> str:
    return datetime.fromtimestamp(created, UTC).strftime("%Y-%m-%d %H:%M:%S")
