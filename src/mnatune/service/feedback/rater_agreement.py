"""How far raters agree: Krippendorff's alpha over grades, with missing values, and an interval from a bootstrap of items.

Source: Klaus Krippendorff, "Computing Krippendorff's Alpha-Reliability", 2011 (coincidence matrix, nominal, ordinal and
interval differences). 1 is agreement, 0 what chance would give. His "Content Analysis" (2004) relies on 0.8 and above, and
allows tentative conclusions from 0.667 on.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

RELIABLE, TENTATIVE = 0.8, 0.667
LEAST_ITEMS = 10  # below which neither an interval nor a verdict means anything
RESAMPLES = 1_000
Metric = Literal["nominal", "ordinal", "interval"]
Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Alpha over the items that two raters or more have graded.

    Attributes:
        alpha: None where it is undefined: no such item, or all grades the same.
        low, high: 95 % interval; None where alpha is.
        items: items with two grades or more.
        grades: grades of those items.
        same: share of pairs of grades that are equal, 0–1; None without a pair.
    """

    alpha: float | None
    low: float | None
    high: float | None
    items: int
    grades: int
    same: float | None


def agreement(units: Sequence[Sequence[int]], metric: Metric = "ordinal", seed: int = 0) -> Agreement:
    """Alpha of grades with its interval.

    Args:
        units: one sequence per item in any order of raters; items with fewer than two grades do not count.
    """
    values, tables = _tables(units)
    if not len(tables):
        return Agreement(None, None, None, 0, 0, None)
    whole = tables.sum(axis=0)
    alpha = _alpha(whole, values, metric)
    pairs = round(float(whole.sum()))
    same = float(np.trace(whole) / whole.sum())
    if alpha is None:
        return Agreement(None, None, None, len(tables), pairs, same)
    random = np.random.default_rng(seed)
    drawn = random.multinomial(len(tables), np.full(len(tables), 1 / len(tables)), size=RESAMPLES)
    flat = tables.reshape(len(tables), -1)
    found = [_alpha((counts @ flat).reshape(whole.shape), values, metric) for counts in drawn]
    kept = [one for one in found if one is not None]
    low, high = np.quantile(kept, (0.025, 0.975))
    return Agreement(alpha, float(low), float(high), len(tables), pairs, same)


def grades_by_item(grades: Sequence[tuple[str, str, int]]) -> Mapping[str, dict[str, int]]:
    """item → rater → grade, of triples (item, rater, grade)."""
    found: dict[str, dict[str, int]] = {}
    for item, rater, grade in grades:
        found.setdefault(item, {})[rater] = grade
    return found


def _tables(units: Sequence[Sequence[int]]) -> tuple[Matrix, Matrix]:
    """The values in their order, and each item's coincidence matrix: pairs of its grades, over its grades less one."""
    paired = [unit for unit in units if len(unit) > 1]
    values = sorted({value for unit in paired for value in unit})
    place = {value: at for at, value in enumerate(values)}
    tables = np.zeros((len(paired), len(values), len(values)))
    for table, unit in zip(tables, paired, strict=True):
        counts = np.zeros(len(values))
        for value in unit:
            counts[place[value]] += 1
        table += (np.outer(counts, counts) - np.diag(counts)) / (len(unit) - 1)
    return np.array(values, dtype=np.float64), tables


def _alpha(coincidence: Matrix, values: Matrix, metric: Metric) -> float | None:
    totals = coincidence.sum(axis=0)
    n = totals.sum()
    distance = DISTANCES[metric](values, totals)
    expected = float(totals @ distance @ totals)
    if expected == 0:
        return None
    return 1 - float((n - 1) * (coincidence * distance).sum() / expected)


def _squares(at: Matrix) -> Matrix:
    found: Matrix = (at[:, None] - at[None, :]) ** 2
    return found


DISTANCES: dict[str, Callable[[Matrix, Matrix], Matrix]] = {
    "nominal": lambda values, totals: 1 - np.eye(len(values)),
    "ordinal": lambda values, totals: _squares(np.cumsum(totals) - totals / 2),  # grades between, half of their own
    "interval": lambda values, totals: _squares(values),
}
