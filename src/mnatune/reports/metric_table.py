"""The metrics table: base and tuned with intervals, their difference, and the minimum detectable difference.

Bars and dots are drawn as inline SVG in each row, so that they print and need no script. Values are those of
7-evaluate/metrics.json; only drawing coordinates are computed here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import korean

WIDTH, PAD = 200, 8  # of the drawings, in px
SIGNIFICANT = 0.05
DIGITS = {"percent": 1, "nats": 3, "count": 1}
AREAS = ("accuracy", "language", "consistency", "expertise", "evidence")


@dataclass(frozen=True, slots=True)
class IntervalSpan:
    """A value with its interval in words, and its places in the drawing (None if it cannot be drawn)."""

    text: str
    interval: str
    n: int
    at: float | None
    low_at: float | None
    high_at: float | None


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One metric.

    Attributes:
        judgement: "better" or "worse" if the interval leaves out 0 (and, but for the primary metric, the Holm-corrected
            p is below 0.05), "leaning-better" or "leaning-worse" if it does so without that, "same" if it holds 0,
            "unknown" without an interval.
        ends: what the left and right ends of the drawing of the values stand for.
    """

    name: str
    label: str
    note: str
    area: str
    higher: bool
    percent: bool
    guard: bool
    base: IntervalSpan
    tuned: IntervalSpan
    difference: IntervalSpan
    p: str
    detectable: str
    judgement: str
    ends: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic under the primary metric; `others` are (base, tuned) in words under the other metrics, in table order."""

    topic: str
    n: int
    base: IntervalSpan
    tuned: IntervalSpan
    better: bool | None
    others: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Topics:
    """The table of topics; `ends` as in `MetricRow`."""

    metric: str
    others: list[str]
    ends: tuple[str, str]
    rows: list[Topic]


def areas(metrics: Sequence[Mapping[str, Any]], primary: str) -> dict[str, list[MetricRow]]:
    """The table's rows by area, the design's first."""
    rows = [row(metric, primary) for metric in metrics]
    order = dict.fromkeys([*AREAS, *(r.area for r in rows)])
    return {area: found for area in order if (found := [r for r in rows if r.area == area])}


def row(metric: Mapping[str, Any], primary: str) -> MetricRow:
    """A metric of metrics.json as a row of the table."""
    base, tuned, difference = metric["base"], metric["tuned"], metric["difference"]
    unit = str(metric.get("unit", "percent"))
    digits = DIGITS.get(unit, 1)
    left, right = _domain(_known(base, tuned))
    reach = 1.1 * max((abs(v) for v in _known(difference)), default=1.0) or 1.0
    higher = metric.get("kind", "higher") == "higher"
    return MetricRow(
        name=str(metric["name"]),
        label=str(metric.get("label") or metric["name"]),
        note=str(metric.get("note") or ""),
        area=str(metric.get("area") or "other"),
        higher=higher,
        percent=unit == "percent",
        guard=bool(metric.get("guard")),
        base=_span(base, digits, left, right),
        tuned=_span(tuned, digits, left, right),
        difference=_span(difference, digits, -reach, reach, signed=True),
        p=_p(korean.finite(difference.get("p_holm", difference.get("p")))),
        detectable=korean.number(korean.finite(metric.get("detectable")), digits),
        judgement=_judgement(difference, higher, metric["name"] == primary),
        ends=(korean.number(left, digits), korean.number(right, digits)),
    )


def topics(found: Sequence[Mapping[str, Any]], rows: Sequence[MetricRow], primary: str) -> Topics | None:
    """The breakdown by topic: the primary metric (or the first that topics have) drawn, the others in words."""
    by_name = {r.name: r for r in rows}
    present = {name for topic in found for name in topic["metrics"]}
    names = [name for name in by_name if name in present]
    if not names:
        return None
    main = by_name[primary if primary in names else names[0]]
    others = [name for name in names if name != main.name]
    drawn = sorted((topic for topic in found if topic["metrics"]), key=lambda topic: main.name not in topic["metrics"])
    nothing = {"base": None, "tuned": None, "n": 0}  # a topic of the exam alone
    cells = [topic["metrics"].get(main.name, nothing) for topic in drawn]
    values = [v for cell in cells for key in ("base", "tuned") if (v := korean.finite(cell[key])) is not None]
    left, right = _domain(values)
    digits = 1 if main.percent else 3

    def words(topic: Mapping[str, Any], name: str) -> tuple[str, str]:
        cell, precise = topic["metrics"].get(name, {}), 1 if by_name[name].percent else 3
        base, tuned = (korean.number(korean.finite(cell.get(side)), precise) for side in ("base", "tuned"))
        return base, tuned

    lines = []
    for topic, cell in zip(drawn, cells, strict=True):
        before, after = korean.finite(cell["base"]), korean.finite(cell["tuned"])
        changed = None if before is None or after is None or before == after else (after > before) == main.higher
        base, tuned = (_span({"value": value, "n": cell.get("n", 0)}, digits, left, right) for value in (before, after))
        name, told = str(topic["topic"]) or "분류 없음", [words(topic, other) for other in others]
        lines.append(Topic(name, int(topic["n"]), base, tuned, changed, told))
    ends = (korean.number(left, digits), korean.number(right, digits))
    return Topics(main.label, [by_name[name].label for name in others], ends, lines)


def _known(*sides: Mapping[str, Any]) -> list[float]:
    return [v for side in sides for key in ("value", "low", "high") if (v := korean.finite(side.get(key))) is not None]


def _judgement(difference: Mapping[str, Any], higher: bool, primary: bool) -> str:
    """Only metrics other than the pre-specified primary need the correction for multiple tests."""
    low, high = korean.finite(difference.get("low")), korean.finite(difference.get("high"))
    if low is None or high is None:
        return "unknown"
    if low <= 0 <= high:
        return "same"
    corrected = korean.finite(difference.get("p_holm"))
    sure = primary or corrected is None or corrected < SIGNIFICANT
    side = "better" if (low > 0) == higher else "worse"
    return side if sure else f"leaning-{side}"


def _span(side: Mapping[str, Any], digits: int, left: float, right: float, *, signed: bool = False) -> IntervalSpan:
    write = korean.signed if signed else korean.number
    value, low, high = (korean.finite(side.get(name)) for name in ("value", "low", "high"))
    interval = "" if low is None or high is None else f"{write(low, digits)} ~ {write(high, digits)}"

    def place(at: float | None) -> float | None:
        return None if at is None else round(PAD + (WIDTH - 2 * PAD) * (at - left) / (right - left), 1)

    return IntervalSpan(write(value, digits), interval, int(side.get("n") or 0), place(value), place(low), place(high))


def _domain(values: Sequence[float]) -> tuple[float, float]:
    """The drawing's ends: all values and intervals with some air, but never beyond 0 or 100 where no value is."""
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    air = (high - low) * 0.12 or abs(high) * 0.1 or 1.0
    left = max(0.0, low - air) if low >= 0 else low - air
    right = min(100.0, high + air) if high <= 100 else high + air
    return left, right


def _p(value: float | None) -> str:
    if value is None:
        return korean.NONE
    return "0.001 미만" if value < 0.001 else f"{value:.3f}"
