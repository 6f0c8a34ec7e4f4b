"""The statistics against scipy, by hand, and by simulation."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mnatune.stages.evaluate import statistics as ours

EXPERIMENTS = 1000
QUICK = 800  # resamples in the simulations


def column(values: np.ndarray) -> np.ndarray:
    return np.column_stack([values, np.ones(len(values))]).astype(float)


@given(st.integers(1, 300), st.data())
def test_wilson_is_scipys(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))
    expected = stats.binomtest(k, n).proportion_ci(method="wilson")
    assert ours.wilson(k / n, n) == pytest.approx((expected.low, expected.high), abs=1e-9)


@given(st.integers(0, 80), st.integers(0, 80))
def test_mcnemar_is_the_exact_binomial_test(gained: int, lost: int) -> None:
    expected = stats.binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert ours.mcnemar(gained, lost) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 7, 15, 60, 500])
def test_student_quantile(freedom: int) -> None:
    tolerance = 0.05 if freedom == 3 else 0.01
    assert ours.student_quantile(0.975, freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=tolerance)


def test_holm_by_hand() -> None:
    assert ours.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert ours.holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_between_raw_and_bonferroni_and_keeps_order(p: list[float]) -> None:
    corrected = ours.holm(p)
    assert all(a <= b <= min(1.0, a * len(p)) + 1e-12 for a, b in zip(p, corrected, strict=True))
    assert all(corrected[i] <= corrected[j] for i, j in product(range(len(p)), repeat=2) if p[i] < p[j])


def test_permutation_agrees_with_scipys() -> None:
    draw = np.random.default_rng(1)
    base = draw.normal(0, 1, 24)
    tuned = base + draw.normal(0.4, 1, 24)
    found = ours.compare_paired(column(base), column(tuned), [str(i) for i in range(24)], seed=3)
    expected = stats.permutation_test(
        (tuned, base), lambda a, b: np.mean(a) - np.mean(b), permutation_type="samples", n_resamples=10_000, rng=2
    )
    assert found.p == pytest.approx(expected.pvalue, abs=0.02)
    assert found.difference.value == pytest.approx(np.mean(tuned - base))


def covered(found: ours.Estimate, truth: float) -> bool:
    assert found.low is not None
    assert found.high is not None
    return found.low <= truth <= found.high


def test_coverage_of_a_mean_difference_over_source_groups() -> None:
    """Items of one document share an effect; the interval must cover the truth 93–97 % of the time."""
    draw = np.random.default_rng(11)
    groups = [str(i // 3) for i in range(120)]
    hits = 0
    for _ in range(EXPERIMENTS):
        shared = np.repeat(draw.normal(0, 1, 40), 3)
        base = draw.normal(0, 1, 120)
        tuned = base + 0.3 + shared + draw.normal(0, 1, 120)
        found = ours.compare_paired(column(base), column(tuned), groups, resamples=QUICK)
        hits += covered(found.difference, 0.3)
    print(f"clustered mean difference: coverage {hits / EXPERIMENTS:.3f}")
    assert 0.93 <= hits / EXPERIMENTS <= 0.97


def test_coverage_of_a_ratio_with_few_groups() -> None:
    """A loss per token over 15 documents: skewed, of unequal length."""
    draw = np.random.default_rng(12)
    groups = [str(i) for i in range(15)]
    hits = 0
    for _ in range(EXPERIMENTS):
        tokens = draw.integers(20, 200, 15).astype(float)
        base = np.column_stack([tokens * draw.gamma(16, 1 / 16, 15), tokens])
        tuned = np.column_stack([tokens * draw.gamma(16, 0.8 / 16, 15), tokens])
        found = ours.compare_paired(base, tuned, groups, resamples=QUICK)
        hits += covered(found.difference, -0.2)
    print(f"ratio difference, 15 groups: coverage {hits / EXPERIMENTS:.3f}")
    assert 0.93 <= hits / EXPERIMENTS <= 0.97


@pytest.mark.parametrize(("size", "rate"), [(1, 0.6), (3, 0.8)])
def test_coverage_of_paired_rates(size: int, rate: float) -> None:
    """Yes/no items, alone or in documents of three that are right or wrong together half of the time."""
    draw = np.random.default_rng(13 + size)
    count = 40 * 3 // size
    groups = [str(i // size) for i in range(count * size)]
    hits = {"difference": 0, "base": 0}
    for _ in range(EXPERIMENTS):
        common = draw.random((3, count))
        together = np.repeat(draw.random(count) < 0.5, size)
        base, tuned = (
            np.where(together, np.repeat(common[k] < p, size), draw.random(count * size) < p)
            for k, p in ((0, rate), (1, rate - 0.2))
        )
        found = ours.compare_paired(column(base), column(tuned), groups, binary=True, resamples=2)
        hits["difference"] += covered(found.difference, -0.2)
        hits["base"] += covered(found.base, rate)
    print(f"rates, groups of {size}: coverage {hits['difference'] / 1000:.3f} and {hits['base'] / 1000:.3f}")
    assert all(0.93 <= count / EXPERIMENTS <= 0.97 for count in hits.values())


def test_an_unchanged_rate_keeps_an_honest_interval() -> None:
    same = column(np.ones(40))
    found = ours.compare_paired(same, same, [str(i) for i in range(40)], binary=True)
    assert found.difference.value == 0
    assert found.p == 1
    assert covered(found.difference, 0.05)  # 40 items cannot exclude a change of 5 points


def test_the_detectable_difference_is_found_four_times_in_five() -> None:
    draw = np.random.default_rng(5)
    groups = [str(i) for i in range(60)]
    first = ours.compare_paired(column(np.zeros(60)), column(draw.normal(0, 1, 60)), groups, resamples=QUICK)
    assert first.detectable is not None
    found = 0
    for _ in range(300):
        tuned = draw.normal(first.detectable, 1, 60)
        found += ours.compare_paired(column(np.zeros(60)), column(tuned), groups, resamples=QUICK).difference.low > 0
    assert 0.68 <= found / 300 <= 0.9


def test_win_rate_makes_inconsistent_verdicts_ties() -> None:
    found = ours.win_rate(["tuned", "tuned", "base", "tie"], ["tuned", "base", "base", "tie"])
    assert found == {"rate": 0.5, "wins": 1, "losses": 1, "ties": 2, "consistency": 0.75}


def test_one_group_gives_values_without_an_interval() -> None:
    found = ours.compare_paired(column(np.arange(4)), column(np.arange(4) + 1), ["x"] * 4)
    assert found.difference.value == 1
    assert found.difference.low is None
    assert found.as_dict(100)["difference"]["value"] == 100


def test_equal_seeds_give_equal_figures() -> None:
    draw = np.random.default_rng(0)
    pair = column(draw.normal(size=9)), column(draw.normal(size=9))
    groups = list("aabbccdde")
    assert ours.compare_paired(*pair, groups, seed=4) == ours.compare_paired(*pair, groups, seed=4)
    assert not math.isnan(ours.compare_paired(*pair, groups, seed=4).p)
