"""Does the evaluation's judge agree with people? Its verdicts against human labels on the same texts.

Two kinds of labels, told apart by their columns; a file may mix them:

question, answer_a, answer_b, winner     winner "A", "B" or "tie": the pairwise comparison
question, answer, rubric_line, met       met true or false: one rubric line of an essay

`mnatune feedback labels` writes the first kind from the blind picks of the chat page.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...pack import Pack
from ...runs.errors import DataError, UsageError
from ...runs.human_labels import LEAST_ROWS, cohen_kappa, label_rows, with_interval
from ...runs.recipe import Recipe
from ...runs.workspace import file_hash
from .judge_marks import Referee
from .statistics import wilson

WINNERS = ("A", "tie", "B")  # in order, for the quadratic weights
PAIR = ("question", "answer_a", "answer_b", "winner")
LINE = ("question", "answer", "rubric_line", "met")
BOOLEANS = {"true": True, "1": True, "yes": True, "예": True, "false": False, "0": False, "no": False, "아니오": False}


@dataclass(frozen=True)
class Labels:
    """Texts as shown to the judge, with the human labels."""

    pairs: list[tuple[dict[str, str], str]]
    lines: list[tuple[dict[str, str], bool]]


def read_labels(path: Path) -> Labels:
    """The labels of a CSV or JSON Lines file.

    Raises:
        DataError: a row is of neither kind, or its label is invalid; names the line.
    """
    labels = Labels([], [])
    for number, row in label_rows(path):
        where = f"{path}:{number}"
        if all(row.get(name) not in (None, "") for name in PAIR):
            winner = {"a": "A", "b": "B", "tie": "tie"}.get(str(row["winner"]).strip().lower())
            if winner is None:
                raise DataError(f"the winner is {row['winner']!r}, not A, B or tie", where=where)
            labels.pairs.append(({name: str(row[name]) for name in PAIR[:-1]}, winner))
        elif all(row.get(name) not in (None, "") for name in LINE):
            met = BOOLEANS.get(str(row["met"]).strip().lower())
            if met is None:
                raise DataError(f"met is {row['met']!r}, neither true nor false", where=where)
            labels.lines.append(({name: str(row[name]) for name in LINE[:-1]}, met))
        else:
            step = f"give the columns {','.join(PAIR)} or {','.join(LINE)}"
            raise DataError("a row is neither a labelled pair nor a labelled rubric line", where=where, next_step=step)
    return labels


def agreement(referee: Referee, labels: Labels, seed: int) -> dict[str, Any]:
    """Agreement by kind of label ("pairs", "lines"), each once there are ten rows with both verdicts.

    Returns:
        Per kind: rows, unusable (rows without the judge's verdict), agreement, kappa and quadratic_kappa (of ordered
        winners, A < tie < B), each {value, low, high}; table {people: {judge: rows}}; for pairs consistency, the share
        with the same verdict in both orders (the others count as ties).

    Raises:
        DataError: neither kind has ten rows with both verdicts.
    """
    found = {}
    if labels.pairs:
        verdicts = referee.winners([texts for texts, _ in labels.pairs])
        both = [(*found, human) for found, (_, human) in zip(verdicts, labels.pairs, strict=True) if found]
        judged = [(forth if forth == back else "tie", human) for forth, back, human in both]
        consistent = sum(forth == back for forth, back, _ in both)
        extra = {"consistency": round(consistent / len(judged), 4)} if judged else {}
        found["pairs"] = _compared(judged, WINNERS, len(labels.pairs), seed) | extra
    if labels.lines:
        met = referee.met([texts for texts, _ in labels.lines])
        told = [(str(m), str(human)) for m, (_, human) in zip(met, labels.lines, strict=True) if m is not None]
        found["lines"] = _compared(told, ("False", "True"), len(labels.lines), seed)
    usable = {kind: facts for kind, facts in found.items() if facts["rows"] >= LEAST_ROWS}
    if not usable:
        counts = ", ".join(f"{kind}: {facts['rows']}" for kind, facts in found.items()) or "none"
        raise DataError(f"too few labelled rows with the judge's verdict ({counts}); {LEAST_ROWS} are the least")
    return usable


def judge_agreement(recipe: Recipe, path: Path) -> dict[str, Any]:
    """Facts about a recipe's judge and its `agreement` with a file of labels, outside any run.

    Raises:
        UsageError: the recipe names no endpoint.
    """
    if not recipe.endpoint.base_url:
        step = "set endpoint.base_url and endpoint.model"
        raise UsageError("the recipe names no judge to compare with", next_step=step)
    labels = read_labels(path)
    referee = Referee(Pack.load(recipe.pack), recipe, f"labels:{file_hash(path)[:16]}:{recipe.endpoint.model}")
    found = agreement(referee, labels, recipe.seed)
    return {**referee.facts(), "agreement": found}


def agreement_text(found: dict[str, Any]) -> str:
    """`judge_agreement` for the terminal, in Korean."""
    unusable = sum(found["unusable"].values())
    lines = [f"판정 모델 {found['judge']}, 프롬프트 {found['prompts_sha256'][:12]}, 쓸 수 없는 응답 {unusable}개"]
    if found["same_family"]:
        lines.append("  주의: 학습한 모델과 같은 계열의 모델이 판정했습니다.")
    measures = {"agreement": "일치율", "kappa": "카파", "quadratic_kappa": "가중 카파"}
    for kind, facts in found["agreement"].items():
        name = {"pairs": "쌍대 비교 라벨", "lines": "채점 항목 라벨"}[kind]
        lines.append(f"{name} {facts['rows']}개, 판정을 얻지 못한 것 {facts['unusable']}개")
        for measure, label in measures.items():
            value, low, high = (facts[measure][part] for part in ("value", "low", "high"))
            shown = "정할 수 없음" if value is None else f"{value:.3f} ({low:.3f} ~ {high:.3f})"
            lines.append(f"  {label}: {shown}")
        if "consistency" in facts:
            lines.append(f"  두 순서의 판정이 같은 비율: {facts['consistency']:.3f}")
    return "\n".join(lines)


def _compared(both: Sequence[tuple[str, str]], levels: Sequence[str], asked: int, seed: int) -> dict[str, Any]:
    """Agreement of (judge, human) labels."""
    facts: dict[str, Any] = {"rows": len(both), "unusable": asked - len(both)}
    if not both:
        return facts
    ours, theirs = (np.array([levels.index(pair[side]) for pair in both]) for side in (0, 1))
    share = float((ours == theirs).mean())
    low, high = wilson(share, len(both))
    counts = Counter((human, judge) for judge, human in both)
    kappa, weighted = (partial(cohen_kappa, levels=len(levels), quadratic=quadratic) for quadratic in (False, True))
    return {
        **facts,
        "agreement": {"value": round(share, 4), "low": round(low, 4), "high": round(high, 4)},
        "kappa": with_interval(kappa, ours, theirs, seed),
        "quadratic_kappa": with_interval(weighted, ours, theirs, seed),
        "table": {human: {judge: counts[human, judge] for judge in levels} for human in levels},
    }
