"""Detects a constant judge: one that gives nearly every row the same points or the same reason.

This is a warning, because rows that all belong to another field may rightly get the same points. Only a judge whose points
and reason are identical for every one of the first rows is stopped.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

LEAST_ROWS = 10  # too few rows to warn about
MOST_SHARE = 0.9  # share of rows with the same points, or the same reason, that triggers a warning
REASONS = 1000  # rows whose reasons are compared
STOP_ROWS = 300  # identical verdicts after which further calls would be wasted


class Sameness:
    """Counts verdicts as they come in."""

    def __init__(self) -> None:
        self._points: Counter[tuple[int, ...]] = Counter()
        self._reasons: Counter[str] = Counter()

    def add(self, points: Sequence[int], reason: str) -> None:
        """Count one verdict."""
        self._points[tuple(points)] += 1
        if self._reasons.total() < REASONS:
            self._reasons[reason] += 1

    @property
    def hopeless(self) -> bool:
        """True if at least `STOP_ROWS` verdicts have come in and all are identical."""
        return len(self._points) == len(self._reasons) == 1 and self._points.total() >= STOP_ROWS

    def facts(self) -> dict[str, Any]:
        """The commonest points and their share, the share of the commonest reason, and warnings by code."""
        facts: dict[str, Any] = {"warnings": []}
        if self._points.total() < LEAST_ROWS:
            return facts
        (points, times), (_, repeated) = self._points.most_common(1)[0], self._reasons.most_common(1)[0]
        facts["commonest_points"] = list(points)
        facts["same_points"] = round(times / self._points.total(), 4)
        facts["same_reason"] = round(repeated / self._reasons.total(), 4)
        for name in ("points", "reason"):
            if facts[f"same_{name}"] >= MOST_SHARE:
                facts["warnings"].append(f"constant-{name}")
        return facts
