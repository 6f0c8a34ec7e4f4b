"""Training: six curves, system load, and plan against measurement."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..runs.workspace import Manifest, Run, read_jsonl
from ..stages.train.methods import METHODS
from . import korean
from .charts import Caption, Chart, Series, in_units, lines

STEP_AXIS = "스텝"
# key → (title, d3 format of the axis)
CURVES = {
    "loss": ("손실", ".2~f"),
    "mean_token_accuracy": ("토큰 정확도", ".0%"),
    "learning_rate": ("학습률", ".1~e"),
    "grad_norm": ("기울기 노름", ".2~f"),
}
SYSTEM = {
    "cpu_percent": ("CPU 사용률", "%", 1.0),
    "rss_mb": ("주 메모리", " GiB", 1 / 1024),
    "gpu_percent": ("GPU 사용률", "%", 1.0),
    "gpu_memory_mb": ("GPU 메모리", " GiB", 1 / 1024),
    "tokens_per_second": ("처리 속도", " 토큰/초", 1.0),
}
GUARDS = {
    "citation_exists": "있는 조문",
    "citation_supported": "맞는 조문",
    "citation_shown": "근거 안의 조문",
    "abstention": "모를 때만 모른다고 함",
    "values_grounded": "근거 있는 숫자·날짜",
    "ends": "스스로 끝맺음",
    "korean": "한국어",
    "honest": "꼼수 없음",
}
MEMORY_PARTS = {
    "weights": "가중치",
    "adapter": "어댑터",
    "optimizer": "최적화 상태",
    "activations": "활성값",
    "working": "출력층·기울기",
    "rollout": "답변 생성",
    "reading": "교사의 읽기",
    "overhead": "여유분",
}


@dataclass(frozen=True, slots=True)
class Measure:
    """A line of the table "plan against measured"."""

    label: str
    plan: str
    measured: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Training:
    """What the training section shows.

    Attributes:
        done: False while the stage has no manifest (training, or stopped).
        highlights: label → value of the four figures on top.
        without_gpu: True if no row carries a GPU figure.
    """

    done: bool
    highlights: dict[str, str]
    settings: dict[str, str]
    measures: list[Measure]
    curves: list[Chart]
    system: list[Chart]
    without_gpu: bool


def training(run: Run) -> Training | None:
    """The training section; None before the first logged step."""
    manifest = run.manifest("train")
    rows = read_jsonl(run.folder("train") / "metrics.jsonl", missing_ok=True, growing=True)
    if manifest is None and not rows:
        return None
    steps = [row for row in rows if "loss" in row]
    evals = [row for row in rows if "eval_loss" in row]
    return Training(
        done=manifest is not None,
        highlights=_highlights(manifest, steps, evals),
        settings=_settings(manifest),
        measures=_measures(manifest),
        curves=_curves(steps, evals, manifest) if steps else [],
        system=[chart for key in SYSTEM if (chart := _system(key, steps)) is not None],
        without_gpu=bool(steps) and not any(korean.finite(row.get("gpu_memory_mb")) for row in steps),
    )


def _column(rows: Sequence[dict[str, Any]], key: str) -> list[float | None]:
    return [korean.finite(row.get(key)) for row in rows]


def _curves(steps: list[dict[str, Any]], evals: list[dict[str, Any]], manifest: Manifest | None) -> list[Chart]:
    """Before the stage is done, every method's figures are looked for."""
    x = _column(steps, "step")
    charts = []
    method = METHODS.get(str(manifest.section.get("train", {}).get("method", "sft"))) if manifest else None
    own = {key: one for each in ([method] if method else METHODS.values()) for key, one in each.figures.items()}
    for key, (title, tick) in (CURVES | {key: (one.title, one.tick) for key, one in own.items()}).items():
        if not any(key in row for row in steps):
            continue
        series = [Series("학습", x, _column(steps, key))]
        if any(f"eval_{key}" in row for row in evals):
            series.append(Series("검증", _column(evals, "step"), _column(evals, f"eval_{key}"), "good", dots=True))
        caption = Caption(f"curve-{key.replace('/', '-')}", title, _tells(series, tick))
        charts.append(lines(caption, series, x_title=STEP_AXIS, tick=tick))
    tokens, unit = in_units(_column(steps, "num_tokens"), "토큰")
    total = _last(_column(steps, "num_tokens"))
    caption = Caption("curve-tokens", f"누적 토큰 ({unit})", f"모두 {korean.rough(total)} 토큰을 학습했습니다.")
    charts.append(lines(caption, [Series("토큰", x, tokens)], x_title=STEP_AXIS))
    seconds = _column(steps, "seconds")
    minutes = max((s for s in seconds if s is not None), default=0) >= 300
    elapsed = [None if s is None else s / 60 if minutes else s for s in seconds]
    summary = f"{korean.duration(_last(seconds))} 동안 {korean.count(_last(x))}스텝을 마쳤습니다."
    caption = Caption("curve-steps", "시간에 따른 스텝", summary)
    charts.append(lines(caption, [Series("스텝", elapsed, x)], x_title="분" if minutes else "초"))
    return charts


