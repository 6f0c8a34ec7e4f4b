"""The judge's work, from its judge.json: scores, what other thresholds would keep, examples, cost, trust, recall."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..runs.errors import DataError
from ..runs.workspace import Run, read_json
from . import korean
from .charts import Caption, Chart, Series, bars, columns, lines

TOPICS = 16  # bars of the chart of topics
TABLE_STEP = 10  # points between the thresholds of the table
EXAMPLES = {
    "kept-best": ("점수가 높은 행", "남긴 행 가운데 점수가 가장 높은 것입니다."),
    "kept-just": ("가까스로 남긴 행", "남긴 행 가운데 점수가 가장 낮은 것입니다."),
    "dropped-just": ("아깝게 제외한 행", "제외한 행 가운데 점수가 가장 높은 것입니다."),
    "dropped-worst": ("점수가 낮은 행", "제외한 행 가운데 점수가 가장 낮은 것입니다."),
    "failed": ("심사하지 못한 행", "심사 모델이 점수를 내지 못해 따로 센 것입니다."),
}


@dataclass(frozen=True, slots=True)
class Cut:
    """What would remain at a threshold (rows that score above it)."""

    above: int
    rows: int
    topics: int
    chosen: bool


@dataclass(frozen=True, slots=True)
class Judging:
    """What the section shows.

    Attributes:
        excepted: rows at or below the threshold that are kept because of their source.
        examples: (title, note, rows of judge.json).
        facts: label → value about the endpoint and the cascade.
        trust: (label, value, tone) about the judge's agreement with itself.
        recall: the sentence on what was missed; empty where every row was judged.
    """

    scorer: str
    threshold: int
    rows: int
    excepted: int
    failed: dict[str, int]
    cuts: list[Cut]
    examples: list[tuple[str, str, list[dict[str, Any]]]]
    charts: list[Chart]
    facts: dict[str, str]
    trust: list[tuple[str, str, str]]
    recall: str


def judging(run: Run) -> Judging | None:
    """The section's content; None before `judge`."""
    if run.manifest("judge") is None:
        return None
    path, again = run.folder("judge") / "judge.json", f"mnatune judge RECIPE --out {run.root} --force"
    found = read_json(path, again)
    if "histogram" not in found:
        raise DataError("judge.json has no histogram", where=str(path), next_step=again)
    threshold, histogram = int(found["keep_above"]), [int(n) for n in found["histogram"]]
    above = sum(histogram[threshold + 1 :])
    cuts = [
        Cut(int(c["above"]), int(c["rows"]), int(c["topics"]), c["above"] == threshold)
        for c in found["thresholds"]
        if c["above"] % TABLE_STEP == 0 or c["above"] == threshold
    ]
    examples = [
        (title, note, rows)
        for kind, (title, note) in EXAMPLES.items()
        if (rows := [row for row in found["examples"] if row["kind"] == kind])
    ]
    cascade = found.get("cascade") or {}
    charts = [_scores(histogram, threshold), _topics(found["topics"], threshold)]
    if cascade.get("curve"):
        charts.append(_curve(cascade["curve"], int(cascade["rows"])))
    return Judging(
        scorer=str(found["scorer"]),
        threshold=threshold,
        rows=int(found["rows"]),
        excepted=max(0, int(found["kept"]) - above),
        failed={str(code): int(rows) for code, rows in found["failed"].items()},
        cuts=cuts,
        examples=examples,
        charts=charts,
        facts=_endpoint(found.get("endpoint") or {}) | _cascade(cascade),
        trust=_trust(found.get("canaries") or {}),
        recall=_recall(cascade.get("recall") or {}),
    )


def _scores(histogram: list[int], threshold: int) -> Chart:
    scores, total, kept = range(101), sum(histogram), sum(histogram[threshold + 1 :])
    summary = f"{threshold}점을 넘은 행은 {korean.count(kept)}행({korean.percent(kept, total)})입니다."
    return columns(
        Caption("scores", "점수 분포", summary),
        [
            Series("기준을 넘은 행", scores, [n if s > threshold else 0 for s, n in enumerate(histogram)]),
            Series("기준 이하", scores, [n if s <= threshold else 0 for s, n in enumerate(histogram)], "base"),
        ],
        unit="점",
        step=1,
        mark=threshold + 0.94,
    )


