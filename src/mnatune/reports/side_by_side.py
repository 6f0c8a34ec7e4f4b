"""Base and tuned answers side by side: three typical ones, the most improved and worsened, and all in the browser.

Marks (citations by verdict, foreign script) are offsets into an answer; here they become segments, so that neither the
template nor the script has to count characters.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..runs.workspace import Run, read_jsonl
from . import korean
from .findings import Evaluation
from .metric_table import DIGITS

SHOWN_FIRST = 3
BUDGET = 2_000_000  # bytes of JSON for the item browser; the rest stays in answers.jsonl
TONES = {
    "citation-valid": "good",
    "citation-invalid": "bad",
    "citation-unresolved": "warn",
    "citation-repealed": "warn",
    "figure": "warn",
}


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of an answer; `tone` is "" for unmarked text, else good, warn or bad."""

    text: str
    tone: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Side:
    """One model's answer: its text in segments, the primary metric's value in words, and remarks."""

    segments: list[Segment]
    text: str
    value: str
    remarks: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class AnswerPair:
    """A question with both answers.

    Attributes:
        kind: "held_out", or an exam's kind ("choice", "false_premise", "essay").
        gain: the primary metric's change, positive for better; None in exams.
    """

    id: str
    kind: str
    topic: str
    question: str
    reference: str
    base: Side
    tuned: Side
    gain: float | None
    gain_text: str = ""


@dataclass(frozen=True, slots=True)
class Answers:
    """What the section shows. `everything` holds all items, exams last, in the order of the files."""

    everything: list[AnswerPair]
    chosen: list[AnswerPair]
    improved: list[AnswerPair]
    worsened: list[AnswerPair]


def answers(run: Run, found: Evaluation) -> Answers | None:
    """The answers of an evaluated run, or None."""
    folder = run.folder("evaluate")
    primary = found.primary_metric or {"name": found.primary}
    items = [_held_out(row, primary) for row in read_jsonl(folder / "answers.jsonl", missing_ok=True)]
    exam = [_exam_item(row) for row in read_jsonl(folder / "exam.jsonl", missing_ok=True)]
    if not items and not exam:
        return None
    by_id = {item.id: item for item in items}
    improved, worsened = (
        [by_id[name] for name in found.verdict.get(side, []) if name in by_id] for side in ("improved", "worsened")
    )
    return Answers([*items, *exam], choose(items), improved, worsened)


def choose(items: Sequence[AnswerPair], count: int = SHOWN_FIRST) -> list[AnswerPair]:
    """Items spread evenly over the change of the primary metric: for three, its quartiles. Nothing is hand-picked."""
    ranked = sorted(items, key=lambda item: (item.gain is None, -(item.gain or 0.0), item.id))
    if len(ranked) <= count:
        return ranked
    return [ranked[round((k + 1) * (len(ranked) - 1) / (count + 1))] for k in range(count)]


def embedded(items: Sequence[AnswerPair]) -> tuple[list[dict[str, Any]], int]:
    """Items for the browser's script within `BUDGET`, and how many had to be left out."""
    found, used = [], 0
    for item in items:
        sides = [
            {
                "segments": [[s.text, s.tone, s.note] if s.tone else [s.text] for s in side.segments],
                "value": side.value,
                "remarks": [list(remark) for remark in side.remarks],
            }
            for side in (item.base, item.tuned)
        ]
        row = {
            "id": item.id,
            "kind": korean.name("kinds", item.kind),
            "topic": item.topic,
            "question": item.question,
            "reference": item.reference,
            "gain": item.gain,
            "gain_text": item.gain_text,
            "sides": sides,
        }
        used += len(json.dumps(row, ensure_ascii=False).encode("utf-8", "replace"))
        if used > BUDGET:
            break
        found.append(row)
    return found, len(items) - len(found)