def _system(key: str, steps: list[dict[str, Any]]) -> Chart | None:
    title, unit, scale = SYSTEM[key]
    values = [None if v is None else v * scale for v in _column(steps, key)]
    known = [v for v in values if v is not None]
    if not known:
        return None
    digits = 0 if max(known) >= 100 else 1
    mean, peak = (korean.number(v, digits) for v in (sum(known) / len(known), max(known)))
    summary = f"평균 {mean}{unit}, 최대 {peak}{unit}."
    series = [Series(title, _column(steps, "step"), values, "base")]
    return lines(Caption(f"system-{key}", title, summary), series, x_title=STEP_AXIS, from_zero=True)


def _power(value: float) -> str:
    """1e-4 rather than 1.0e-04."""
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}" if value else "0"


def _tells(series: list[Series], tick: str) -> str:
    def shown(value: float | None) -> str:
        if value is None:
            return korean.NONE
        return f"{value:.1%}" if tick.endswith("%") else f"{value:.3f}"

    parts = []
    for one in series:
        known = [v for v in one.y if v is not None]
        if known and tick.endswith("e"):
            parts.append(f"최고 {_power(max(known))}, 마지막 {_power(known[-1])}")
        elif known:
            parts.append(f"{one.label} {shown(known[0])} → {shown(known[-1])}")
    return f"{', '.join(parts)}." if parts else "기록이 없습니다."


def _highlights(manifest: Manifest | None, steps: list[dict[str, Any]], evals: list[dict[str, Any]]) -> dict[str, str]:
    measured = (manifest.facts.get("measured") or {}) if manifest else {}

    def found(name: str, column: str) -> float | None:
        value = korean.finite(measured.get(name))
        return value if value is not None else _last(_column(steps, column))

    shown = {
        "걸린 시간": korean.duration(found("seconds", "seconds")),
        "스텝": korean.count(found("steps", "step")),
        "학습 토큰": korean.rough(found("tokens", "num_tokens")),
    }
    losses = [v for v in _column(evals, "eval_loss") if v is not None]
    if losses:
        shown["검증 손실"] = f"{losses[0]:.3f} → {losses[-1]:.3f}" if len(losses) > 1 else f"{losses[0]:.3f}"
    elif steps:
        shown["학습 손실"] = f"{korean.number(_last(_column(steps, 'loss')), 3)}"
    return shown


def _settings(manifest: Manifest | None) -> dict[str, str]:
    if manifest is None:
        return {}
    train = manifest.section.get("train", {})
    model = manifest.section.get("model", {})
    quantize = manifest.facts.get("setting", train).get("quantize")
    name = str(train.get("method", "sft"))
    method = METHODS.get(name)
    kind = {"none": "LoRA", "nf4": "QLoRA (nf4)", "fp8": "LoRA (fp8 기반 모델)"}.get(str(quantize), "LoRA")
    return {
        "기본 모델": str(model.get("id", korean.NONE)),
        "방법": f"{name.upper()}{f'({method.label})' if method else ''} · {kind} · r {train.get('r')}, α {train.get('alpha')}",
        "에폭": f"{train.get('epochs', korean.NONE):g}" if train.get("epochs") else korean.NONE,
        "스텝의 행": korean.count(train.get("rows_per_step")),
        "학습률": f"{manifest.facts.get('setting', {}).get('learning_rate') or train.get('learning_rate') or 0:g}",
        "최대 길이": f"{korean.count(model.get('max_length'))} 토큰",
        **({"저장한 스텝": f"{saved['step']:,} / {saved['of']:,}"} if (saved := manifest.facts.get("saved")) else {}),
        **_watched(manifest),
        **_taught(manifest),
    }


