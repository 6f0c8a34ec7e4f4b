"""A synthesized row carries the passage it was made from, beside its dialogue and not in it."""

from pathlib import Path

from test_general_rows import make_job, split

from mnatune.runs.workspace import Stage, write_jsonl
from mnatune.stages.compose import compose


def test_a_made_row_brings_its_passage_and_no_other_row_does(tmp_path: Path) -> None:
    job = make_job(tmp_path, {}, rows=20)
    rows = {row["id"]: row for row in _composed(job)}
    made = next(iter(rows))
    passage = {"name": "시험법 제3조", "in_force": "2020-01-01부터 시행", "text": "신고는 20일 이내에 한다."}

    def work(place: Stage) -> None:
        write_jsonl(place.path("synthesized.jsonl"), [{"id": made, "span": "20일 이내", "passage": passage}])

    job.run.perform("synthesize", {}, {}, 0, "", work)
    for row in _composed(job):
        assert row.get("passage") == ({**passage, "span": "20일 이내"} if row["id"] == made else None)
        assert row["messages"] == rows[row["id"]]["messages"]


def _composed(job) -> list[dict]:
    compose(job)
    return [row for name in ("train", "valid", "test") for row in split(job, name)]
