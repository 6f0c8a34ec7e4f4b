"""The day that a question is about: "2019년에 체결한 계약", "2023-05-01 현재". It chooses the version of the law.

Does not: count from a relative date ("작년", "3년 전"); such a question is about today.
"""

import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import date

from ..text.values import values

DATED = re.compile(r"(\d{4})(?:년|-(\d{2})(?:-(\d{2}))?)\Z")
ABOUT = re.compile(r"[\s)]{0,2}(?:현재|기준|당시|시점|무렵|경)")
NOT_ABOUT = re.compile(r"\s?(?:자\s)?\s?(?:까지|개정|공포|선고|판결|결정|법률\s제)")
EARLIEST = 1900


@dataclass(frozen=True, slots=True)
class FactDate:
    """A day, and the words of the question that it was read from; a year or a month means its last day."""

    day: str
    words: str


def fact_date(question: str, today: str) -> FactDate | None:
    """The day a question is about: the first date marked as such (현재, 기준, 당시), else the first one; None without."""
    first = None
    for value in values(question):
        day = _day(value.text, today) if value.kind == "date" else ""
        if not day or NOT_ABOUT.match(question, value.end):
            continue
        found = FactDate(day, question[value.start : value.end].strip())
        if ABOUT.match(question, value.end):
            return found
        first = first or found
    return first


def _day(written: str, today: str) -> str:
    """The ISO day of a date in normal form; empty if it has no year or does not exist."""
    parts = DATED.match(written)
    if not parts or int(parts[1]) < EARLIEST:
        return ""
    year, month = int(parts[1]), int(parts[2] or 12)
    if not 1 <= month <= 12:
        return ""
    try:
        last = date(year, month, int(parts[3] or monthrange(year, month)[1])).isoformat()
    except ValueError:
        return ""
    return min(last, today) if not parts[3] and last[:7] >= today[:7] and written[:4] == today[:4] else last
