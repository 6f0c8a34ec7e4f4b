"""What was said as a sheet: CSV that spreadsheets open with the right letters and never take for formulas."""

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

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
    return _csv(REVIEW_COLUMNS, items)


def grade_sheet(grades: Iterable[GradeFact]) -> str:
    """Grades as CSV."""
    return _csv(GRADE_COLUMNS, grades)


def _csv(columns: Sequence[str], items: Iterable[GradeFact | ReviewItem]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(columns)
    for item in items:
        writer.writerow([_cell(name, getattr(item, name)) for name in columns])
    return BOM + out.getvalue()


def _cell(name: str, value: Any) -> str:
    if name == "created":
        return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M:%S")
    text = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return f"'{text}" if text.startswith(FORMULA) else text
