"""Promote, hold or reject: the recipe's rule applied to the table of metrics, in sentences a partner can read.

promote: the primary metric's interval lies on the better side of 0 and no guard is worse by more than the margin.
reject:  the primary metric's interval lies on the worse side, or a guard is worse by more than the margin and its
         whole interval lies on the worse side.
hold:    everything between.
"""

from collections.abc import Sequence
from typing import Any

from ...runs.errors import UsageError
from .metrics import BY_NAME, Sample

SHOWN = 20
WORDS = {"promote": "승격", "hold": "보류", "reject": "반려"}


def decide(rows: Sequence[dict[str, Any]], primary: str, margin: float) -> dict[str, Any]:
    """The verdict with its reasons.

    Args:
        rows: the metrics table, with the guards of lm-evaluation-harness if there are any.
        primary: name of the metric that decides.
        margin: points that a guard may get worse.

    Raises:
        UsageError: the primary metric was not computed in this run.
    """
    by_name = {row["name"]: row for row in rows}
    if primary not in by_name:
        known = ", ".join(by_name)
        hint = "it was not computed in this run" if primary in BY_NAME else "there is no such metric"
        raise UsageError(f"evaluate.primary is {primary!r}: {hint}", next_step=f"choose one of: {known}")
    row = by_name[primary]
    low, high = _gain_interval(row)
    reasons = [_primary_sentence(row, low, high)]
    guards = [guard for guard in rows if guard["guard"] and guard["name"] != primary]
    worse = [guard for guard in guards if _gain(guard) < -margin]
    surely = [guard for guard in worse if (_gain_interval(guard)[1] or 0.0) < 0]
    reasons += [_guard_sentence(guard, margin, guard in surely) for guard in worse]
    if guards and not worse:
        reasons.append(f"안전 지표 {len(guards)}개 가운데 {margin:g}점 넘게 나빠진 것은 없습니다.")
    if (high is not None and high < 0) or surely:
        verdict = "reject"
    elif low is not None and low > 0 and not worse:
        verdict = "promote"
    else:
        verdict = "hold"
    if row["detectable"] is not None:
        least = _amount(row, row["detectable"]).removeprefix("+")
        reasons.append(f"이 문항 수로는 {row['label']} 차이가 {least} 이상이어야 확실히 알아볼 수 있습니다.")
    return {"verdict": verdict, "label": WORDS[verdict], "primary": primary, "guard_margin": margin, "reasons": reasons}


def most_changed(samples: Sequence[Sample], primary: str, count: int = SHOWN) -> dict[str, list[str]]:
    """Ids of the items that the primary metric moved most, in both directions, the strongest first."""
    sign = 1.0 if BY_NAME[primary].kind == "higher" else -1.0
    moved = []
    for sample in samples:
        if sample.metric == primary and sample.base[1] and sample.tuned[1]:
            gain = sign * (sample.tuned[0] / sample.tuned[1] - sample.base[0] / sample.base[1])
            moved.append((gain, sample.item))
    better = sorted((pair for pair in moved if pair[0] > 0), key=lambda pair: (-pair[0], pair[1]))
    worse = sorted((pair for pair in moved if pair[0] < 0), key=lambda pair: (pair[0], pair[1]))
    return {"improved": [item for _, item in better[:count]], "worsened": [item for _, item in worse[:count]]}


def _sign(row: dict[str, Any]) -> float:
    return 1.0 if row["kind"] == "higher" else -1.0


def _gain(row: dict[str, Any]) -> float:
    value = row["difference"]["value"]
    return 0.0 if value is None else _sign(row) * float(value)


def _gain_interval(row: dict[str, Any]) -> tuple[float | None, float | None]:
    """Interval of the gain: positive is better, whatever the metric's direction."""
    low, high = row["difference"]["low"], row["difference"]["high"]
    if low is None or high is None:
        return None, None
    return (low, high) if _sign(row) > 0 else (-high, -low)


def _primary_sentence(row: dict[str, Any], low: float | None, high: float | None) -> str:
    values = f"{_shown(row, row['base']['value'])} → {_shown(row, row['tuned']['value'])}"
    if low is None or high is None:
        return f"주 지표 {row['label']}: {values}. 문서가 하나뿐이라 신뢰구간을 낼 수 없습니다."
    difference = row["difference"]
    interval = f"95% 신뢰구간 {_amount(row, difference['low'])} ~ {_amount(row, difference['high'])}"
    if low > 0:
        claim = "나아졌습니다"
    elif high < 0:
        claim = "나빠졌습니다"
    else:
        claim = "좋아졌다고도 나빠졌다고도 할 수 없습니다"
    return f"주 지표 {row['label']}: {values}, 차이 {_amount(row, difference['value'])}({interval})로 {claim}."


def _guard_sentence(row: dict[str, Any], margin: float, sure: bool) -> str:
    certainty = "나빠졌고 신뢰구간도 나빠진 쪽에 있습니다" if sure else "나빠졌으나 신뢰구간이 0을 포함합니다"
    return (
        f"안전 지표 {row['label']}: {_shown(row, row['base']['value'])} → {_shown(row, row['tuned']['value'])}로 "
        f"허용 폭 {margin:g}점보다 더 {certainty}."
    )


def _shown(row: dict[str, Any], value: float | None) -> str:
    if value is None:
        return "없음"
    return f"{value:.1f}%" if row["unit"] == "percent" else f"{value:.3f}"


def _amount(row: dict[str, Any], value: float) -> str:
    return f"{value:+.1f}점".replace("+-", "-") if row["unit"] == "percent" else f"{value:+.3f}"
