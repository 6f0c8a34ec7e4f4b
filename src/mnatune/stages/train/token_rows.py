"""Training rows: tokenised once by the one rendering function, and put in an order that is fixed before training.

The whole training is laid out as one sequence of steps: epoch after epoch, shuffled, rows of like length together.
The trainer walks it from front to back, so that resuming is skipping, and 1 row × 8 accumulation steps sees exactly
the rows of 8 × 1.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from ...model.prompt import Example, common_prefix, examples
from ...runs.errors import DataError
from ...runs.workspace import read_jsonl

IGNORED = -100  # label of tokens without loss, by the convention of torch's cross_entropy
CHUNK_STEPS = 50  # rows are sorted by length within chunks of this many steps, which keeps epochs well shuffled


@dataclass(frozen=True)
class TokenRows:
    """Tokenised rows of a split, with the ids they came from."""

    examples: list[Example]
    ids: list[str]

    @property
    def lengths(self) -> list[int]:
        """Tokens of each row, prompt and answer."""
        return [len(e) for e in self.examples]


def shared_prefix(rows: Sequence[Example]) -> int:
    """Number of leading prompt tokens that all rows have in common (the system prompt's turn).

    At least the last prompt token stays outside: its hidden state scores the answer's first token.
    """
    if not rows:
        return 0
    return max(0, min(common_prefix([e.prompt for e in rows]), min(len(e.prompt) for e in rows) - 1))


def load_rows(path: Path, tokenizer: Any, max_length: int) -> TokenRows:
    """The rows of a composed JSONL file as token ids; a dialogue gives one row for each of its answers.

    A row with `"loss": "last"` gives its last answer alone: the earlier ones are what people were shown, not what
    they approved.

    Raises:
        DataError: a row is longer than `max_length` (compose drops those), or holds no answer.
    """
    found, ids = [], []
    for number, row in enumerate(read_jsonl(path), 1):
        turns = row_examples(row, tokenizer, f"{path}:{number}")
        longest = max(map(len, turns))
        if longest > max_length:
            raise DataError(
                f"a row of {longest} tokens is longer than model.max_length {max_length}",
                where=f"{path}:{number}",
                next_step="run compose again with this model and max_length",
            )
        found += turns
        ids += [str(row["id"])] * len(turns)
    return TokenRows(found, ids)


def row_examples(row: Mapping[str, Any], tokenizer: Any, where: str) -> list[Example]:
    """The answers of a composed row that are learnt, as token ids, of any length.

    Raises:
        DataError: there is none.
    """
    turns = examples(tokenizer, row["messages"])
    if not turns:
        raise DataError("a row without an answer", where=where, next_step="run compose again")
    return turns[-1:] if row.get("loss") == "last" else turns


def count_steps(rows: int, rows_per_step: int, epochs: float) -> int:
    """Optimizer steps of a training: whole steps only, an epoch's remainder is left out."""
    return max(1, int(rows // max(1, rows_per_step) * epochs + 1e-9))


def step_order(lengths: Sequence[int], rows_per_step: int, epochs: float, seed: int) -> list[int]:
    """Row indices in training order, `rows_per_step` at a time.

    Each epoch is shuffled anew, cut into whole steps (what does not fill a step is left out of that epoch, another
    remainder each time), and sorted by length within chunks of 50 steps, the steps then shuffled: like lengths meet
    in a batch, and little is spent on padding.
    """
    if not lengths:
        raise DataError(
            "there is no row to train on", next_step="look at the funnel in report.html; lower judge.keep_above"
        )
    rows_per_step = min(rows_per_step, len(lengths))
    steps_per_epoch = len(lengths) // rows_per_step
    wanted = count_steps(len(lengths), rows_per_step, epochs)
    order: list[int] = []
    epoch = 0
    while len(order) < wanted * rows_per_step:
        draw = random.Random(f"{seed}/{epoch}")
        indices = list(range(len(lengths)))
        draw.shuffle(indices)
        indices = indices[: steps_per_epoch * rows_per_step]
        steps: list[list[int]] = []
        for at in range(0, len(indices), CHUNK_STEPS * rows_per_step):
            chunk = sorted(indices[at : at + CHUNK_STEPS * rows_per_step], key=lambda i: lengths[i])
            steps += [chunk[i : i + rows_per_step] for i in range(0, len(chunk), rows_per_step)]
        draw.shuffle(steps)
        order += [i for step in steps for i in step]
        epoch += 1
    return order[: wanted * rows_per_step]


def tokens_by_step(lengths: Sequence[int], order: Sequence[int], rows_per_step: int) -> list[int]:
    """Real tokens (no padding) seen after each step; index 0 is before the first."""
    steps = range(0, len(order), rows_per_step)
    return list(accumulate((sum(lengths[i] for i in order[at : at + rows_per_step]) for at in steps), initial=0))


def as_dataset(rows: TokenRows, order: Sequence[int] | None = None) -> Any:
    """The rows, in the given order, as a `datasets.Dataset` with input_ids and labels (loss on the completion only)."""
    from datasets import Dataset

    def columns(example: Example) -> dict[str, list[int]]:
        return {
            "input_ids": example.prompt + example.completion,
            "labels": [IGNORED] * len(example.prompt) + example.completion,
        }

    dataset = Dataset.from_list([columns(e) for e in rows.examples])
    return dataset if order is None else dataset.select(list(order))
