"""Korean wording of numbers, durations, dates and keys (wording.yaml).

Does not: translate free text. Keys missing from wording.yaml are shown unchanged.
"""

import math
import re
from functools import cache
from importlib import resources
from typing import Any

import yaml

NONE = "–"
MINUS = "−"
UNITS = ((1e8, "억"), (1e4, "만"))


@cache
def wording() -> dict[str, dict[str, str]]:
    """wording.yaml."""
    text = resources.files(__package__).joinpath("wording.yaml").read_text(encoding="utf-8")
    loaded: dict[str, dict[str, str]] = yaml.safe_load(text)
    return loaded


def name(kind: str, key: str) -> str:
    """The Korean name of a key ("stages", "splits", "criteria" …), or the key itself."""
    return wording()[kind].get(key, key)


def reason(key: str) -> str:
    """A drop reason as a Korean phrase."""
    if key in wording()["reasons"]:
        return wording()["reasons"][key]
    for pattern, sentence in wording()["reason_patterns"].items():
        if match := re.match(pattern, key):
            return sentence.format(*match.groups())
    return key


def count(value: float | None) -> str:
    """1013422 → 1,013,422."""
    return NONE if value is None else f"{value:,.0f}".replace("-", MINUS)


def rough(value: float | None) -> str:
    """1013422 → 101.3만: for headlines, where five digits are enough."""
    if value is None:
        return NONE
    for size, unit in UNITS:
        if abs(value) >= 10 * size or (size == 1e8 and abs(value) >= size):
            return f"{value / size:,.1f}".removesuffix(".0") + unit
    return count(value)


def percent(part: float, whole: float) -> str:
    """Share in per cent; small shares that are not zero say so."""
    if not whole:
        return NONE
    share = 100 * part / whole
    if 0 < share < 0.1:
        return "0.1% 미만"
    if 99.95 <= share < 100:
        return "99.9% 이상"
    return f"{share:.1f}%"


def number(value: float | None, digits: int = 1) -> str:
    """A measured value."""
    if value is None or not math.isfinite(value):
        return NONE
    text = f"{value:,.{digits}f}"
    return text.replace("-", MINUS) if float(text.replace(",", "")) else text.lstrip("-")


def signed(value: float | None, digits: int = 1) -> str:
    """A difference, always with its sign."""
    text = number(value, digits)
    bare = text == NONE or text.startswith(MINUS) or not float(text.replace(",", ""))
    return text if bare else f"+{text}"


def duration(seconds: float | None) -> str:
    """4027 → 1시간 7분."""
    if seconds is None:
        return NONE
    if seconds < 10:
        return f"{seconds:.1f}초"
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    if hours:
        return f"{hours:,}시간 {minutes}분"
    return f"{minutes}분 {rest}초" if minutes else f"{rest}초"


def size(amount: float) -> str:
    """Bytes with a unit."""
    for unit in ("B", "KB", "MB", "GB"):
        if amount < 1000 or unit == "GB":
            return f"{amount:,.0f} {unit}" if unit == "B" else f"{amount:,.1f} {unit}"
        amount /= 1000
    raise AssertionError


def date(iso: str) -> str:
    """2026-11-22T10:13:55+0900 → 2026년 11월 22일 10:13."""
    match = re.match(r"(\d{4})-(\d\d)-(\d\d)(?:T(\d\d:\d\d))?", iso)
    if not match:
        return iso or NONE
    year, month, day, clock = match.groups()
    return f"{year}년 {int(month)}월 {int(day)}일" + (f" {clock}" if clock else "")


def finite(value: Any) -> float | None:
    """The value as a float if it is a finite number, else None."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return None
