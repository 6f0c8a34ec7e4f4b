"""What got worse, by example: the answers of the tuned model with the gravest faults that its base did not have.

Severity comes from what evaluation has marked: an invented article, personal data and an accepted false premise weigh
most, then articles out of force and foreign script, then figures that neither question nor reference has.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..runs.workspace import Run, read_jsonl
from . import korean
from .side_by_side import Segment, segments

SHOWN = 10
PREMISE, CUT = "premise-accepted", "not-stopped"
WEIGHTS = {
    "citation-invalid": 5.0,
    "personal": 5.0,
    PREMISE: 5.0,
    "citation-repealed": 3.0,
    "simplified": 3.0,
    "han-run": 3.0,
    "han-function": 3.0,
    "kana": 3.0,
    CUT: 1.0,
    "figure": 1.0,
}
AT_MOST = 3  # faults of one kind that count in one answer: the tenth wrong figure does not outweigh an invented article


@dataclass(frozen=True, slots=True)
class Worsened:
    """An answer that has faults which the base's did not have.

    Attributes:
        faults: in words, the gravest first: what is wrong and, where it is known, what is right.
        right: what the reference says: its articles, or why the premise is false.
    """

    id: str
    topic: str
    question: str
    answer: list[Segment]
    faults: list[str]
    right: str
    severity: float


@dataclass(frozen=True, slots=True)
class FaultCount:
    """Answers with a kind of fault."""

    label: str
    base: int
    tuned: int


@dataclass(frozen=True, slots=True)
class Decline:
    """The examples, and how many answers of each model have each kind of fault."""

    examples: list[Worsened]
    counts: list[FaultCount]


def decline(run: Run) -> Decline:
    """The gravest examples of an evaluated run."""
    folder = run.folder("evaluate")
    rows = [row for name in ("answers.jsonl", "exam.jsonl") for row in read_jsonl(folder / name, missing_ok=True)]
    written = [row for row in rows if "key" not in row or row.get("kind") == "false_premise"]
    sides = {model: [_faults(row, model) for row in written] for model in ("base", "tuned")}
    found = []
    for row, before, after in zip(written, sides["base"], sides["tuned"], strict=True):
        gained = {kind: n for kind in after if (n := min(AT_MOST, after[kind]) - min(AT_MOST, before[kind])) > 0}
        if severity := sum(WEIGHTS[kind] * n for kind, n in gained.items()):
            found.append(_worsened(row, gained, severity))
    have = {model: Counter(kind for faults in sides[model] for kind in faults) for model in sides}
    counts = [
        FaultCount(korean.name("faults", kind), have["base"][kind], have["tuned"][kind])
        for kind in WEIGHTS
        if have["base"][kind] or have["tuned"][kind]
    ]
    return Decline(sorted(found, key=lambda one: (-one.severity, one.id))[:SHOWN], counts)


def _faults(row: Mapping[str, Any], model: str) -> Counter[str]:
    """Faults of one model's answer by kind."""
    if row.get("kind") == "false_premise":
        found = Counter(str(mark["kind"]) for mark in row[model].get("marks", []))
        found[PREMISE] = int(row[model]["verdict"] == "wrong")
    else:
        found = Counter(str(mark["kind"]) for mark in row["marks"][model])
        found[CUT] = int(not row[f"{model}_stopped"])
    return Counter({kind: n for kind, n in found.items() if n and kind in WEIGHTS})


def _worsened(row: Mapping[str, Any], gained: Mapping[str, int], severity: float) -> Worsened:
    premise = row.get("kind") == "false_premise"
    text = str(row["tuned"]["text"] if premise else row["tuned"])
    marks = row["tuned"].get("marks", []) if premise else row["marks"]["tuned"]
    marks = [mark for mark in marks if mark["kind"] in WEIGHTS]
    faults = []
    for kind in sorted(gained, key=lambda kind: -WEIGHTS[kind]):
        places = [mark for mark in marks if mark["kind"] == kind]
        told = [_told(text, mark) for mark in places[:AT_MOST]]
        faults.append(f"{korean.name('faults', kind)}: {' · '.join(told)}" if told else korean.name("faults", kind))
    if premise:
        right = str(row.get("premise") or row["key"])
    else:
        articles = dict.fromkeys(
            row["reference"][m["start"] : m["end"]] + (f"({m['note']})" if m["note"] else "")
            for m in row["marks"].get("reference", [])
            if m["kind"] == "citation-valid"
        )
        right = "참조 답변의 조문은 " + ", ".join(articles) if articles else "참조 답변: " + str(row["reference"])[:200]
    topic = str(row.get("topic") or row.get("category") or "")
    return Worsened(str(row["id"]), topic, str(row["question"]), segments(text, marks), faults, right, severity)


def _told(text: str, mark: Mapping[str, Any]) -> str:
    words = " ".join(text[mark["start"] : mark["end"]].split())
    return f"‘{words}’ – {mark['note']}" if mark.get("note") else f"‘{words}’"
