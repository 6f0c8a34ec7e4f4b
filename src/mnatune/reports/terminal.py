"""The end of `mnatune run` in a terminal: funnel, three answers before and after, metrics, where the report lies."""

import unicodedata
from collections.abc import Sequence

from ..runs.output_language import korean as in_korean
from ..runs.output_language import say
from ..runs.workspace import Run
from . import korean
from .findings import Evaluation, evaluation
from .funnel import funnel
from .metric_table import MetricRow, areas
from .side_by_side import AnswerPair, answers

SHOWN_ANSWER = 220  # characters of an answer
VERDICTS = {"promote": "PROMOTE", "hold": "HOLD", "reject": "REJECT"}
JUDGEMENTS = {
    "better": ("better", "나아짐"),
    "worse": ("worse", "나빠짐"),
    "leaning-better": ("leans better", "나아진 듯함"),
    "leaning-worse": ("leans worse", "나빠진 듯함"),
    "same": ("no difference shown", "차이가 보이지 않음"),
    "unknown": ("no interval", "구간 없음"),
}


def summarize(run: Run) -> str:
    """The summary as plain text (print it with rich's `markup=False`), in one language.

    The reasons of a verdict exist in Korean only; an English summary points at the report instead.
    """
    parts = [_funnel(run)]
    found = evaluation(run)
    if found is None:
        parts.append(say("Evaluation: not done yet", "평가: 아직 하지 않음"))
    else:
        texts = answers(run, found)
        if texts is not None and texts.chosen:
            parts.append("\n\n".join(_item(number, item) for number, item in enumerate(texts.chosen, 1)))
        parts.append(_metrics(found))
        reasons = [f"  {reason}" for reason in found.verdict.get("reasons", [])]
        parts.append("\n".join([_verdict(found), *(reasons if in_korean() else ["  why: see the report"])]))
    page = run.root / "report.html"
    written = f"Report: {page}", f"보고서: {page}"
    parts.append(say(*written) if page.is_file() else say("Report: not written yet", "보고서: 아직 쓰지 않음"))
    return "\n\n".join(parts) + "\n"


def _funnel(run: Run) -> str:
    lines = [say("Stage|rows in|rows out|dropped because", "단계|들어온 행|나간 행|뺀 까닭").split("|")]
    for step in funnel(run).steps:
        if step.manifest is None:
            lines.append([stage_name(step.stage), "-", "-", say("not done yet", "아직 하지 않음")])
            continue
        why = [f"{reason_name(loss.reason)} {loss.rows:,}" for loss in step.losses[:3]]
        if len(step.losses) > 3:
            rows, kinds = sum(loss.rows for loss in step.losses[3:]), len(step.losses) - 3
            why.append(say(f"and {rows:,} for {kinds} more reasons", f"그 밖의 {kinds}가지로 {rows:,}"))
        lines.append([stage_name(step.stage), f"{step.rows_in:,}", f"{step.rows_out:,}", ", ".join(why) or "-"])
    return _table(lines, right=(1, 2))


def stage_name(stage: str) -> str:
    """A stage in the output's language."""
    return say(stage, korean.name("stages", stage))


def reason_name(reason: str) -> str:
    """A drop reason in the output's language."""
    return say(reason.replace("-", " ").replace("_", " "), korean.reason(reason))


def _item(number: int, item: AnswerPair) -> str:
    lines = [f"{say('Question', '질문')} {number}: {' '.join(item.question.split())}"]
    for label, side in ((say("base ", "기본"), item.base), (say("tuned", "학습"), item.tuned)):
        text = " ".join(side.text.split()) or say("(empty)", "(빈 답변)")
        cut = text if len(text) <= SHOWN_ANSWER else text[: SHOWN_ANSWER - 1] + "…"
        lines.append(f"  {label}  {cut}")
    return "\n".join(lines)


def _metrics(found: Evaluation) -> str:
    heads = (
        "Metric|base|tuned|difference|95% interval|detectable|n|result",
        "지표|기본|학습|차이|95% 구간|알 수 있는 차이|수|결과",
    )
    lines = [say(*heads).split("|")]
    rows: list[MetricRow] = [row for part in areas(found.metrics["metrics"], found.primary).values() for row in part]
    for row in rows:
        mark = " *" if row.name == found.primary else ""
        lines.append(
            [
                f"{row.label if row.label.isascii() else say(row.name.replace('_', ' '), row.label)}{mark}",
                row.base.text,
                row.tuned.text,
                row.difference.text,
                row.difference.interval or "-",
                row.detectable,
                f"{row.tuned.n:,}",
                say(*JUDGEMENTS[row.judgement]),
            ]
        )
    return _table(lines, right=(1, 2, 3, 4, 5, 6)) + (
        say(
            "\n* primary metric; detectable: the least difference that this many items show four times in five",
            "\n* 주 지표. 알 수 있는 차이: 이만한 수의 문항으로 다섯 번에 네 번은 드러나는 가장 작은 차이",
        )
    )


def _verdict(found: Evaluation) -> str:
    verdict = str(found.verdict.get("verdict", ""))
    return f"{say('Verdict', '판정')}: {VERDICTS.get(verdict, verdict or '-')}"


def _table(lines: Sequence[Sequence[str]], right: tuple[int, ...]) -> str:
    """Columns aligned by display width: a Hangul syllable is two cells wide."""
    widths = [max(_width(line[at]) for line in lines) for at in range(len(lines[0]))]
    made = []
    for line in lines:
        cells = []
        for at, (text, width) in enumerate(zip(line, widths, strict=True)):
            gap = " " * (width - _width(text))
            cells.append(gap + text if at in right else text + gap)
        made.append("  ".join(cells).rstrip())
    return "\n".join(made)


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)
