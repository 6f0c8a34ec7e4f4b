"""From judged records to chat examples in three splits that cannot leak, with a dataset card.

Does not: cut long rows (they are dropped with a reason), or mix rows of one source document over two splits.
"""

from collections.abc import Iterator
from typing import Any

from ...model.load import load_tokenizer
from ...model.prompt import Message, dialogue, examples
from ...runs.job import Job
from ...runs.records import DROPPED_SCHEMA, QA, read_qa, to_table, write_table
from ...runs.workspace import write_json, write_jsonl
from .card import write_card
from .splits import SPLITS, assign_splits, leakage

__all__ = ["compose"]


def compose(job: Job) -> None:
    """Write train, valid and test JSONL, preferences, leakage.json and the dataset card."""
    rows = read_qa(job.run.require("judge", "qa.parquet"))
    job.manifest.rows_in = len(rows)
    rows, dropped = _fitting(job, rows)
    limit = job.recipe.compose.max_rows
    if limit is not None and len(rows) > limit:
        ranked = sorted(rows, key=lambda r: (-r.score, r.id))
        dropped += [(row, "max-rows") for row in ranked[limit:]]
        kept = {row.id for row in ranked[:limit]}
        rows = [row for row in rows if row.id in kept]
    for _, reason in dropped:
        job.manifest.drop(reason)
    write_table(
        to_table([r for r, _ in dropped], DROPPED_SCHEMA, drop_reason=[why for _, why in dropped]),
        job.path("dropped.parquet"),
    )

    sides = assign_splits(rows, job.recipe.compose.splits, job.recipe.seed)
    system = job.pack.system_prompt
    counts = {}
    for name in SPLITS:
        chosen = [row for row, side in zip(rows, sides, strict=True) if side == name]
        counts[name] = write_jsonl(job.path(f"{name}.jsonl"), (_example(row, system) for row in chosen))
    pairs = [row for row, side in zip(rows, sides, strict=True) if side == "train" and row.alternatives]
    if pairs:
        counts["preferences"] = write_jsonl(job.path("preferences.jsonl"), _preferences(pairs, system))
    write_json(job.path("leakage.json"), leakage(rows, sides))
    job.manifest.rows_out = len(rows)
    job.manifest.facts = {
        "splits": counts,
        "per_category": _count(r.category for r in rows),
        "licences": sorted({r.source.licence for r in rows if r.source.licence}),
    }
    job.manifest.per_source = {name: {"rows": n} for name, n in _count(r.source.name for r in rows).items()}
    write_card(job, counts)


def _fitting(job: Job, rows: list[QA]) -> tuple[list[QA], list[tuple[QA, str]]]:
    """Rows that fit max_length as rendered for training, and the others with the reason."""
    tokenizer = load_tokenizer(job.recipe.model.id, job.recipe.model.revision)
    limit, system = job.recipe.model.max_length, job.pack.system_prompt
    kept: list[QA] = []
    dropped: list[tuple[QA, str]] = []
    lengths = []
    for row in job.track(rows, "measuring rows"):
        length = max(len(e) for e in examples(tokenizer, _turns(row, system)))
        if length > limit:
            dropped.append((row, f"longer-than-{limit}-tokens"))
        else:
            kept.append(row)
            lengths.append(length)
    job.manifest.facts["tokens"] = sum(lengths)
    return kept, dropped


def _asked(row: QA, system: str) -> list[Message]:
    """The dialogue up to the question; a row's own system prompt takes the place of the pack's."""
    turns: list[Message] = [
        {"role": "assistant" if at % 2 else "user", "content": text} for at, text in enumerate(row.history)
    ]
    return dialogue(row.question, row.system or system, turns)


def _turns(row: QA, system: str) -> list[Message]:
    return [*_asked(row, system), {"role": "assistant", "content": row.answer}]


def _example(row: QA, system: str) -> dict[str, Any]:
    """A line of the data set: the dialogue and where it came from."""
    return {
        "id": row.id,
        "messages": _turns(row, system),
        "category": row.category,
        "group": row.group,
        "cluster": row.cluster,
        "reference": row.reference,
        "score": row.score,
        "source": {
            "name": row.source.name,
            "archive": row.source.archive,
            "member": row.source.member,
            "index": row.source.index,
            "licence": row.source.licence,
            "place": row.source.place,
        },
    }


def _preferences(rows: list[QA], system: str) -> Iterator[dict[str, Any]]:
    """Pairs for preference training in TRL's conversational form: the kept answer against each lower-ranked one.

    `margin` is the difference in rank (1 = next best), so that training can ask for clear differences only.
    """
    for row in rows:
        for margin, alternative in enumerate(row.alternatives, 1):
            if alternative.strip():
                yield {
                    "id": row.id,
                    "prompt": _asked(row, system),
                    "chosen": [{"role": "assistant", "content": row.answer}],
                    "rejected": [{"role": "assistant", "content": alternative}],
                    "margin": margin,
                }


def _count(values: Iterator[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    return dict(sorted(counts.items()))
