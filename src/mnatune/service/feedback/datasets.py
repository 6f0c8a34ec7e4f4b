"""`feedback export`: what raters said as training data, guarded, and every row traceable to the feedback it came from.

    train.jsonl         SFT rows in the shape of 5-compose/train.jsonl; "loss": "last" trains the last turn alone
    preferences.jsonl   DPO pairs: prompt, chosen, rejected, margin
    unpaired.jsonl      KTO rows: prompt, completion, label
    qa.jsonl            the SFT rows of one turn as question and answer, for `read` (kind: qa)
    items.jsonl         feedback id → row id and file
    dropped.jsonl       feedback id, file and reason of everything left out
    manifest.json       counts, reasons, options, and the hash of each file

Equal feedback gives equal bytes, on SQLite and on PostgreSQL: rows stand in the order of their ids, and no file holds a
time. The export's identity is the hash of its files.

Does not: find names of persons (masking does not), or judge whether a reviewed answer is right.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ...law.citations import CitationChecker
from ...model.evidence_prompt import without_passages
from ...pack import Pack
from ...runs.errors import UsageError
from ...runs.workspace import Run, file_hash, read_jsonl, value_hash, write_json, write_jsonl
from .candidates import FILES, Candidate, Refused, candidates
from .filters import (
    within_caps,
    without_contradictions,
    without_duplicates,
    without_false_citations,
    without_known_items,
    without_same_answers,
    without_unfinished,
)
from .store import FeedbackStore

SOURCE = "feedback"  # name of this source in manifests and recipes
LICENCE = "사내 검토 자료"
HELD_OUT = ("valid.jsonl", "test.jsonl")


@dataclass(frozen=True)
class Options:
    """How feedback becomes rows.

    Attributes:
        per_rater: rows of one rater in one file, at most.
        unreviewed: take thumbs and picks before review too.
        similar: Jaccard similarity from which two rows are one.
    """

    per_rater: int = 200
    unreviewed: bool = False
    similar: float = 0.8


@dataclass(frozen=True)
class Known:
    """What rows are checked against.

    Attributes:
        system: the pack's system prompt.
        citations: checks citations of statutes.
        exam: questions of the exam.
        held_out: questions that the model will be compared on.
    """

    system: str
    citations: CitationChecker
    exam: Sequence[str] = ()
    held_out: Sequence[str] = ()


@dataclass(frozen=True)
class Export:
    """What was written.

    Attributes:
        id: hash of the files.
        rows: file name → rows.
        dropped: reason → pieces of feedback.
    """

    id: str
    folder: Path
    rows: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)


def known_of(pack: Pack, run: Run | None = None) -> Known:
    """The pack's exam and, with a run, the questions of its validation and test rows."""
    held_out = []
    if run is not None:
        rows = [row for name in HELD_OUT for row in read_jsonl(run.require("compose", name))]
        held_out = [m["content"] for row in rows for m in without_passages(row) if m["role"] == "user"]
    return Known(pack.system_prompt, CitationChecker(pack), pack.exam_questions, held_out)


def export(store: FeedbackStore, folder: Path, known: Known, options: Options | None = None) -> Export:
    """Write the export into a folder, replacing an earlier export there; records it in the store.

    Raises:
        UsageError: the folder holds something else.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / "items.jsonl").is_file():
        raise UsageError("the folder is not empty and holds no feedback export", where=str(folder))
    options = options or Options()
    refused: list[Refused] = []
    raw = list(candidates(store, system=known.system, unreviewed=options.unreviewed, refuse=refused.append))
    rows = _guarded(raw, refused, known, options)
    counts = _write(folder, rows, refused)
    names = sorted(counts)
    hashes = {name: file_hash(folder / name) for name in names}
    result = Export(value_hash(hashes), folder, counts, dict(sorted(Counter(r.reason for r in refused).items())))
    balance = Counter(row.desirable for row in rows if row.file == "unpaired")
    told = asdict(options) | {"wall": store.wall}
    facts = {
        "export": result.id,
        "options": told,
        "rows": result.rows,
        "desirable": balance[True],
        "undesirable": balance[False],
        "dropped": result.dropped,
        "files": hashes,
    }
    write_json(folder / "manifest.json", facts)
    store.note_export(result.id, told, counts, _items(rows))
    return result


def _guarded(rows: list[Candidate], refused: list[Refused], known: Known, options: Options) -> list[Candidate]:
    """The rows that every guard lets through, by id."""
    refuse = refused.append
    rows = without_unfinished(rows, refuse)
    rows = without_same_answers(rows, refuse)
    rows = without_contradictions(rows, refuse)
    rows = without_known_items(rows, refuse, known.exam, known.held_out)
    rows = without_false_citations(rows, refuse, known.citations)
    rows = without_duplicates(rows, refuse, options.similar)
    rows = within_caps(rows, refuse, options.per_rater)
    return sorted(rows, key=lambda row: row.id)


def _write(folder: Path, rows: list[Candidate], refused: list[Refused]) -> dict[str, int]:
    """All files but the manifest; returns file name → rows."""
    shapes = {"train": _sft, "preferences": _dpo, "unpaired": _kto}
    counts = {}
    for file in FILES:
        name = f"{file}.jsonl"
        counts[name] = write_jsonl(folder / name, (shapes[file](row) for row in rows if row.file == file))
    single = (row for row in rows if row.file == "train" and _turns(row) == 1)
    counts["qa.jsonl"] = write_jsonl(folder / "qa.jsonl", (_qa(row) for row in single))
    counts["items.jsonl"] = write_jsonl(folder / "items.jsonl", _items(rows))
    told = sorted({(r.feedback, r.file, r.reason) for r in refused})
    dropped = ({"feedback": feedback, "file": file, "reason": reason} for feedback, file, reason in told)
    counts["dropped.jsonl"] = write_jsonl(folder / "dropped.jsonl", dropped)
    return counts


def _items(rows: Iterable[Candidate]) -> list[dict[str, str]]:
    return [{"feedback": row.feedback, "row": row.id, "file": row.file} for row in rows]


def _sft(row: Candidate) -> dict[str, Any]:
    return {
        "id": row.id,
        "messages": [*row.prompt, *_answer(row.text)],
        "loss": "last",  # earlier answers of the dialogue were served, not reviewed
        "category": SOURCE,
        "group": row.group,
        "cluster": "",
        "reference": "",
        "score": -1,
        "source": {"name": SOURCE, "archive": "", "member": row.feedback, "index": 0, "licence": LICENCE},
    }


def _dpo(row: Candidate) -> dict[str, Any]:
    chosen, rejected = _answer(row.text), _answer(row.rejected)
    return {"id": row.id, "prompt": list(row.prompt), "chosen": chosen, "rejected": rejected, "margin": 1}


def _kto(row: Candidate) -> dict[str, Any]:
    return {"id": row.id, "prompt": list(row.prompt), "completion": _answer(row.text), "label": row.desirable}


def _qa(row: Candidate) -> dict[str, Any]:
    return {"id": row.id, "question": row.question, "answer": row.text, "category": SOURCE, "group": row.group}


def _answer(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text.strip()}]


def _turns(row: Candidate) -> int:
    return sum(m["role"] == "user" for m in row.prompt)
