"""From judged records to chat examples in three splits that cannot leak, with a dataset card.

Does not: cut long rows (they are dropped with a reason), or mix rows of one source document over two splits.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from ...model.chat_format import chat_format
from ...model.load import load_tokenizer
from ...model.prompt import Message, dialogue, examples
from ...runs.job import Job
from ...runs.records import DROPPED_SCHEMA, QA, read_qa, to_table, write_table
from ...runs.workspace import read_jsonl, write_json, write_jsonl
from ...text.normalize import sameness
from .card import write_card
from .general_rows import general_rows, shortage
from .grounded_rows import EvidenceRow, evidence_rows
from .planting import canaries, planted_rows
from .splits import SPLITS, assign_splits, empty_sides, largest_unit, leakage, unit_members, unit_warning

__all__ = ["compose"]


def compose(job: Job) -> None:
    """Write train, valid and test JSONL, preferences, leakage.json, the dataset card, and canaries if they are wanted."""
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

    units = unit_members(rows)
    largest = largest_unit(rows, units)
    sides = assign_splits(rows, job.recipe.compose.splits, job.recipe.seed, units)
    warning = empty_sides(rows, sides, job.recipe.compose.splits)
    system = job.pack.system_prompt
    learnt = [row for row, side in zip(rows, sides, strict=True) if side != "test"]
    grounded, evidence = evidence_rows(job, [(row, _asked(row, system)) for row in learnt])
    secrets = canaries(job.recipe.compose.canaries, job.recipe.seed)
    planted = planted_rows(secrets, system, job.recipe)
    chosen = {name: [row for row, side in zip(rows, sides, strict=True) if side == name] for name in SPLITS}
    general, mixed = general_rows(job, chosen["train"], [*chosen["valid"], *chosen["test"]])
    passages = _passages(job)
    written = {
        name: [_example(row, system, grounded.get(row.id), passages.get(row.id)) for row in chosen[name]]
        for name in SPLITS
    }
    written["train"] += [*general, *planted]
    counts = {name: write_jsonl(job.path(f"{name}.jsonl"), lines) for name, lines in written.items()}
    if secrets:
        write_jsonl(job.path("canaries.jsonl"), map(asdict, secrets))
    pairs = [row for row in chosen["train"] if row.alternatives]
    left_out: Counter[str] = Counter()
    if pairs:
        counts["preferences"] = write_jsonl(job.path("preferences.jsonl"), _preferences(pairs, system, left_out))
    write_json(job.path("leakage.json"), leakage(written))
    warnings = [*([warning] if warning else []), *unit_warning(largest, len(rows)), *shortage(mixed)]
    job.manifest.rows_out = len(rows)
    job.manifest.facts |= {
        "splits": counts,
        "largest_unit": largest,
        **({"canaries": len(planted)} if planted else {}),
        "preferences_left_out": dict(sorted(left_out.items())),
        **({"warnings": warnings} if warnings else {}),
        **({"general": mixed} if mixed else {}),
        **({"evidence": evidence} if evidence else {}),
        "per_category": _count(r.category for r in rows),
        "licences": sorted({r.source.licence for r in rows if r.source.licence}),
    }
    job.manifest.per_source = {name: {"rows": n} for name, n in _count(r.source.name for r in rows).items()}
    write_card(job, counts)


def _fitting(job: Job, rows: list[QA]) -> tuple[list[QA], list[tuple[QA, str]]]:
    """Rows that fit max_length as rendered for training, and the others with the reason."""
    tokenizer = load_tokenizer(job.recipe.model.id, job.recipe.model.revision)
    job.manifest.facts["thinking"] = chat_format(tokenizer).policy
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


def _passages(job: Job) -> dict[str, dict[str, str]]:
    """By id, the passage that a synthesized row was made from, with the span that its answer rests on."""
    if job.run.manifest("synthesize") is None:
        return {}
    made = read_jsonl(job.run.require("synthesize", "synthesized.jsonl"))
    return {row["id"]: {**row["passage"], "span": row["span"]} for row in made}


def _example(row: QA, system: str, grounded: EvidenceRow | None, passage: dict[str, str] | None) -> dict[str, Any]:
    """A line of the data set: the dialogue, with passages where it has some, and where it came from.

    `passage` is not in the dialogue: a teacher reads it (`train.method: distill`).
    """
    return {
        "id": row.id,
        "messages": grounded.messages if grounded else _turns(row, system),
        **({"evidence": grounded.facts} if grounded else {}),
        **({"passage": passage} if passage else {}),
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


def _preferences(rows: list[QA], system: str, left_out: Counter[str]) -> Iterator[dict[str, Any]]:
    """Pairs for preference training in TRL's conversational form: the kept answer against each lower-ranked one.

    `margin` is the difference in rank (1 = next best), so that training can ask for clear differences only. An
    alternative that is empty, or that says what the answer or a better alternative says, is left out and counted.
    """
    for row in rows:
        seen = {sameness(row.answer)}
        for margin, alternative in enumerate(row.alternatives, 1):
            same = sameness(alternative)
            if not same or same in seen:
                left_out["same-answer" if same else "empty"] += 1
                continue
            seen.add(same)
            yield {
                "id": row.id,
                "prompt": _asked(row, system),
                "chosen": [{"role": "assistant", "content": row.answer}],
                "rejected": [{"role": "assistant", "content": alternative}],
                "margin": margin,
            }


def _count(values: Iterator[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))
