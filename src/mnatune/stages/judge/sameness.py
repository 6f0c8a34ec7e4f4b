"""Does the judge read the rows at all? One that gives all of them the same points, or the same reason, does not.

Does not: prove the opposite. Rows that are all of another field may rightly get the same points, so this is a warning;
only a judge whose points and reasons are both the same from the first row on is stopped.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

LEAST_ROWS = 10  # below, equal verdicts say nothing
MOST_SHARE = 0.9  # of the rows that may get the same points, or the same reason
REASONS = 1000  # rows whose reasons are compared
STOP_ROWS = 300  # all alike in points and reason: then asking on is money for nothing


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
        """True if every verdict so far is word for word the same, and there are enough of them."""
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
