"""Rows whose passage a teacher reads and the student does not, and the rows that are mixed with them.

A row carries `passage` {"name", "in_force", "text", "span"} beside its dialogue, as compose writes it for synthesized rows, or was
asked with evidence (compose.evidence), which then holds the `question` and `answer` without it. Rows without either are learnt
as they stand.
"""

import random
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...model.dialogue_rows import answered_turns, given_rows
from ...model.evidence_prompt import EvidenceWords, NumberedPassage, without_passages
from ...model.prompt import Example, prompt_ids
from ...runs.errors import DataError
from ...runs.recipe import Recipe
from ...runs.train_options import DistillOptions
from ...text.values import shared, values
from .given_rows import evidence_of, passage_of
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


def distill_rows(path: Path, tokenizer: Any, words: EvidenceWords, *, empty_ok: bool = False) -> list[DistillRow]:
    """The rows of a file, one for each answer that is learnt, of any length.

    Raises:
        DataError: a row is no dialogue that ends with an answer, its passage or evidence is none, two rows with a passage
            have one id, or there is no row.
    """
    found: list[DistillRow] = []
    ids: dict[str, str] = {}  # of the rows with a passage: by them their answers are kept
    for where, row in given_rows(path, empty_ok=empty_ok):
        made = _taught(row, tokenizer, words, where)
        if made[-1].teacher and (former := ids.setdefault(made[-1].id, where)) != where:
            raise DataError(
                f"the id {made[-1].id!r} is that of {former} too", where=where,
                next_step="give every row an id of its own, or none",
            )  # fmt: skip
        found += made
    return found


def fitting_rows(rows: Sequence[DistillRow], max_length: int) -> list[DistillRow]:
    """Those that fit without their passage."""
    return [row for row in rows if len(row.example) <= max_length]


def _taught(row: dict[str, Any], tokenizer: Any, words: EvidenceWords, where: str) -> list[DistillRow]:
    """The rows that a line gives: of one with a passage its last answer, else every answer that is learnt."""
    turns, name = answered_turns(row, where), str(row.get("id", f"line {where.rpartition(':')[2]}"))
    passage, evidence = passage_of(row, where), evidence_of(row, where)
    if not passage and evidence.get("kind") != "right":
        return [
            DistillRow(name, one, [], "", "", "") for one in row_examples({**row, "messages": turns}, tokenizer, where)
        ]
    if evidence and "question" not in evidence:
        raise DataError(
            "the row does not say its question without the evidence, as the student is asked", where=where,
            next_step="add question and answer to evidence",
        )  # fmt: skip
    plain = without_passages({"messages": turns, "evidence": evidence})
    *asked, answer = plain
    if passage:
        teacher = words.dialogue(asked, [NumberedPassage(passage["name"], passage["in_force"], passage["text"])])
    else:
        teacher = turns[:-1]
    example = row_examples({"messages": plain, "loss": "last"}, tokenizer, where)[-1]
    fact = passage.get("span") or name
    return [DistillRow(name, example, prompt_ids(tokenizer, teacher), fact, asked[-1]["content"], answer["content"])]


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
