"""The end of `mnatune run` in a terminal: funnel, three answers before and after, metrics, where the report lies."""

import unicodedata
from collections.abc import Sequence

from ..runs.workspace import Run
from . import korean
from .findings import Evaluation, evaluation
from .funnel import funnel
from .metric_table import MetricRow, areas
from .side_by_side import AnswerPair, answers

SHOWN_ANSWER = 220  # characters of an answer
VERDICTS = {"promote": "PROMOTE", "hold": "HOLD", "reject": "REJECT"}
JUDGEMENTS = {
    "better": "better",
    "worse": "worse",
    "leaning-better": "leans better",
    "leaning-worse": "leans worse",
    "same": "no difference shown",
    "unknown": "no interval",
}


def summarize(run: Run) -> str:
    """The summary as plain text (print it with rich's `markup=False`); labels are English, content is Korean."""
    parts = [_funnel(run)]
    found = evaluation(run)
    if found is None:
        parts.append("Evaluation: not done yet")
    else:
        texts = answers(run, found)
        if texts is not None and texts.chosen:
            parts.append("\n\n".join(_item(number, item) for number, item in enumerate(texts.chosen, 1)))
        parts.append(_metrics(found))
        parts.append("\n".join([_verdict(found), *(f"  {reason}" for reason in found.verdict.get("reasons", []))]))
    page = run.root / "report.html"
    parts.append(f"Report: {page}" if page.is_file() else "Report: not written yet")
    return "\n\n".join(parts) + "\n"


def _funnel(run: Run) -> str:
    lines = [["Stage", "rows in", "rows out", "dropped because"]]
    for step in funnel(run).steps:
        if step.manifest is None:
            lines.append([step.stage, "-", "-", "not done yet"])
            continue
        why = [f"{korean.reason(loss.reason)} {loss.rows:,}" for loss in step.losses[:3]]
        if len(step.losses) > 3:
            why.append(f"and {sum(loss.rows for loss in step.losses[3:]):,} for {len(step.losses) - 3} more reasons")
        lines.append([step.stage, f"{step.rows_in:,}", f"{step.rows_out:,}", ", ".join(why) or "-"])
    return _table(lines, right=(1, 2))


def _item(number: int, item: AnswerPair) -> str:
    lines = [f"Question {number}: {' '.join(item.question.split())}"]
    for label, side in (("base ", item.base), ("tuned", item.tuned)):
        text = " ".join(side.text.split()) or "(empty)"
        cut = text if len(text) <= SHOWN_ANSWER else text[: SHOWN_ANSWER - 1] + "…"
        lines.append(f"  {label}  {cut}")
    return "\n".join(lines)


def _metrics(found: Evaluation) -> str:
    lines = [["Metric", "base", "tuned", "difference", "95% interval", "detectable", "n", "result"]]
    rows: list[MetricRow] = [row for part in areas(found.metrics["metrics"], found.primary).values() for row in part]
    for row in rows:
        mark = " *" if row.name == found.primary else ""
        lines.append(
            [
                f"{row.label}{mark}",
                row.base.text,
                row.tuned.text,
                row.difference.text,
                row.difference.interval or "-",
                row.detectable,
                f"{row.tuned.n:,}",
                JUDGEMENTS[row.judgement],
            ]
        )
    return _table(lines, right=(1, 2, 3, 4, 5, 6)) + (
        "\n* primary metric; detectable: the least difference that so many items would show four times in five"
    )


def _verdict(found: Evaluation) -> str:
    verdict = str(found.verdict.get("verdict", ""))
    return f"Verdict: {VERDICTS.get(verdict, verdict or 'none')}"


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
