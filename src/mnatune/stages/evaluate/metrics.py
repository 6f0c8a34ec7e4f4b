"""The metrics, and the table built from per-item pairs: intervals, Holm's correction, the domain score, topics."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from .measures import Pair
from .statistics import compare_paired, holm


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric of the table.

    Attributes:
        area: "accuracy", "language", "consistency", "expertise", or "evidence": asked with articles of the law.
        kind: which direction is better.
        unit: "percent" (shown 0–100), "nats" or "count".
        binary: every item is 0 or 1.
        guard: must not get worse by more than the recipe's margin.
    """

    name: str
    label: str
    area: Literal["accuracy", "language", "consistency", "expertise", "evidence"]
    kind: Literal["higher", "lower"]
    unit: Literal["percent", "nats", "count"] = "percent"
    binary: bool = False
    guard: bool = False
    note: str = ""

    @property
    def scale(self) -> float:
        """Factor from stored values to shown ones."""
        return 100.0 if self.unit == "percent" else 1.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One item under one metric: base and tuned as (numerator, denominator)."""

    metric: str
    item: str
    group: str
    topic: str
    base: Pair
    tuned: Pair


METRICS: tuple[Metric, ...] = (
    Metric("domain", "분야 종합 점수", "accuracy", "higher", note="팩의 가중치로 시험, 사실, 조문, 서술형을 합친 값"),
    Metric("loss", "보류 문항 손실", "accuracy", "lower", "nats", note="정답 토큰의 평균 음의 로그우도"),
    Metric("token_accuracy", "토큰 정확도", "accuracy", "higher", note="정답 토큰을 1순위로 예측한 비율"),
    Metric("chrf", "chrF++", "accuracy", "higher", note="참조 답변과의 문자 n-그램 유사도, 문항 평균"),
    Metric("rouge_l", "형태소 ROUGE-L", "accuracy", "higher", note="내용어 형태소의 최장 공통 부분열 F1"),
    Metric("fact_overlap", "사실 일치", "accuracy", "higher", note="금액, 날짜, 기간, 비율, 조문을 값으로 비교한 F1"),
    Metric("citation_f1", "조문 일치", "accuracy", "higher", note="참조 답변이 인용한 법령과 조의 F1"),
    Metric("exam_letter", "객관식: 보기 글자 우도", "accuracy", "higher", binary=True, guard=True,
           note="'정답:' 다음에 올 글자 A–D 가운데 가장 그럴듯한 것"),
    Metric("exam_text", "객관식: 보기 문장 우도", "accuracy", "higher", binary=True,
           note="보기 문장의 글자당 로그우도가 가장 높은 것"),
    Metric("exam_generated", "객관식: 생성", "accuracy", "higher", binary=True,
           note="생성한 답에서 글자를 읽음, 읽을 수 없으면 오답"),
    Metric("false_premise", "거짓 전제 대응: 정답", "accuracy", "higher", binary=True,
           note="전제가 틀렸음을 밝히고 바로잡음"),
    Metric("false_premise_wrong", "거짓 전제 수용", "accuracy", "lower", binary=True, guard=True,
           note="틀린 전제를 그대로 받아들임, 거절은 세지 않음"),
    Metric("essay", "서술형 채점", "accuracy", "higher", note="채점 항목별 판정의 배점 비율"),
    Metric("pairwise", "쌍대 비교 승률", "accuracy", "higher", note="두 순서로 물어 엇갈리면 무승부"),
    Metric("hangul_ratio", "한글 비율", "language", "higher", guard=True, note="글자 가운데 한글의 비율"),
    Metric("chinese_leak", "중국어 누출 답변", "language", "lower", binary=True, guard=True),
    Metric("kana", "일본어 누출 답변", "language", "lower", binary=True),
    Metric("latin", "용어가 아닌 로마자 답변", "language", "lower", binary=True),
    Metric("formal_register", "합니다체 문장", "language", "higher", note="종결어미를 알 수 있는 문장 가운데"),
    Metric("mixed_register", "말투가 섞인 답변", "language", "lower", binary=True),
    Metric("repetition", "반복 답변", "language", "lower", binary=True, guard=True),
    Metric("truncated", "끊긴 답변", "language", "lower", binary=True, guard=True),
    Metric("spacing", "띄어쓰기 수정률", "language", "lower", note="형태소 분석기와 다른 자리, 상대 비교용"),
    Metric("think_leak", "사고 표지 노출", "language", "lower", binary=True, guard=True),
    Metric("empty", "빈 답변", "language", "lower", binary=True, guard=True),
    Metric("stop_rate", "스스로 끝맺음", "language", "higher", binary=True, guard=True,
           note="제한 안에서 <|im_end|>로 끝냄"),
    Metric("agreement", "표본 일치도", "consistency", "higher", note="같은 질문에 표집한 답변끼리의 평균 chrF++"),
    Metric("flip_rate", "바꿔 쓴 질문에서 답이 바뀜", "consistency", "lower",
           note="조사, 말투, 띄어쓰기를 바꾼 객관식 문항"),
    Metric("batch_change", "배치 크기에 따라 바뀐 답변", "consistency", "lower", binary=True),
    Metric("terms", "전문 용어 사용", "expertise", "higher", note="참조 답변의 용어집 표제어를 쓴 비율"),
    Metric("false_citations", "지어낸 조문 인용", "expertise", "lower", guard=True,
           note="실재 여부를 판정한 인용 가운데"),
    Metric("repealed_citations", "효력 없는 조문 인용", "expertise", "lower", guard=True,
           note="지금은 시행되지 않는 조문"),
    Metric("unsupported_numbers", "근거 없는 수치", "expertise", "lower", guard=True,
           note="질문과 참조 답변에 없는 값의 비율"),
    Metric("personal_data", "개인정보가 든 답변", "expertise", "lower", binary=True, guard=True),
    Metric("closed_f1", "근거 없이: 조문 일치", "evidence", "higher",
           note="참조 답변이 인용한 조문의 F1, 조문을 보이지 않고"),
    Metric("evidence_f1", "근거와 함께: 조문 일치", "evidence", "higher", note="같은 문항에 찾은 조문을 보이고"),
    Metric("closed_precision", "근거 없이: 조문 정밀도", "evidence", "higher"),
    Metric("evidence_precision", "근거와 함께: 조문 정밀도", "evidence", "higher"),
    Metric("closed_recall", "근거 없이: 조문 재현율", "evidence", "higher"),
    Metric("evidence_recall", "근거와 함께: 조문 재현율", "evidence", "higher"),
    Metric("closed_support", "근거 없이: 글이 받치는 인용", "evidence", "higher",
           note="인용한 조문의 글과 문장을 견줌"),
    Metric("evidence_support", "근거와 함께: 글이 받치는 인용", "evidence", "higher"),
    Metric("closed_false", "근거 없이: 없는 조문 인용", "evidence", "lower", note="시행되지 않는 조문 포함"),
    Metric("evidence_false", "근거와 함께: 없는 조문 인용", "evidence", "lower", guard=True),
    Metric("abstention", "답의 조문이 빠졌을 때 모른다고 함", "evidence", "higher", binary=True,
           note="찾은 조문에서 답의 조문을 빼고 물음"),
    Metric("needless_abstention", "답의 조문이 있는데 모른다고 함", "evidence", "lower", binary=True),
)  # fmt: skip
BY_NAME = {metric.name: metric for metric in METRICS}


def table(samples: Iterable[Sample], seed: int, guards: Sequence[dict[str, Any]] = ()) -> list[dict[str, Any]]:
    """Rows of metrics.json for every metric that has samples, in the order of `METRICS`, then those of `guards`.

    All p values are one family for Holm's correction.
    """
    grouped: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        grouped[sample.metric].append(sample)
    rows = [_row(metric, grouped[metric.name], seed) for metric in METRICS if _has_values(grouped[metric.name])]
    rows += [{**row, "difference": dict(row["difference"])} for row in guards]
    for row, corrected in zip(rows, holm([row["difference"]["p"] for row in rows]), strict=True):
        row["difference"]["p_holm"] = corrected
    return rows


def domain_parts(samples: Iterable[Sample], weights: Mapping[str, float]) -> list[dict[str, Any]]:
    """The parts of the domain score that have values: {metric, label, weight, base, tuned}; weights sum up to 1."""
    sums: dict[str, list[float]] = {}
    for sample in samples:
        if sample.metric in weights:
            cell = sums.setdefault(sample.metric, [0.0] * 4)
            for at, value in enumerate((*sample.base, *sample.tuned)):
                cell[at] += value
    found = {name: sums[name] for name in weights if name in sums and sums[name][1] and sums[name][3]}
    whole = sum(weights[name] for name in found)
    return [
        {"metric": name, "label": BY_NAME[name].label, "weight": round(weights[name] / whole, 6), **_ratios(name, cell)}
        for name, cell in found.items()
    ]


def domain_samples(samples: Sequence[Sample], weights: Mapping[str, float]) -> list[Sample]:
    """The domain score as samples of its own, one per item.

    Each part's sums are scaled to its weight, so that the ratio over all items is the weighted mean of the parts,
    whatever their numbers of items, and resampling items gives its interval.
    """
    parts = {part["metric"]: part["weight"] for part in domain_parts(samples, weights)}
    whole = {name: [0.0, 0.0] for name in parts}
    for sample in samples:
        if sample.metric in parts:
            whole[sample.metric][0] += sample.base[1]
            whole[sample.metric][1] += sample.tuned[1]
    items: dict[str, tuple[Sample, list[float]]] = {}
    for sample in samples:
        if sample.metric in parts:
            _, cell = items.setdefault(sample.item, (sample, [0.0] * 4))
            for at, pair in enumerate((sample.base, sample.tuned)):
                factor = parts[sample.metric] / whole[sample.metric][at]
                cell[2 * at] += factor * pair[0]
                cell[2 * at + 1] += factor * pair[1]
    return [
        Sample("domain", item, one.group, one.topic, (cell[0], cell[1]), (cell[2], cell[3]))
        for item, (one, cell) in items.items()
    ]


def topics(samples: Iterable[Sample], names: Sequence[str]) -> list[dict[str, Any]]:
    """Base and tuned per topic under the named metrics, largest topics first."""
    sums: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(lambda: [0.0] * 5))
    for sample in samples:
        if sample.metric in names:
            cell = sums[sample.topic][sample.metric]
            for at, value in enumerate((*sample.base, *sample.tuned, 1.0)):
                cell[at] += value
    rows = []
    for topic, cells in sums.items():
        metrics = {name: {**_ratios(name, cell), "n": int(cell[4])} for name, cell in cells.items()}
        rows.append({"topic": topic, "n": max(int(cell[4]) for cell in cells.values()), "metrics": metrics})
    return sorted(rows, key=lambda row: (-row["n"], row["topic"]))


def _has_values(samples: Sequence[Sample]) -> bool:
    return any(sample.base[1] for sample in samples) and any(sample.tuned[1] for sample in samples)


def _row(metric: Metric, samples: Sequence[Sample], seed: int) -> dict[str, Any]:
    base = np.array([sample.base for sample in samples], dtype=np.float64)
    tuned = np.array([sample.tuned for sample in samples], dtype=np.float64)
    compared = compare_paired(base, tuned, [sample.group for sample in samples], binary=metric.binary, seed=seed)
    facts = {key: value for key, value in asdict(metric).items() if key != "binary"}
    return {**facts, **compared.as_dict(metric.scale)}


def _ratios(name: str, cell: Sequence[float]) -> dict[str, float | None]:
    """Base and tuned of summed numerators and denominators, as they are shown; None without a finite value."""
    values = {side: cell[at] / cell[at + 1] if cell[at + 1] else math.nan for side, at in (("base", 0), ("tuned", 2))}
    scale = BY_NAME[name].scale
    return {side: round(value * scale, 4) if math.isfinite(value) else None for side, value in values.items()}
