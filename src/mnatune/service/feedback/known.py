"""What feedback rows are checked against: the pack's system prompt, citations and exam, a run's held-out questions."""

from ...law.citations import CitationChecker
from ...model.evidence_prompt import without_passages
from ...pack import Pack
from ...runs.workspace import Run, read_jsonl
from .datasets import Known

HELD_OUT = ("valid.jsonl", "test.jsonl")


def known_of(pack: Pack, run: Run | None = None) -> Known:
    """The pack's exam and, with a run, the questions of its validation and test rows."""
    held_out = []
    if run is not None:
        rows = [row for name in HELD_OUT for row in read_jsonl(run.require("compose", name))]
        held_out = [m["content"] for row in rows for m in without_passages(row) if m["role"] == "user"]
    return Known(pack.system_prompt, CitationChecker(pack), pack.exam_questions, held_out)
