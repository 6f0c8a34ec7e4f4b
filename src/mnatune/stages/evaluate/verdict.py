"""Promote, hold or reject: the recipe's rule applied to the table of metrics, in sentences a partner can read.

A guard is compared with its margin by its 95 % interval, never by its point estimate alone (bench/guards.py counts how
often that errs):

failed   the whole interval lies beyond the margin: surely worse than allowed.
worse    the estimate lies beyond the margin and a one-sided 95 % bound on the worse side of 0: worse, by how much is open.
         With many guards one is there by chance: it counts if Holm's correction over all guards agrees, or if the
         interval reaches five margins, so that serious harm cannot be ruled out.
passed   the interval's worse end lies within the margin.
open     anything else: too few items to tell; the verdict says how many it takes.

promote: the primary metric's interval lies on the better side of 0, no guard failed or got worse, and the tuned model is usable.
reject:  the primary metric's interval lies on the worse side, or a guard failed.
hold:    everything between.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any, Literal

from ...runs.errors import UsageError
from .metrics import BY_NAME, Sample
from .statistics import holm

State = Literal["failed", "worse", "passed", "open"]
Margin = float | Mapping[str, float | str]
ONE_SIDED = 1.645 / 1.96  # half-width of a one-sided 95 % bound, in half-widths of the two-sided interval
FAMILY_LEVEL = 0.05  # chance that any guard of a model that did not change is told as worse
SERIOUS = 5  # margins: harm that holds a model on the evidence of its own guard alone
LEAST_SURE = 0.10  # two-sided p of a permutation that has to agree: a bootstrap interval of few events is too narrow
SHOWN = 20
NAMED = 4  # guards named in the sentence about those that are open
DEFAULT_MARGIN = 2.0
WORDS = {"promote": "승격", "hold": "보류", "reject": "반려"}


@dataclass(frozen=True, slots=True)
class Guard:
    """A guard metric against its margin.

    Attributes:
        margin: how much worse it may get, in the metric's shown units.
        needed: items with which an unchanged model passes four times in five; None if unknown.
    """

    row: Mapping[str, Any]
    state: State
    margin: float
    needed: int | None

    def as_dict(self) -> dict[str, Any]:
        """As verdict.json holds it."""
        n = self.row["difference"].get("n")
        facts = {"name": self.row["name"], "label": self.row["label"], "state": self.state}
        return {**facts, "margin": round(self.margin, 6), "n": n, "needed": self.needed}


def decide(rows: Sequence[dict[str, Any]], primary: str, margin: Margin) -> dict[str, Any]:
    """The verdict with its reasons.

    Args:
        rows: the metrics table, lm-evaluation-harness guards included.
        primary: name of the metric that decides.
        margin: the recipe's `evaluate.guard_margin`.

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
    guards = guard_states([one for one in rows if one["guard"] and one["name"] != primary], margin)
    states = {guard.state for guard in guards}
    if (high is not None and high < 0) or "failed" in states:
        verdict = "reject"
    elif low is not None and low > 0 and "worse" not in states:
        verdict = "promote"
    else:
        verdict = "hold"
    reasons = [_primary_sentence(row, low, high)]
    reasons += [_worse_sentence(guard) for guard in guards if guard.state in ("failed", "worse")]
    reasons += _guards_sentence(guards)
    if row["detectable"]:
        least = _amount(row, row["detectable"]).removeprefix("+")
        reasons.append(f"이 문항 수로는 {row['label']} 차이가 {least} 이상이어야 확실히 알아볼 수 있습니다.")
    found = {"verdict": verdict, "label": WORDS[verdict], "primary": primary, "guard_margin": margin}
    return {**found, "reasons": reasons, "guards": [guard.as_dict() for guard in guards]}


def margin_of(row: Mapping[str, Any], margin: Margin) -> float:
    """A guard's margin in its shown units: one number for all, or by name, "10%" of the base's value if it is text."""
    by_name = {"default": margin} if isinstance(margin, int | float) else margin
    chosen = by_name.get(row["name"], by_name.get("default", DEFAULT_MARGIN))
    if isinstance(chosen, str):
        return float(chosen.rstrip("% ")) / 100 * abs(float(row["base"]["value"] or 0.0))
    return float(chosen)


def guard_states(rows: Sequence[Mapping[str, Any]], margin: Margin) -> list[Guard]:
    """The guards of one run, each against its margin and all against chance, in the order given."""
    guards = []
    for row, p in zip(rows, holm([_one_sided_p(row) for row in rows]), strict=True):
        guard = guard_state(row, margin_of(row, margin))
        harmless = p > FAMILY_LEVEL and (_gain_interval(row)[0] or 0.0) > -SERIOUS * guard.margin
        guards.append(replace(guard, state="open") if guard.state == "worse" and harmless else guard)
    return guards


def _one_sided_p(row: Mapping[str, Any]) -> float:
    """Chance of a loss as large as the measured one if nothing changed, from the normal interval; 1 without an interval."""
    low, high = _gain_interval(row)
    if low is None or high is None or high <= low:
        return 1.0
    return NormalDist().cdf(_gain(row) / ((high - low) / (2 * NormalDist().inv_cdf(0.975))))