def _watched(manifest: Manifest) -> dict[str, str]:
    """What the validation questions earned before and at the last look, and which guard stopped the training."""
    held_out = manifest.facts.get("held_out")
    if not held_out:
        return {}
    before, after = (korean.number(korean.finite(held_out[side]["reward"]), 3) for side in ("before", "after"))
    told = {"보류 질문의 보상": f"{before} → {after} ({korean.count(held_out['questions'])}문항)"}
    if held_out["fallen"]:
        told["멈춘 까닭"] = (
            f"지켜야 할 지표가 떨어짐: {', '.join(GUARDS.get(name, name) for name in held_out['fallen'])}"
        )
    return told


def _taught(manifest: Manifest) -> dict[str, str]:
    """What the model knew of the passages before it was taught, and what it was taught with."""
    facts = manifest.facts.get("facts")
    if not facts:
        return {}
    counts = {name: korean.count(facts.get(name, 0)) for name in ("known", "unknown", "unchecked")}
    told = f"모름 {counts['unknown']} · 앎 {counts['known']}(가르치지 않음)"
    if facts.get("unchecked"):
        told += f" · 확인할 값이 없음 {counts['unchecked']}"
    others = f"글이 딸린 행 {korean.count(facts['rows'])} ({facts['share']:.0%}) · 그 밖의 행 {korean.count(facts['others'])}"
    return {"글 속의 사실": told, "가르친 행": others}


def _measures(manifest: Manifest | None) -> list[Measure]:
    """The plan beside the measurements; skips lines that have neither."""
    if manifest is None:
        return []
    plan, measured = (manifest.facts.get(name) or {} for name in ("plan", "measured"))
    hours, gpu = korean.finite(plan.get("hours")), korean.finite(measured.get("peak_gpu_mb"))
    loss, resident = korean.finite(measured.get("mean_loss")), korean.finite(measured.get("peak_rss_mb"))
    drawn = f"그 가운데 스스로 쓴 답변은 많아야 {korean.rough(plan['generated'])}" if plan.get("generated") else ""
    if plan.get("read"):
        drawn = f"교사가 글과 함께 읽는 것은 따로 {korean.rough(plan['read'])}"
    memory = (plan.get("memory") or {}).items()
    parts = " · ".join(f"{MEMORY_PARTS.get(part, part)} {korean.number(size / 2**30, 2)}" for part, size in memory)
    trainable, whole = korean.finite(plan.get("trainable")), korean.finite(plan.get("parameters"))
    share = f"전체 {korean.rough(whole)}의 {100 * trainable / whole:.2f}%" if trainable and whole else ""
    found = [
        Measure("스텝", korean.count(plan.get("steps")), korean.count(measured.get("steps"))),
        Measure("학습 토큰", korean.count(plan.get("tokens")), korean.count(measured.get("tokens")), drawn),
        Measure(
            "걸린 시간",
            korean.duration(None if hours is None else 3600 * hours),
            korean.duration(korean.finite(measured.get("seconds"))),
        ),
        Measure("GPU 메모리", _gib(plan.get("total_gb")), _gib(None if gpu is None else gpu / 1024), parts),
        Measure("주 메모리", korean.NONE, _gib(None if resident is None else resident / 1024)),
        Measure("학습되는 파라미터", korean.rough(trainable), korean.NONE, share),
        Measure("평균 손실", korean.NONE, korean.number(loss, 3)),
    ]
    return [measure for measure in found if {measure.plan, measure.measured} != {korean.NONE}]


def _gib(value: Any) -> str:
    return korean.NONE if korean.finite(value) is None else f"{korean.number(value)} GiB"


def _last(values: Sequence[float | None]) -> float | None:
    return next((v for v in reversed(values) if v is not None), None)
