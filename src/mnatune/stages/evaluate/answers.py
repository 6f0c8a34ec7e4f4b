"""Answers of one model to many dialogues, batch by batch, kept in `state/` so that a killed evaluation continues.

Batches are laid out before the first one runs, by prompt length, and a batch is done whole or again: a continued run
therefore computes exactly what an uninterrupted one would.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...job import Job
from ...models.hf import GREEDY, Answer, ChatModel
from ...models.prompt import Message, prompt_ids
from ...recipe import GenerationSection

BATCH_TOKENS = 16_384  # prompt and answer tokens of a batch, padding included


@dataclass(frozen=True, slots=True)
class Ask:
    """A dialogue to be answered, under an id that is unique within its ledger."""

    id: str
    messages: Sequence[Message]


class Ledger:
    """Answers already given, one JSON line each; a line that a crash cut off is forgotten.

    Args:
        path: the file; its first line names the work it belongs to.
        key: identity of recipe, inputs and code: answers of any other work are discarded.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path = path
        self.answers: dict[str, Answer] = {}
        lines = path.read_text(encoding="utf-8").split("\n") if path.is_file() else []
        complete = lines[:-1]  # what follows the last line break was cut off
        if complete and json.loads(complete[0]).get("key") == key:
            for line in complete[1:]:
                row = json.loads(line)
                self.answers[row["id"]] = Answer(row["text"], row["ids"], row["stopped"])
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8") as handle:
            handle.write(json.dumps({"key": key}) + "\n")
            handle.writelines(self._line(name, answer) for name, answer in self.answers.items())

    def add(self, found: dict[str, Answer]) -> None:
        """Append a batch of answers and flush them."""
        self.answers |= found
        with self.path.open("a", encoding="utf-8") as handle:
            handle.writelines(self._line(name, answer) for name, answer in found.items())

    @staticmethod
    def _line(name: str, answer: Answer) -> str:
        row = {"id": name, "text": answer.text, "ids": answer.ids, "stopped": answer.stopped}
        return json.dumps(row, ensure_ascii=False) + "\n"


def answer_all(
    job: Job, chat: ChatModel, asks: Sequence[Ask], name: str, *, tuned: bool, generation: GenerationSection
) -> dict[str, Answer]:
    """Answers by id.

    Args:
        name: the ledger's name; with "base" or "tuned" it makes the file name under `state/`.
        generation: greedy or sampled; its `max_new_tokens` ends an answer that does not end by itself.
    """
    model = "tuned" if tuned else "base"
    ledger = Ledger(job.path(f"state/{name}-{model}.jsonl"), job.manifest.key)
    batches = list(plan(chat, asks, generation.max_new_tokens))
    for batch in job.track(batches, f"{name}, {model}"):
        if all(ask.id in ledger.answers for ask in batch):
            continue
        given = chat.answer(
            [ask.messages for ask in batch],
            tuned=tuned,
            generation=generation,
            batch_tokens=BATCH_TOKENS,
            seed=job.recipe.seed,
        )
        ledger.add({ask.id: answer for ask, answer in zip(batch, given, strict=True)})
    return {ask.id: ledger.answers[ask.id] for ask in asks}


def plan(chat: ChatModel, asks: Sequence[Ask], new_tokens: int) -> Iterator[list[Ask]]:
    """Batches of like prompt length, longest first, each within `BATCH_TOKENS`."""
    lengths = {ask.id: len(prompt_ids(chat.tokenizer, ask.messages)) for ask in asks}
    order = sorted(asks, key=lambda ask: (-lengths[ask.id], ask.id))
    while order:
        size = max(1, BATCH_TOKENS // (lengths[order[0].id] + new_tokens))
        yield order[:size]
        order = order[size:]


def greedy(max_new_tokens: int) -> GenerationSection:
    """Greedy generation of at most so many tokens."""
    return GREEDY.model_copy(update={"max_new_tokens": max_new_tokens})
