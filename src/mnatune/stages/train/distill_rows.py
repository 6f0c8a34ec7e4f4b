"""Rows whose passage a teacher reads and the student does not, and the rows that are mixed with them.

A row carries `passage` {"name", "in_force", "text", "span"} beside its dialogue, as compose writes it for synthesized rows, or was
asked with evidence (compose.evidence). Rows without either are learnt as they stand.
"""

import random
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...model.evidence_prompt import EvidenceWords, NumberedPassage, without_passages
from ...model.prompt import Example, prompt_ids
from ...runs.recipe import Recipe
from ...runs.train_options import DistillOptions
from ...runs.workspace import read_jsonl
from ...text.values import shared, values
from .plan import Needs, Rollout, TeacherReading
from .token_rows import row_examples

# Bytes of a logit while the head's loss is computed: of the student its value, log-probability and gradient, of the teacher
# its value and log-probability, and the product of both, all fp32.
LOGIT_BYTES = 6 * 4
AT_ONCE = 64  # questions that are asked together
SPARE = 8  # tokens that an answer may be longer than the row's own
ENOUGH = 0.5  # share of a fact's questions that the model answers right if it knows the fact


@dataclass(frozen=True, slots=True)
class DistillRow:
    """A row as the student sees it, and what its teacher reads instead.

    Attributes:
        teacher: the prompt with the passage as token ids; empty for a row without one.
        fact: what rows have in common that ask for the same thing.
    """

    id: str
    example: Example
    teacher: list[int]
    fact: str
    question: str
    answer: str

    @property
    def teacher_tokens(self) -> int:
        """Tokens that the teacher reads."""
        return len(self.teacher) + len(self.example.completion) if self.teacher else 0


def distill_needs(reading: TeacherReading) -> Needs:
    """A teacher that reads for the student: the same model, so no weights of its own."""
    return Needs(learning_rate=1e-4, logit_bytes=LOGIT_BYTES, reading=reading)


def reading_of(rows: Sequence[DistillRow]) -> TeacherReading:
    """What the teacher reads of these rows."""
    tokens = [row.teacher_tokens for row in rows]
    taught = [row.example for row in rows if row.teacher]
    longest = max((len(one.completion) for one in taught), default=0) + SPARE
    before = Rollout(min(AT_ONCE, len(taught)), longest, max((len(one.prompt) for one in taught), default=0))
    answers = sum(len(one.completion) for one in taught)
    return TeacherReading(
        sum(tokens) / max(1, len(tokens)), max(tokens, default=0), before, answers / max(1, len(tokens))
    )


def distill_options(recipe: Recipe) -> DistillOptions:
    """The recipe's `train.options` for `distill`."""
    options = recipe.train.own
    assert isinstance(options, DistillOptions)
    return options


def distill_rows(path: Path, tokenizer: Any, words: EvidenceWords, max_length: int) -> list[DistillRow]:
    """The rows of a file, one for each answer that is learnt.

    Raises:
        DataError: a row is longer than `max_length` without its passage, or holds no answer.
    """
    found = []
    for number, row in enumerate(read_jsonl(path), 1):
        where = f"{path}:{number}"
        passage, evidence = row.get("passage"), row.get("evidence") or {}
        read = evidence.get("kind") == "right"
        plain = {**row, "messages": without_passages(row)} if passage or read else row
        turns = row_examples(plain, tokenizer, max_length, where)
        if not passage and not read:
            found += [DistillRow(str(row["id"]), one, [], "", "", "") for one in turns]
            continue
        *asked, answer = plain["messages"]
        if passage:
            shown = NumberedPassage(passage["name"], passage["in_force"], passage["text"])
            teacher = words.dialogue(asked, [shown])
        else:
            teacher = row["messages"][:-1]
        fact = (passage or {}).get("span") or str(row["id"])
        prompt = prompt_ids(tokenizer, teacher)
        found.append(DistillRow(str(row["id"]), turns[-1], prompt, fact, asked[-1]["content"], answer["content"]))
    return found


def mixed(rows: Sequence[DistillRow], known: AbstractSet[str], unknown: float, seed: int) -> list[DistillRow]:
    """The rows to train on: those of facts that are not known, and as many without a passage as their share asks for.

    Args:
        known: facts.
        unknown: share of the rows that have a passage; a lack of others raises it.
    """
    taught = [row for row in rows if row.teacher and row.fact not in known]
    others = [row for row in rows if not row.teacher]
    wanted = min(len(others), round(len(taught) * (1 - unknown) / unknown))
    chosen = set(random.Random(f"{seed}/mixed").sample(range(len(others)), wanted))
    return [*taught, *(row for at, row in enumerate(others) if at in chosen)]


def is_right(row: DistillRow, given: str) -> bool | None:
    """Whether an answer gives every value of the row's own that the question does not; None if there is none to check."""
    asked = values(row.question)
    wanted = [one for one in values(row.answer) if not any(one.agrees(other) for other in asked)]
    return shared(values(given), wanted) == len(wanted) if wanted else None


def known_facts(rows: Sequence[DistillRow], answers: Mapping[str, str]) -> dict[str, bool | None]:
    """By fact, whether the model knows it: half of the answers that can be checked are right; None if none can be.

    Args:
        answers: id → what the model answers without the passage.
    """
    marks: dict[str, list[bool | None]] = {}
    for row in rows:
        if row.teacher:
            marks.setdefault(row.fact, []).append(is_right(row, answers[row.id]))
    found: dict[str, bool | None] = {}
    for fact, all_marks in marks.items():
        checked = [mark for mark in all_marks if mark is not None]
        found[fact] = sum(checked) >= ENOUGH * len(checked) if checked else None
    return found
