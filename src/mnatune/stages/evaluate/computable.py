"""Which metrics a recipe allows. Errors before the work are in English, reasons in the report in Korean."""

import re
from collections.abc import Collection
from typing import Any

from ...pack import Pack
from ...runs.errors import UsageError, did_you_mean
from ...runs.recipe import Recipe
from .backends import served
from .general_guards import guard_tasks
from .metrics import BY_NAME, METRICS

SHARE = re.compile(r"(?<![\d.])\d++(?:\.\d++)?%")
NEEDS_LIKELIHOODS = ("loss", "token_accuracy", "exam_letter", "exam_text")
NEEDS_PROCESS = (*NEEDS_LIKELIHOODS, "batch_change")
WHY_NOT = {
    "endpoint.base_url": "판정 모델의 엔드포인트가 설정되지 않았습니다(endpoint.base_url).",
    "evaluate.samples": "표본 수가 0입니다(evaluate.samples).",
    "evaluate.exam": "시험을 보지 않도록 설정되었습니다(evaluate.exam).",
    "evaluate.answered_by": "서버가 답한 평가에서는 로그우도와 토큰을 얻을 수 없습니다(evaluate.answered_by).",
    "evaluate.guards": "일반 한국어 과제를 재지 않도록 설정되었습니다(evaluate.guards).",
    "compose.evidence": "근거와 함께 묻는 행을 만들지 않았습니다(compose.evidence).",
    "": "해당하는 문항이나 값이 없습니다.",
}
SERVED_GUARD = "보기의 우도를 견주는 과제는 서버로 잴 수 없습니다(evaluate.answered_by)."


def check(recipe: Recipe, pack: Pack) -> None:
    """Refuse what cannot be evaluated before any answer is generated.

    Raises:
        UsageError: there is no such primary metric or guard, the recipe lacks what it needs, or only one of
            the two servers is given.
    """
    wanted, primary = recipe.evaluate, recipe.evaluate.primary
    if primary not in BY_NAME:
        step = f"choose one of: {', '.join(BY_NAME)}"
        raise UsageError(f"evaluate.primary is {primary!r}: there is no such metric", next_step=step)
    if key := lacking(recipe, primary):
        how = "with" if key == "evaluate.answered_by" else "without"
        step = f"{'empty' if how == 'with' else 'set'} {key}, or choose another metric"
        raise UsageError(f"evaluate.primary is {primary!r}, which is not computed {how} {key}", next_step=step)
    _check_margins(wanted.guard_margin, {task["task"] for task in guard_tasks(pack)})
    if wanted.answered_by and set(wanted.answered_by) != {"base", "tuned"}:
        step = "give both, base and tuned, as URL#MODEL: they have to be compared under the same conditions"
        raise UsageError("evaluate.answered_by names one of two models", next_step=step)
    for address in wanted.answered_by.values():
        served(address, "")
    if wanted.labels and not recipe.endpoint.base_url:
        raise UsageError("evaluate.labels needs a judge to compare with", next_step="set endpoint.base_url")


def _check_margins(margin: float | dict[str, float | str], tasks: set[str]) -> None:
    margins = margin if isinstance(margin, dict) else {"default": margin}
    if unknown := sorted(margins.keys() - BY_NAME.keys() - tasks - {"default"}):
        known, all_names = [*BY_NAME, *tasks, "default"], f"choose from: default, {', '.join(BY_NAME)}"
        step = did_you_mean(unknown[0], known, all_names)
        raise UsageError(f"evaluate.guard_margin names {unknown[0]!r}: there is no such metric", next_step=step)
    for name, value in margins.items():
        if not (SHARE.fullmatch(value) if isinstance(value, str) else value >= 0):
            step = 'give a number in the units of the metric that is not negative, or a share of the base as "5%"'
            raise UsageError(f"evaluate.guard_margin of {name} is {value!r}", next_step=step)


def lacking(recipe: Recipe, name: str) -> str:
    """The recipe key that prevents a metric from being computed; empty if nothing does."""
    if BY_NAME[name].area == "evidence" and not recipe.compose.evidence:
        return "compose.evidence"
    if name in ("essay", "pairwise") and not recipe.endpoint.base_url:
        return "endpoint.base_url"
    if BY_NAME[name].area == "consistency" and not recipe.evaluate.samples:
        return "evaluate.samples"
    if not recipe.evaluate.exam and name.startswith(("exam", "false_premise", "essay")):
        return "evaluate.exam"
    return "evaluate.answered_by" if recipe.evaluate.answered_by and name in NEEDS_PROCESS else ""


def not_computed(recipe: Recipe, pack: Pack, computed: Collection[str]) -> list[dict[str, Any]]:
    """Metrics and guard tasks without a value: {name, label, reason in Korean}."""
    found = [
        {"name": metric.name, "label": metric.label, "reason": WHY_NOT[lacking(recipe, metric.name)]}
        for metric in METRICS
        if metric.name not in computed and lacking(recipe, metric.name) != "compose.evidence"
    ]
    if not recipe.compose.evidence:
        count = sum(metric.area == "evidence" for metric in METRICS)
        label = f"법령을 근거로 보이고 물은 지표 {count}개"
        found.append({"name": "open_book", "label": label, "reason": WHY_NOT["compose.evidence"]})
    if recipe.compose.canaries and recipe.evaluate.answered_by:
        found.append({"name": "privacy", "label": "학습 자료 노출", "reason": WHY_NOT["evaluate.answered_by"]})
    tasks = guard_tasks(pack)
    if tasks and recipe.evaluate.guards == "off":
        label = f"일반 한국어 과제 {len(tasks)}개(lm-evaluation-harness)"
        return [*found, {"name": "guards", "label": label, "reason": WHY_NOT["evaluate.guards"]}]
    return found + [
        {"name": task["task"], "label": task["label"], "reason": SERVED_GUARD}
        for task in tasks
        if task["task"] not in computed
    ]
