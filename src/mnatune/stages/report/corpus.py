"""What the rows are like: categories, lengths and scores, streamed from Parquet columns, and examples of judging."""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ...errors import DataError
from ...records import iter_qa, shards
from ...workspace import Run

LENGTH_STEP = 50  # characters per bar of the length histogram
LENGTH_BARS = 30  # the last bar holds everything longer
EXAMPLES = 6
SHOWN = 260  # characters of an example that are shown
# the stages whose rows can be described, the most refined first: file kept, file dropped
ROWS = {
    "judge": ("qa.parquet", "dropped.parquet"),
    "curate": ("qa.parquet", "dropped.parquet"),
    "read": ("qa", "dropped.parquet"),
}


@dataclass(slots=True)
class Composition:
    """Kept and dropped rows of one stage by category, and lengths of the kept ones.

    Attributes:
        questions, answers: rows per length bar of `LENGTH_STEP` characters.
        medians: median characters of questions and answers.
    """

    stage: str
    kept: Counter[str]
    dropped: Counter[str]
    questions: list[int]
    answers: list[int]
    medians: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Example:
    """A judged row, shortened for reading."""

    question: str
    answer: str
    category: str
    score: int
    reason: str
    judge: str


@dataclass(frozen=True, slots=True)
class Cut:
    """What would remain at a threshold (rows that score above it)."""

    threshold: int
    rows: int
    topics: int
    chosen: bool


@dataclass(slots=True)
class Judged:
    """The judge's work.

    Attributes:
        kept, dropped: rows per score 0–100.
        facts: judge.json (cost, calls, recall curve …), empty without it.
        excepted: rows at or below the threshold that are kept because of their source.
    """

    threshold: int
    judges: dict[str, int]
    kept: list[int]
    dropped: list[int]
    cuts: list[Cut]
    best: list[Example] = field(default_factory=list)
    nearly: list[Example] = field(default_factory=list)
    refused: list[Example] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    excepted: int = 0


def composition(run: Run) -> Composition | None:
    """The rows after the most refined stage that was done; None before `read`."""
    stage = next((s for s in ROWS if run.manifest(s) is not None), None)
    if stage is None:
        return None
    kept_path, dropped_path = (run.folder(stage) / name for name in ROWS[stage])
    lengths = {"question": Counter[int](), "answer": Counter[int]()}
    kept: Counter[str] = Counter()
    for batch in _batches(kept_path, ["question", "answer", "category"]):
        kept.update(batch.column("category").to_pylist())
        for name, counter in lengths.items():
            values = pc.value_counts(pc.utf8_length(batch.column(name)))
            counter.update({row["values"]: row["counts"] for row in values.to_pylist() if row["values"] is not None})
    dropped: Counter[str] = Counter()
    for batch in _batches(dropped_path, ["category"]):
        dropped.update(batch.column("category").to_pylist())
    medians = (_median(lengths["question"]), _median(lengths["answer"]))
    return Composition(stage, kept, dropped, _bars(lengths["question"]), _bars(lengths["answer"]), medians)


def judged(run: Run) -> Judged | None:
    """The judge's scores, thresholds and examples; None before `judge`."""
    manifest = run.manifest("judge")
    if manifest is None:
        return None
    folder = run.folder("judge")
    threshold = int(manifest.section.get("judge", {}).get("keep_above", 30))
    sides = {name: _scores(folder / f"{name}.parquet") for name in ("qa", "dropped")}
    topics: Counter[tuple[str, int]] = sides["qa"] + sides["dropped"]
    facts_path = folder / "judge.json"
    scored = _scores_only(folder / "scores.parquet")
    return Judged(
        threshold=threshold,
        judges=dict(scored.most_common()),
        kept=_by_score(sides["qa"]),
        dropped=_by_score(sides["dropped"]),
        cuts=_cuts(topics, threshold),
        best=_examples(folder / "qa.parquet", highest=True),
        nearly=_examples(folder / "qa.parquet", highest=False),
        refused=_examples(folder / "dropped.parquet", highest=True),
        facts=_facts(facts_path),
        excepted=sum(n for (_, score), n in sides["qa"].items() if score <= threshold),
    )


def _facts(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise DataError(f"not JSON: {error.msg}", where=f"{path}:{error.lineno}") from error
    return facts if isinstance(facts, dict) else {}


def _batches(path: Path, columns: list[str]) -> Any:
    for shard in shards(path):
        if shard.is_file():
            try:
                with pq.ParquetFile(shard) as file:
                    yield from file.iter_batches(batch_size=65_536, columns=columns)
            except (pa.ArrowInvalid, KeyError) as error:
                raise DataError(f"not a table of this version: {error}", where=str(shard)) from error


def _scores(path: Path) -> Counter[tuple[str, int]]:
    """Rows per category and score."""
    found: Counter[tuple[str, int]] = Counter()
    for batch in _batches(path, ["category", "score"]):
        found.update(zip(batch.column("category").to_pylist(), batch.column("score").to_pylist(), strict=True))
    return found


def _scores_only(path: Path) -> Counter[str]:
    found: Counter[str] = Counter()
    for batch in _batches(path, ["judge"]):
        found.update(batch.column("judge").to_pylist())
    return found


def _by_score(counts: Counter[tuple[str, int]]) -> list[int]:
    bars = [0] * 101
    for (_, score), rows in counts.items():
        bars[min(100, max(0, score))] += rows
    return bars


def _cuts(counts: Counter[tuple[str, int]], chosen: int) -> list[Cut]:
    thresholds = sorted({*range(0, 100, 10), chosen})
    return [
        Cut(t, sum(n for (_, s), n in counts.items() if s > t), len({c for (c, s) in counts if s > t}), t == chosen)
        for t in thresholds
    ]


def _examples(path: Path, *, highest: bool) -> list[Example]:
    """The rows with the highest or lowest scores, at most one per category before a second of any."""
    rows = [
        (row["score"] if not highest else -row["score"], row["id"], row["category"])
        for row in iter_qa(path, ["id", "category", "score"])
    ]
    rows.sort()
    seen: set[str] = set()
    first = [row for row in rows if row[2] not in seen and not seen.add(row[2])]  # type: ignore[func-returns-value]
    wanted = {row[1] for row in [*first, *rows][:EXAMPLES]}
    columns = ["id", "question", "answer", "category", "score", "reason", "judge"]
    found = {row["id"]: row for row in iter_qa(path, columns) if row["id"] in wanted}
    ranked = sorted(found.values(), key=lambda row: (-row["score"], row["id"]))
    return [
        Example(_cut(r["question"]), _cut(r["answer"]), r["category"], r["score"], r["reason"], r["judge"]) for r in ranked
    ]


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN else text[: SHOWN - 1].rstrip() + "…"


def _bars(lengths: Counter[int]) -> list[int]:
    bars = [0] * LENGTH_BARS
    for length, rows in lengths.items():
        bars[min(length // LENGTH_STEP, LENGTH_BARS - 1)] += rows
    return bars


def _median(lengths: Counter[int]) -> int:
    half, running = sum(lengths.values()) / 2, 0
    for length in sorted(lengths):
        running += lengths[length]
        if running >= half:
            return length
    return 0
