"""What to do after a verdict, each step with the command that does it."""

import json
import math
import shlex
from dataclasses import dataclass
from typing import Any

from ..runs.workspace import Run, read_jsonl
from . import korean
from .findings import Evaluation

WEAK_TOPICS = 3
LEAST_IN_TOPIC = 3
STILL_FALLING = 0.01  # relative fall of the validation loss from which more epochs are worth a try
FEW_ROWS = 2000  # training rows below which a threshold that drops more than half is questioned
TABOO = ("false_citations", "repealed_citations", "false_premise_wrong", "unsupported_numbers")


@dataclass(frozen=True, slots=True)
class NextStep:
    """Something to do, and the command; no command where a person has to act."""

    sentence: str
    command: str = ""


def next_steps(run: Run, found: Evaluation) -> list[NextStep]:
    """Steps for this run, the most pressing first."""
    steps = [*_against_faults(found), *_more_items(run, found), *_topics(found), *_epochs(run), *_threshold(run)]
    if found.verdict.get("verdict") == "promote":
        command = f"mnatune serve --run {_path(run)} --keyless"
        steps.insert(0, NextStep("실무자가 눈가림으로 두 모델의 답을 비교해 봅니다.", command))
    return steps


def _path(run: Run) -> str:
    return shlex.quote(str(run.root))


def _again(run: Run, setting: str) -> str:
    """The whole run under another setting, in a folder beside this one."""
    recipe = shlex.quote(str(run.root / "recipe.lock.yaml"))
    return f"mnatune run {recipe} --out {shlex.quote(f'{run.root}-2')} --set {setting}"


def _against_faults(found: Evaluation) -> list[NextStep]:
    guards = {guard["name"]: guard for guard in found.verdict.get("guards", [])}
    worse = [guards[n]["label"] for n in TABOO if guards.get(n, {}).get("state") in ("failed", "worse")]
    if not worse:
        return []
    return [
        NextStep(
            f"나빠진 지표({', '.join(worse)})의 예를 위에서 읽고, 그 조문이 든 법령과 바른 답을 학습 자료에 더합니다. "
            "법령에서 근거가 있는 문답을 만들 수 있습니다.",
            "mnatune synthesize RECIPE",
        )
    ]


def _more_items(run: Run, found: Evaluation) -> list[NextStep]:
    """As many items as the open guards and the primary metric need, and whether the run has them."""
    wanted = [int(g["needed"]) for g in found.verdict.get("guards", []) if g["state"] == "open" and g.get("needed")]
    metric = found.primary_metric or {}
    change = korean.finite((metric.get("difference") or {}).get("value"))
    least = korean.finite(metric.get("detectable"))
    if found.verdict.get("verdict") == "hold" and change and least and abs(change) < least:
        wanted.append(math.ceil(metric["difference"]["n"] * (least / change) ** 2))
    asked = int(found.metrics["items"]["held_out"])
    if not wanted or max(wanted) <= asked:
        return []
    compose = run.manifest("compose")
    there = int((compose.facts.get("splits") or {}).get("test", 0)) if compose else 0
    need = max(wanted)
    if there > asked:
        command = f"mnatune evaluate {shlex.quote(str(run.root / 'recipe.lock.yaml'))} --out {_path(run)} --force"
        command += f" --set evaluate.items={min(need, there)}"
    else:
        command = _again(run, "compose.splits='[0.8, 0.05, 0.15]'")
    told = f"판정하지 못한 지표가 있습니다. 모두 판정하려면 약 {korean.rough(need)}문항이 필요합니다"
    return [NextStep(f"{told}(이번 {korean.count(asked)}문항, 시험 분할에 {korean.count(there)}행).", command)]


def _topics(found: Evaluation) -> list[NextStep]:
    """The topics in which the tuned model is weakest."""
    higher = (found.primary_metric or {}).get("kind", "higher") == "higher"
    known: list[tuple[float, str]] = []
    for topic in found.metrics.get("topics", []):
        cell = topic["metrics"].get(found.primary) or {}
        value = korean.finite(cell.get("tuned"))
        if value is not None and int(cell.get("n", 0)) >= LEAST_IN_TOPIC and topic["topic"]:
            known.append((value if higher else -value, str(topic["topic"])))
    weak = [name for _, name in sorted(known)[:WEAK_TOPICS]]
    if len(known) <= WEAK_TOPICS:
        return []
    return [NextStep(f"점수가 낮은 주제는 {', '.join(weak)}입니다. 이 주제의 문답을 더 모아 read.sources에 넣습니다.")]


def _epochs(run: Run) -> list[NextStep]:
    """More or fewer epochs, by the end of the validation loss."""
    train = run.manifest("train")
    path = run.folder("train") / "metrics.jsonl"
    rows = read_jsonl(path, missing_ok=True)
    losses = [loss for row in rows if (loss := korean.finite(row.get("eval_loss"))) is not None]
    if train is None or len(losses) < 2:
        return []
    epochs = float((train.section.get("train") or {}).get("epochs") or 1)
    if losses[-1] < losses[-2] * (1 - STILL_FALLING):
        again = _again(run, f"train.epochs={math.ceil(epochs + 1)}")
        return [NextStep("검증 손실이 끝까지 내려가고 있었습니다. 더 학습해 봅니다.", again)]
    if losses[-1] > min(losses) * (1 + STILL_FALLING):
        fewer = max(0.5, round(epochs * (losses.index(min(losses)) + 1) / len(losses), 1))
        again = _again(run, f"train.epochs={fewer:g}")
        return [NextStep("검증 손실이 도중에 가장 낮았습니다. 덜 학습해 봅니다.", again)]
    return []


def _threshold(run: Run) -> list[NextStep]:
    """A lower threshold where judging dropped most of few rows."""
    path = run.folder("judge") / "judge.json"
    if not path.is_file():
        return []
    facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    kept, rows, above = (int(facts.get(name) or 0) for name in ("kept", "rows", "keep_above"))
    if kept >= FEW_ROWS or 2 * kept > rows or above < 10:
        return []
    told = f"심사에서 {korean.percent(rows - kept, rows)}를 제외해 {korean.count(kept)}행만 남았습니다. 문턱을 낮추어 봅니다."
    return [NextStep(told, _again(run, f"judge.keep_above={above - 10}"))]
