"""Selects the questions: held-out rows of the run and exam items of the pack, by a seeded stratified draw."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ...model.evidence_prompt import without_passages
from ...model.prompt import Example, Message, examples
from ...runs.errors import DataError
from ...runs.job import Job
from ...runs.workspace import read_jsonl

SMALL_TEST = 30  # rows below which the validation split is asked too

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A held-out question.

    Attributes:
        messages: the dialogue up to the question.
        reference: the answer in the data.
        split: "test", or "valid" where test is too small.
    """

    id: str
    messages: list[Message]
    reference: str
    category: str
    group: str
    source: str
    split: str

    @property
    def question(self) -> str:
        """The last user turn."""
        return self.messages[-1]["content"]

    def example(self, tokenizer: Any) -> Example:
        """The reference answer as token ids after its prompt, exactly as in training."""
        return examples(tokenizer, [*self.messages, {"role": "assistant", "content": self.reference}])[-1]


def held_out(job: Job) -> list[HeldOut]:
    """At most `evaluate.items` held-out rows; includes the validation split if test has fewer than 30."""
    wanted = job.recipe.evaluate.items
    items = _read(job.run.require("compose", "test.jsonl"), "test")
    if len(items) < min(SMALL_TEST, wanted):
        items += _read(job.run.require("compose", "valid.jsonl"), "valid")
    if not items:
        step = "give the test split a share in compose.splits, or read more rows"
        raise DataError("there is no held-out row to evaluate on", where=str(job.run.folder("compose")), next_step=step)
    return stratified(items, wanted, job.recipe.seed, lambda item: item.category, lambda item: item.id)


def plain_questions(job: Job) -> list[str]:
    """The questions of all validation and test rows, asked or not."""
    names = [name for name in ("valid", "test") if (job.run.folder("compose") / f"{name}.jsonl").is_file()]
    return [item.question for name in names for item in _read(job.run.require("compose", f"{name}.jsonl"), name)]


def stratified(
    items: Sequence[T], limit: int, seed: int, stratum: Callable[[T], str], identity: Callable[[T], str]
) -> list[T]:
    """At most `limit` items in proportion to their strata; deterministic, in the order given."""
    if len(items) <= limit:
        return list(items)

    def place(at: int) -> tuple[str, str]:
        return stratum(items[at]), hashlib.sha256(f"{seed}/{identity(items[at])}".encode()).hexdigest()

    ranked = sorted(range(len(items)), key=place)
    step = len(ranked) / limit
    chosen = {ranked[int((k + 0.5) * step)] for k in range(limit)}
    return [items[at] for at in range(len(items)) if at in chosen]


def exam_items(job: Job, name: str, limit: int) -> list[dict[str, Any]]:
    """At most `limit` rows of the pack's exam/NAME.jsonl, topics in proportion; none if the pack lacks the file."""
    path = job.pack.root / "exam" / f"{name}.jsonl"
    rows = read_jsonl(path, missing_ok=True)
    return stratified(rows, limit, job.recipe.seed, lambda row: str(row.get("topic", "")), lambda row: str(row["id"]))


def _read(path: Path, split: str) -> list[HeldOut]:
    found = []
    for number, row in enumerate(read_jsonl(path), 1):
        turns = without_passages(row) if row.get("messages") else []
        if len(turns) < 2 or turns[-1].get("role") != "assistant":
            raise DataError("not a chat example: the last turn must be the assistant's", where=f"{path}:{number}")
        source = row.get("source") or {}
        name = str(source.get("name", "")) if isinstance(source, dict) else str(source)
        row_id, category, group = str(row["id"]), str(row.get("category", "")), str(row.get("group") or row["id"])
        found.append(HeldOut(row_id, turns[:-1], str(turns[-1]["content"]), category, group, name, split))
    return found