def segments(text: str, marks: Sequence[Mapping[str, Any]]) -> list[Segment]:
    """The text cut at its marks; of overlapping marks the first wins, marks outside the text are ignored."""
    found, at = [], 0
    for mark in sorted(marks, key=lambda m: (m["start"], m["end"])):
        start, end, kind = int(mark["start"]), int(mark["end"]), str(mark["kind"])
        if start < at or end <= start or end > len(text):
            continue
        if start > at:
            found.append(Segment(text[at:start]))
        name = korean.name("marks", kind)
        note = f"{name}: {mark['note']}" if mark.get("note") else name
        found.append(Segment(text[start:end], TONES.get(kind, "bad"), note))
        at = end
    if at < len(text):
        found.append(Segment(text[at:]))
    return found


def _held_out(row: Mapping[str, Any], primary: Mapping[str, Any]) -> AnswerPair:
    """A line of answers.jsonl."""
    sides = {}
    digits = DIGITS.get(str(primary.get("unit", "percent")), 1)
    gain = korean.finite(row["change"])
    for model in ("base", "tuned"):
        value = korean.finite(row["metrics"][model].get(primary["name"]))
        label = f"{primary.get('label', primary['name'])} {korean.number(value, digits)}"
        remarks = _remarks(row["marks"][model])
        if not row[f"{model}_stopped"]:
            remarks.append(("warn", "끝맺지 못함"))
        sides[model] = _side(row[model], row["marks"][model], label if value is not None else "", remarks)
    return AnswerPair(
        base=sides["base"],
        tuned=sides["tuned"],
        id=str(row["id"]),
        kind="held_out",
        topic=str(row["category"]),
        question=str(row["question"]),
        reference=str(row["reference"]),
        gain=gain,
        gain_text=korean.signed(gain, digits),
    )


def _exam_item(row: Mapping[str, Any]) -> AnswerPair:
    """A line of exam.jsonl: a model either chose a letter in several ways or wrote a text that was judged."""
    choices = [f"{letter}. {choice}" for letter, choice in zip("ABCD", row.get("choices", []), strict=False)]
    sides = {}
    for model in ("base", "tuned"):
        given = row[model]
        if "text" in given:
            tone = {"correct": "good", "wrong": "bad"}.get(str(given.get("verdict")), "warn")
            remarks = [(tone, korean.name("verdicts", str(given["verdict"])))] if given.get("verdict") else []
            sides[model] = _side(str(given["text"]), given.get("marks", []), "", remarks)
        else:
            ways = [f"{korean.name('ways', way)}: {letter or '읽을 수 없음'}" for way, letter in given.items()]
            right = sum(letter == row["key"] for letter in given.values())
            tone = "good" if right == len(given) else "warn" if right else "bad"
            remarks = [(tone, f"{len(given)}가지 방식 중 {right} 정답")]
            sides[model] = _side("\n".join(ways), [], "", remarks)
    return AnswerPair(
        base=sides["base"],
        tuned=sides["tuned"],
        id=str(row["id"]),
        kind=str(row["kind"]),
        topic=str(row.get("topic", "")),
        question="\n".join([str(row["question"]), *choices]),
        reference=" · ".join(str(row[k]) for k in ("key", "article", "premise") if row.get(k)),
        gain=None,
    )


def _remarks(marks: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Marks counted by kind, the worst first."""
    remarks = []
    for tone in ("bad", "warn", "good"):
        for kind in dict.fromkeys(str(m["kind"]) for m in marks if TONES.get(m["kind"], "bad") == tone):
            remarks.append((tone, f"{korean.name('marks', kind)} {sum(m['kind'] == kind for m in marks)}"))
    return remarks


def _side(text: str, marks: Sequence[Mapping[str, Any]], value: str, remarks: list[tuple[str, str]]) -> Side:
    if not text.strip():
        remarks = [*remarks, ("warn", "빈 답변")]
    return Side(segments(text, marks), text, value, remarks)
