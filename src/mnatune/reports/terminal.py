"""The end of `mnatune run` in a terminal: funnel, three answers before and after, metrics, verdict, path of the report.

In Korean, or in English, never both: English output names stages, reasons and metrics by their keys. Questions and answers
are content and stay as they are.
"""

from collections.abc import Sequence
from typing import Literal

from ..runs.workspace import Run
from . import korean
from .findings import SEARCH, Evaluation, evaluation, headline
from .funnel import funnel
from .metric_table import MetricRow, areas
from .side_by_side import AnswerPair, answers

Language = Literal["ko", "en"]
SHOWN_ANSWER = 220  # characters of an answer
SHOWN_REASONS = 3
ENGLISH = {
    "better": "better",
    "worse": "worse",
    "leaning-better": "leans better",
    "leaning-worse": "leans worse",
    "same": "no difference shown",
    "unknown": "no interval",
    "failed": "beyond the margin",
    "passed": "within the margin",
    "open": "too few items",
}
LABELS: dict[Language, dict[str, str]] = {
    "ko": {
        "funnel": "단계|들어온 행|나간 행|제외한 이유",
        "metrics": "지표|학습 전|학습 후|차이|95% 구간|최소 검출|문항|결과|안전 지표",
        "undone": "아직 수행하지 않음",
        "more": "그 밖의 이유 {kinds}가지 {rows:,}",
        "question": "문항 {number}: {text}",
        "sides": "학습 전|학습 후",
        "empty": "(빈 답변)",
        "primary": "* 주 지표. 최소 검출: 이 문항 수로 다섯 번에 네 번은 알아볼 수 있는 가장 작은 차이",
        "search": "법령 검색(보류 문항의 조문, %)",
        "evaluation": "평가: 아직 수행하지 않음",
        "verdict": "판정: {label} – {sentence}",
        "report": "보고서: {path}",
        "no-report": "보고서: 아직 만들지 않음",
    },
    "en": {
        "funnel": "Stage|rows in|rows out|dropped because",
        "metrics": "Metric|base|tuned|difference|95% interval|detectable|n|result|guard",
        "undone": "not done yet",
        "more": "and {rows:,} for {kinds} more reasons",
        "question": "Question {number}: {text}",
        "sides": "base |tuned",
        "empty": "(empty)",
        "primary": "* primary metric; detectable: the least difference that so many items would show four times in five",
        "search": "Search of the law (articles of held-out questions, %)",
        "evaluation": "Evaluation: not done yet",
        "verdict": "Verdict: {label}{sentence}",
        "report": "Report: {path}",
        "no-report": "Report: not written yet",
    },
}


def summarize(run: Run, lang: Language = "ko") -> str:
    """The summary as plain text (print it with rich's `markup=False`)."""
    labels = LABELS[lang]
    parts = [_funnel(run, lang)]
    found = evaluation(run)
    if found is None:
        parts.append(labels["evaluation"])
    else:
        texts = answers(run, found)
        if texts is not None and texts.chosen:
            parts.append("\n\n".join(_item(number, item, lang) for number, item in enumerate(texts.chosen, 1)))
        parts += [_metrics(found, lang), _verdict(run, found, lang)]
    page = run.root / "report.html"
    parts.append(labels["report"].format(path=page) if page.is_file() else labels["no-report"])
    return "\n\n".join(parts) + "\n"


def _funnel(run: Run, lang: Language) -> str:
    labels, korean_text = LABELS[lang], lang == "ko"
    lines = [labels["funnel"].split("|")]
    for step in funnel(run).steps:
        stage = korean.name("stages", step.stage) if korean_text else step.stage
        if step.manifest is None:
            lines.append([stage, "-", "-", labels["undone"]])
            continue
        shown, rest = step.losses[:SHOWN_REASONS], step.losses[SHOWN_REASONS:]
        why = [f"{korean.reason(loss.reason) if korean_text else loss.reason} {loss.rows:,}" for loss in shown]
        if rest:
            why.append(labels["more"].format(rows=sum(loss.rows for loss in rest), kinds=len(rest)))
        lines.append([stage, f"{step.rows_in:,}", f"{step.rows_out:,}", ", ".join(why) or "-"])
    return _table(lines, right=(1, 2))


def _item(number: int, item: AnswerPair, lang: Language) -> str:
    labels = LABELS[lang]
    lines = [labels["question"].format(number=number, text=" ".join(item.question.split()))]
    for label, side in zip(labels["sides"].split("|"), (item.base, item.tuned), strict=True):
        text = " ".join(side.text.split()) or labels["empty"]
        cut = text if len(text) <= SHOWN_ANSWER else text[: SHOWN_ANSWER - 1] + "…"
        lines.append(f"  {label}  {cut}")
    return "\n".join(lines)


def _metrics(found: Evaluation, lang: Language) -> str:
    labels, korean_text = LABELS[lang], lang == "ko"
    lines = [labels["metrics"].split("|")]
    rows: list[MetricRow] = [row for part in areas(found.metrics["metrics"], found.primary).values() for row in part]
    for row in rows:
        state = found.guards.get(row.name, "")
        lines.append(
            [
                (row.label if korean_text else row.name) + (" *" if row.name == found.primary else ""),
                row.base.text,
                row.tuned.text,
                row.difference.text,
                row.difference.interval or "-",
                row.detectable,
                f"{row.tuned.n:,}",
                korean.name("judgements", row.judgement) if korean_text else ENGLISH[row.judgement],
                (korean.name("guard_states", state) if korean_text else ENGLISH[state]) if state else "",
            ]
        )
    return _table(lines, right=(1, 2, 3, 4, 5, 6)) + "\n" + labels["primary"] + _search(found, lang)


def _search(found: Evaluation, lang: Language) -> str:
    """A line about the search of the law, after a line break; empty if it was not measured."""
    keys = {label: key for key, label in SEARCH.items()}
    cells = [
        f"{label if lang == 'ko' else keys[label]} {value} ({interval})" for label, value, interval, _ in found.search
    ]
    return f"\n{LABELS[lang]['search']}: {', '.join(cells)}; n {found.search[0][3]:,}" if cells else ""


def _verdict(run: Run, found: Evaluation, lang: Language) -> str:
    verdict = str(found.verdict.get("verdict", ""))
    if lang == "ko":
        told = headline(run, found)
        first = LABELS[lang]["verdict"].format(label=found.verdict.get("label", "없음"), sentence=told.sentence)
        return "\n".join([first, *(f"  {reason}" for reason in told.reasons)])
    unusable = " – the model learnt, but is not fit to answer questions of law" if found.unusable else ""
    lines = [LABELS[lang]["verdict"].format(label=verdict.upper() or "none", sentence=unusable)]
    for state in ("failed", "worse", "open"):
        names = ", ".join(name for name, its in found.guards.items() if its == state)
        lines += [f"  guards {ENGLISH[state]}: {names}"] if names else []
    return "\n".join(lines)


def _table(lines: Sequence[Sequence[str]], right: tuple[int, ...]) -> str:
    """Columns aligned by display width: a Hangul syllable is two cells wide."""
    from rich.cells import cell_len

    widths = [max(cell_len(line[at]) for line in lines) for at in range(len(lines[0]))]
    made = []
    for line in lines:
        cells = []
        for at, (text, width) in enumerate(zip(line, widths, strict=True)):
            gap = " " * (width - cell_len(text))
            cells.append(gap + text if at in right else text + gap)
        made.append("  ".join(cells).rstrip())
    return "\n".join(made)
