"""Statistics of a paired comparison: the difference, its interval, and the smallest difference the test could detect.

Every metric is a ratio of sums over items, `sum(numerator) / sum(denominator)`: a mean has denominator 1, the loss has
tokens, a rate of false citations has citations. Items of one source document are not independent, so resampling,
permutation and design effects work on groups.

- Interval of a mean or ratio, and of a paired difference: bootstrap over groups, percentile interval with Hesterberg's
  expansion for few groups (Hesterberg 2015, "What Teachers Should Know About the Bootstrap", section 3.3).
- Interval of a yes/no rate: Wilson; of a paired difference of rates: Bonett and Price 2012, which stays honest where
  the bootstrap has nothing to resample (no item changed). Both use Kish's effective number of items.
- p value: exact McNemar for yes/no items that are their own groups, else a permutation that swaps the two by group.
- Families of metrics are corrected by Holm; the minimum detectable difference is (z.975 + z.80) standard errors.

Does not: model repeated judges, or more than two systems.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
LEVEL = 0.95
POWER = 0.80
CHUNK = 2_000_000  # weights held at once

Array = NDArray[np.float64]
_normal = NormalDist()


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % interval over `n` items; without two groups the interval is unknown (None)."""

    value: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """Base and tuned on the same items.

    Attributes:
        difference: tuned minus base.
        p: two-sided p value of no difference.
        test: "mcnemar" or "permutation".
        detectable: difference that 80 % of such experiments would find at the 5 % level.
    """

    base: Estimate
    tuned: Estimate
    difference: Estimate
    p: float
    test: str
    detectable: float | None

    def as_dict(self, scale: float = 1.0) -> dict[str, Any]:
        """JSON-able form, values multiplied by `scale` (100 for per cent)."""
        found: dict[str, Any] = {
            name: {key: _scaled(value, 1.0 if key == "n" else scale) for key, value in asdict(estimate).items()}
            for name, estimate in (("base", self.base), ("tuned", self.tuned), ("difference", self.difference))
        }
        found["difference"] |= {"p": self.p, "test": self.test}
        return {**found, "detectable": _scaled(self.detectable, scale)}


def compare_paired(
    base: Array, tuned: Array, groups: Sequence[str], *, binary: bool = False, seed: int = 0, resamples: int = RESAMPLES
) -> Comparison:
    """Compare two systems on the same items.

    Args:
        base: (n, 2) numerators and denominators of the base; a denominator of 0 leaves the item out for that system.
        tuned: the same for the tuned model.
        groups: source document of each item.
        binary: numerators are 0 or 1 and denominators 1.
    """
    sums = _group_sums(np.hstack([base, tuned]), groups)
    n_base, n_tuned = int((base[:, 1] > 0).sum()), int((tuned[:, 1] > 0).sum())
    values = _ratios(sums.sum(axis=0)[None, :])[0]
    difference = float(values[1] - values[0])
    if binary:
        a = rate_interval(base[:, 0], groups)
        b = rate_interval(tuned[:, 0], groups)
        middle, low, high, error = _paired_rates(base[:, 0], tuned[:, 0], groups)
        change = Estimate(middle, low, high, len(base))
    else:
        drawn = _ratios(_weights(len(sums), seed, resamples) @ sums)  # (resamples, 2) values over resampled groups
        a, _ = _expanded(float(values[0]), drawn[:, 0], len(sums), n_base)
        b, _ = _expanded(float(values[1]), drawn[:, 1], len(sums), n_tuned)
        change, error = _expanded(difference, drawn[:, 1] - drawn[:, 0], len(sums), min(n_base, n_tuned))
    if binary and len(sums) == len(base):
        gained = int(((tuned[:, 0] == 1) & (base[:, 0] == 0)).sum())
        lost = int(((tuned[:, 0] == 0) & (base[:, 0] == 1)).sum())
        p, test = mcnemar(gained, lost), "mcnemar"
    else:
        p, test = _permutation(sums, difference, seed, resamples), "permutation"
    smallest = _normal.inv_cdf(0.5 + LEVEL / 2) + _normal.inv_cdf(POWER)  # in standard errors
    return Comparison(a, b, change, p, test, None if error is None else smallest * error)


def rate_interval(hits: Array, groups: Sequence[str]) -> Estimate:
    """Wilson interval of a rate of 0/1 items, with the effective number of items under grouping."""
    n = len(hits)
    effective = n / _design_effect(hits, groups)
    low, high = wilson(float(hits.mean()), effective)
    return Estimate(float(hits.mean()), low, high, n)


def wilson(rate: float, n: float) -> tuple[float, float]:
    """Wilson score interval (95 %) of a rate over n independent trials."""
    z = _normal.inv_cdf(0.5 + LEVEL / 2)
    middle = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def mcnemar(gained: int, lost: int) -> float:
    """Exact two-sided McNemar test: is a change as likely in one direction as in the other?"""
    n, k = gained + lost, min(gained, lost)
    if n == 0:
        return 1.0
    tail = math.fsum(math.comb(n, i) / 2**n for i in range(k + 1))
    return min(1.0, 2 * tail)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction, in the order given."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected = [1.0] * len(p_values)
    highest = 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = highest
    return corrected


