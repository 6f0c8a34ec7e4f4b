"""Questions that a model answers while it is trained, with what is known of a right answer.

A row is a composed one: `messages` with the reference as the last turn. If it was rendered with evidence, `evidence` holds
{"passages": ["상법 522의3", …], "day"}, and `question` and `answer` where they were others without it; a question of choices
may carry `letter`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...model.dialogue_rows import answered_turns, given_rows
from ...model.evidence_prompt import without_passages
from ...model.prompt import prompt_ids
from ...runs.errors import DataError
from ...runs.recipe import Recipe
from ...runs.records import asked
from ...runs.train_options import GrpoOptions
from ...text.letters import LETTERS
from .given_rows import evidence_of


@dataclass(frozen=True, slots=True)
class AskedQuestion:
    """A question, and what an answer to it is held against.

    Attributes:
        prompt: token ids up to where the answer begins.
        asked: the last user turn as it is shown, passages included.
        plain: the question without passages, after the turns before it.
        reference: the answer in the data.
        evidence: names of the passages' articles ("상법 522의3"); None for a question that is asked without evidence.
        day: the day that the question is about; empty where the question says it itself, or means today.
        letter: the right choice; empty for a question without choices.
    """

    id: str
    prompt: list[int]
    asked: str
    plain: str
    reference: str
    evidence: frozenset[str] | None = None
    day: str = ""
    letter: str = ""


def grpo_options(recipe: Recipe) -> GrpoOptions:
    """The recipe's `train.options` for `grpo`."""
    options = recipe.train.own
    assert isinstance(options, GrpoOptions)
    return options


def asked_questions(path: Path, tokenizer: Any, *, empty_ok: bool = False) -> list[AskedQuestion]:
    """The questions of a file, each dialogue's last one.

    Raises:
        DataError: a row is no dialogue that ends with an answer, its evidence or letter is none, or there is no row.
    """
    return [_question(row, tokenizer, where) for where, row in given_rows(path, empty_ok=empty_ok)]


def fitting_questions(questions: Sequence[AskedQuestion], answer_tokens: int, max_length: int) -> list[AskedQuestion]:
    """Those whose prompt leaves room for an answer of so many tokens."""
    return [one for one in questions if len(one.prompt) + answer_tokens <= max_length]


def answered_lengths(questions: Sequence[AskedQuestion], options: GrpoOptions) -> list[int]:
    """Tokens of every row that is trained on: each question as often as it is answered, the answers as long as they may be."""
    return [len(one.prompt) + options.answer_tokens for one in questions for _ in range(options.generations)]


def _question(row: dict[str, Any], tokenizer: Any, where: str) -> AskedQuestion:
    turns, evidence = answered_turns(row, where), evidence_of(row, where)
    letter = str(row.get("letter", ""))
    if letter and letter not in tuple(LETTERS):
        raise DataError(
            f"the letter {letter!r} is none of {', '.join(LETTERS)}", where=where,
            next_step="write the letter of the right choice",
        )  # fmt: skip
    question = without_passages({"messages": turns, "evidence": evidence})[-2]
    return AskedQuestion(
        id=str(row.get("id", where)),
        prompt=prompt_ids(tokenizer, turns[:-1]),
        asked=turns[-2]["content"],
        plain=asked([t["content"] for t in turns[:-2] if t["role"] != "system"], question["content"]),
        reference=turns[-1]["content"],
        evidence=frozenset(evidence["passages"]) if evidence else None,
        day=evidence.get("day", ""),
        letter=letter,
    )