def guard_state(row: Mapping[str, Any], margin: float) -> Guard:
    """A row of the table against its margin, whatever the other guards are."""
    low, high = _gain_interval(row)
    detectable = row["detectable"]
    needed = None
    if detectable and margin and row["difference"].get("n"):
        needed = math.ceil(row["difference"]["n"] * (detectable / margin) ** 2)
    change = row["difference"]
    sure = change.get("test") != "permutation" or change["p"] <= LEAST_SURE
    if low is None or high is None:
        state: State = "open"
    elif high < -margin and sure:
        state = "failed"
    elif low >= -margin:
        state = "passed"
    else:
        bound = high - (high - low) / 2 * (1 - ONE_SIDED)
        state = "worse" if bound < 0 and _gain(row) < -margin and sure else "open"
    return Guard(row, state, margin, needed)


def with_usability(
    found: dict[str, Any], rows: Sequence[Mapping[str, Any]], floors: Mapping[str, Mapping[str, float]]
) -> dict[str, Any]:
    """The verdict with "usable": whether the tuned model reaches what the pack asks of any model that is shown.

    A model that is better than its base and still unusable is held, not promoted.
    """
    missed = [_missed(row, floors[row["name"]]) for row in rows if row["name"] in floors]
    told = [sentence for sentence in missed if sentence]
    usable = {"met": not told, "reasons": told}
    if told and found["verdict"] == "promote":
        return {**found, "verdict": "hold", "label": WORDS["hold"], "usable": usable}
    return {**found, "usable": usable}


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


def _sign(row: Mapping[str, Any]) -> float:
    return 1.0 if row["kind"] == "higher" else -1.0


def _gain(row: Mapping[str, Any]) -> float:
    value = row["difference"]["value"]
    return 0.0 if value is None else _sign(row) * float(value)


def _gain_interval(row: Mapping[str, Any]) -> tuple[float | None, float | None]:
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
    return f"주 지표 {row['label']}: {values}, 차이 {_amount(row, difference['value'])}({interval}). {claim}."


def _worse_sentence(guard: Guard) -> str:
    row, margin = guard.row, _amount(guard.row, guard.margin).removeprefix("+")
    values = f"{_shown(row, row['base']['value'])} → {_shown(row, row['tuned']['value'])}"
    if guard.state == "failed":
        return f"안전 지표 {row['label']}: {values}. 95% 신뢰구간 전체가 허용 폭 {margin}보다 나쁜 쪽에 있습니다."
    return f"안전 지표 {row['label']}: {values}. 나빠졌다고 보아야 하고(단측 95%), 허용 폭 {margin}을 확실히 넘었는지는 더 재어 보아야 합니다."


def _guards_sentence(guards: Sequence[Guard]) -> list[str]:
    """How many guards hold, and which are open for want of items."""
    if not guards:
        return []
    passed = sum(guard.state == "passed" for guard in guards)
    still_open = sorted((g for g in guards if g.state == "open"), key=lambda g: (g.needed is None, g.needed or 0))
    told = f"안전 지표 {len(guards)}개 가운데 {passed}개는 허용 폭 안에 있음을 확인했습니다."
    if not still_open:
        return [told]
    names = ", ".join(f"{g.row['label']}({_needed(g)})" for g in still_open[:NAMED])
    rest = f" 외 {len(still_open) - NAMED}개" if len(still_open) > NAMED else ""
    return [f"{told} {len(still_open)}개는 문항이 모자라 확인하지 못했습니다: {names}{rest}."]


def _needed(guard: Guard) -> str:
    if guard.needed is None:
        return "필요한 문항 수를 알 수 없음"
    step = int(10 ** max(0, len(str(guard.needed)) - 2))  # two leading digits: the rest would be false precision
    return f"지금 {guard.row['difference']['n']:,}, 필요 약 {math.ceil(guard.needed / step) * step:,}문항"


def _missed(row: Mapping[str, Any], floor: Mapping[str, float]) -> str:
    """A sentence if the tuned model's interval lies on the wrong side of the floor; empty if it may reach it."""
    tuned = row["tuned"]
    value, low, high = tuned["value"], tuned.get("low"), tuned.get("high")
    least, most = floor.get("at_least", -math.inf), floor.get("at_most", math.inf)
    if value is None:
        return ""
    if (value if high is None else high) < least:
        wanted = f"{_shown(row, least)} 이상"
    elif (value if low is None else low) > most:
        wanted = f"{_shown(row, most)} 이하"
    else:
        return ""
    return f"{row['label']} {_shown(row, value)} (쓸 수 있으려면 {wanted})"


def _shown(row: Mapping[str, Any], value: float | None) -> str:
    if value is None:
        return "없음"
    return f"{value:.1f}%" if row["unit"] == "percent" else f"{value:.3f}"


def _amount(row: Mapping[str, Any], value: float) -> str:
    amount = f"{value:+.1f}점" if row["unit"] == "percent" else f"{value:+.3f}"
    return amount.replace("-", "−")