def win_rate(first: Sequence[str], second: Sequence[str]) -> dict[str, float]:
    """Wins of the tuned model when a judge saw every pair in both orders.

    Args:
        first, second: the winner by name, "base", "tuned" or "tie", with the tuned answer shown second, then first.

    Returns:
        rate (win + half of the ties), wins, losses, ties, and consistency: the share of pairs with the same verdict in
        both orders. An inconsistent verdict is a tie.
    """
    agreed = [a if a == b else "tie" for a, b in zip(first, second, strict=True)]
    wins, losses = agreed.count("tuned"), agreed.count("base")
    ties = len(agreed) - wins - losses
    n = max(1, len(agreed))
    same = sum(a == b for a, b in zip(first, second, strict=True))
    return {"rate": (wins + ties / 2) / n, "wins": wins, "losses": losses, "ties": ties, "consistency": same / n}


def student_quantile(probability: float, freedom: int) -> float:
    """Student's t quantile by the Cornish-Fisher expansion (Abramowitz and Stegun 26.7.5), exact for 1 and 2."""
    if freedom == 1:
        return math.tan(math.pi * (probability - 0.5))
    if freedom == 2:
        a = 2 * probability - 1
        return a * math.sqrt(2 / (1 - a * a))
    z, v = _normal.inv_cdf(probability), freedom
    terms: tuple[float, ...] = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + math.fsum(term / float(v) ** power for power, term in enumerate(terms, 1))


def _group_sums(rows: Array, groups: Sequence[str]) -> Array:
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    sums = np.zeros((len(names), rows.shape[1]))
    np.add.at(sums, index, rows)
    return sums


def _ratios(sums: Array) -> Array:
    """(k, 4) sums → (k, 2) values of base and tuned; NaN where nothing was drawn."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.column_stack([sums[:, 0] / sums[:, 1], sums[:, 2] / sums[:, 3]])


@lru_cache(maxsize=4)
def _weights(groups: int, seed: int, resamples: int) -> NDArray[np.int16]:
    generator = np.random.default_rng([seed, groups, 1])
    rows = max(1, CHUNK // groups)
    sizes = [min(rows, resamples - start) for start in range(0, resamples, rows)]
    parts = [generator.multinomial(groups, np.full(groups, 1 / groups), size=k).astype(np.int16) for k in sizes]
    return np.concatenate(parts)


def _expanded(value: float, drawn: Array, groups: int, n: int) -> tuple[Estimate, float | None]:
    """The value with its percentile interval, expanded for small samples as a t interval is, and the standard error."""
    drawn = drawn[np.isfinite(drawn)]
    if groups < 2 or not len(drawn):
        return Estimate(value, None, None, n), None
    widening = math.sqrt(groups / (groups - 1))
    tail = _normal.cdf(-widening * student_quantile(0.5 + LEVEL / 2, groups - 1))
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Estimate(value, float(low), float(high), n), float(drawn.std() * widening)


def _permutation(sums: Array, observed: float, seed: int, resamples: int) -> float:
    """Two-sided p value from swapping base and tuned by group; counts the observed arrangement."""
    if not math.isfinite(observed):
        return 1.0
    generator = np.random.default_rng([seed, len(sums), 2])
    swapped = sums[:, [2, 3, 0, 1]]
    extreme, rows = 0, max(1, CHUNK // len(sums))
    for start in range(0, resamples, rows):
        coins = generator.integers(0, 2, size=(min(rows, resamples - start), len(sums)))
        values = _ratios(coins @ swapped + (1 - coins) @ sums)
        extreme += int((np.abs(values[:, 1] - values[:, 0]) >= abs(observed) - 1e-12).sum())
    return (1 + extreme) / (1 + resamples)


def _design_effect(values: Array, groups: Sequence[str]) -> float:
    """Variance of the mean under grouping over that of independent items, at least 1."""
    n = len(values)
    spread = float(values.var())
    if spread == 0 or len(set(groups)) in (1, n):
        return 1.0
    residuals = _group_sums((values - values.mean())[:, None], groups)[:, 0]
    count = len(residuals)
    clustered = float((residuals**2).sum()) * count / (count - 1) / n**2
    return max(1.0, clustered / (spread / (n - 1)))


def _paired_rates(
    base: Array, tuned: Array, groups: Sequence[str]
) -> tuple[float, float | None, float | None, float | None]:
    """Difference of paired rates with Bonett and Price's adjusted Wald interval, and its standard error."""
    change = tuned - base
    if len(set(groups)) < 2:
        return float(change.mean()), None, None, None
    n = len(change) / _design_effect(change, groups)
    gained = (float((change > 0).mean()) * n + 1) / (n + 2)
    lost = (float((change < 0).mean()) * n + 1) / (n + 2)
    error = math.sqrt((gained + lost - (gained - lost) ** 2) / (n + 2))
    half = _normal.inv_cdf(0.5 + LEVEL / 2) * error
    middle = gained - lost
    return float(change.mean()), max(-1.0, middle - half), min(1.0, middle + half), error


def _scaled(value: float | None, scale: float) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    return value if scale == 1.0 and isinstance(value, int) else round(value * scale, 6)
