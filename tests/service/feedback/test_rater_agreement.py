"""Krippendorff's alpha against his own example, and against what it must be by definition."""

import pytest

from mnatune.service.feedback.rater_agreement import agreement

# Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), section C: four observers, twelve units, missing values.
OBSERVERS = (
    "1 2 3 3 2 1 4 1 2 . . .",
    "1 2 3 3 2 2 4 1 2 5 . 3",
    ". 3 3 3 2 3 4 2 2 5 1 .",
    "1 2 3 3 2 4 4 1 2 5 1 .",
)
UNITS = [[int(v) for v in unit if v != "."] for unit in zip(*(line.split() for line in OBSERVERS), strict=True)]


@pytest.mark.parametrize(("metric", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_the_published_example(metric, alpha):
    assert agreement(UNITS, metric).alpha == pytest.approx(alpha, abs=5e-4)


def test_agreement_is_one_and_chance_about_zero():
    assert agreement([[1, 1], [4, 4], [2, 2]]).alpha == 1
    assert agreement([[1, 2], [2, 1], [1, 1], [2, 2]], "nominal").alpha == pytest.approx(0.125)
    assert agreement([[1, 4], [4, 1]], "nominal").alpha < 0


@pytest.mark.parametrize("units", [[], [[3]], [[3, 3], [3, 3, 3]]])
def test_undefined_is_told_as_none(units):
    assert agreement(units).alpha is None


def test_the_interval_holds_the_value_and_narrows_with_items():
    few, many = agreement(UNITS), agreement(UNITS * 10)
    assert few.low < few.alpha < few.high
    assert many.high - many.low < few.high - few.low
    assert (few.items, few.grades) == (11, 40)
    assert agreement(UNITS) == few