def _topics(topics: Mapping[str, list[int]], threshold: int) -> Chart:
    split = {name: (sum(n[threshold + 1 :]), sum(n[: threshold + 1])) for name, n in topics.items()}
    ranked = sorted(split, key=lambda name: (-split[name][0], -split[name][1], name))
    shown, rest = ranked[:TOPICS], ranked[TOPICS:]
    labels = [*shown, *([f"그 밖의 주제 {len(rest)}개"] if rest else [])]
    sides = [
        [split[name][side] for name in shown] + ([sum(split[name][side] for name in rest)] if rest else [])
        for side in (0, 1)
    ]
    missing = [name for name in ranked if not split[name][0]]
    summary = f"기준을 넘은 행이 없는 주제: {', '.join(missing)}." if missing else "모든 주제에 남은 행이 있습니다."
    series = [Series("기준을 넘은 행", labels, sides[0]), Series("기준 이하", labels, sides[1], "base")]
    return bars(Caption("topics", "주제별 행", summary), series)


def _curve(curve: list[dict[str, float]], rows: int) -> Chart:
    points = sorted(curve, key=lambda point: (point["calls"], point["recall"]))
    summary = "심사 모델에 더 많이 물을수록 쓸모 있는 행을 덜 놓칩니다. judge.recall을 정할 때 참고하십시오."
    shares, recalls = [100 * p["calls"] / rows for p in points], [p["recall"] for p in points]
    return lines(
        Caption("recall", "비용과 재현율", summary),
        [Series("추정 재현율", shares, recalls, dots=True)],
        x_title="심사 모델에 물은 행의 비율 (%)",
        tick=".0%",
    )


def _endpoint(facts: Mapping[str, Any]) -> dict[str, str]:
    if not facts:
        return {}
    shown = {
        "심사 모델": str(facts.get("model") or korean.NONE),
        "호출": korean.count(facts.get("calls")),
        "이미 심사한 행(재사용)": korean.count(facts.get("from_ledger")),
        "토큰(입력 / 출력)": f"{korean.rough(facts.get('tokens_in'))} / {korean.rough(facts.get('tokens_out'))}",
    }
    if facts.get("cost"):
        shown["비용"] = korean.number(facts["cost"], 2)
    if "repair_share" in facts:
        shown["고쳐 읽은 응답"] = korean.percent(facts["repair_share"], 1)
    if "same_points" in facts:
        points = "·".join(str(point) for point in facts["commonest_points"])
        shown["가장 잦은 항목 점수"] = f"{points} (행의 {korean.percent(facts['same_points'], 1)})"
    return shown


def _cascade(facts: Mapping[str, Any]) -> dict[str, str]:
    names = {"sample": "표본", "band": "불확실한 구간", "audit": "무작위 점검"}
    shown = {label: f"{korean.count(facts[key])}행" for key, label in names.items() if key in facts}
    if "calls_share" in facts:
        shown["심사 모델이 읽은 비율"] = korean.percent(facts["calls_share"], 1)
    return shown


def _recall(recall: Mapping[str, Any]) -> str:
    if not recall:
        return ""
    value, low, high = (f"{100 * recall[key]:.1f}%" for key in ("value", "low", "high"))
    return (
        f"쓸모 있는 행의 {value}를 찾은 것으로 추정합니다(95% 신뢰구간 {low} ~ {high}). "
        f"심사하지 않은 행을 무작위로 {korean.count(recall['audited'])}개 점검해 "
        f"놓친 행 {korean.count(recall['missed_in_audit'])}개를 확인했습니다."
    )


def _trust(facts: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    warned = facts.get("warnings") or []
    found = []
    if "agreement" in facts:
        value = f"{korean.percent(facts['agreement'], 1)} ({korean.count(facts['repeated'])}행)"
        found.append(("같은 행을 다시 심사했을 때의 일치", value, ""))
    for key, label in (
        ("drift", "지난 심사와의 평균 차이"),
        ("injection_shift", "점수를 지시하는 문장을 넣었을 때의 변화"),
    ):
        if key in facts:
            found.append((label, f"{korean.signed(facts[key])}점", "bad" if key in warned else "good"))
    return found
