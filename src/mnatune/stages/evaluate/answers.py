"""Greedy answers of one model to many dialogues, batch by batch, kept in `state/` so that a killed run continues.

Batches are laid out before the first one runs, by prompt length, and a batch is done whole or again: a continued run
therefore computes exactly what an uninterrupted one would.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...model.load import Answer, ChatModel
from ...model.prompt import Message, prompt_ids
from ...runs.job import Job
from .decoding import Decoded, decode

BATCH_TOKENS = 16_384  # prompt and answer tokens of a batch, padding included

Work = Callable[[list["Question"]], list[Decoded]]


@dataclass(frozen=True, slots=True)
class Question:
    """A dialogue to be answered, under an id that is unique within its ledger."""

    id: str
    messages: Sequence[Message]


class AnswerStore:
    """Answers already given, one JSON line each; a line that a crash cut off is forgotten.

    Args:
        path: the file; its first line names the work it belongs to.
        key: identity of recipe, inputs and code: answers of any other work are discarded.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path = path
        self.answers: dict[str, Decoded] = {}
        lines = path.read_text(encoding="utf-8").split("\n") if path.is_file() else []
        complete = lines[:-1]  # what follows the last line break was cut off
        if complete and json.loads(complete[0]).get("key") == key:
            for row in map(json.loads, complete[1:]):
                self.answers[row["id"]] = Decoded(Answer(row["text"], row["ids"], row["stopped"]), row["first"])
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8") as handle:
            handle.write(json.dumps({"key": key}) + "\n")
            handle.writelines(self._line(name, found) for name, found in self.answers.items())

    def add(self, found: dict[str, Decoded]) -> None:
        """Append a batch of answers and flush them."""
        self.answers |= found
        with self.path.open("a", encoding="utf-8") as handle:
            handle.writelines(self._line(name, decoded) for name, decoded in found.items())

    @staticmethod
    def _line(name: str, found: Decoded) -> str:
        answer = found.answer
        row = {"id": name, "text": answer.text, "ids": answer.ids, "stopped": answer.stopped, "first": found.first}
        return json.dumps(row, ensure_ascii=False) + "\n"


def answer_all(
    job: Job,
    chat: ChatModel,
    asks: Sequence[Question],
    name: str,
    *,
    tuned: bool,
    limit: int | None = None,
    watched: Sequence[int] = (),
) -> dict[str, Decoded]:
    """Greedy answers by id, with the recipe's repetition penalty: what is judged is what would be served.

    Args:
        name: the ledger's name; with "base" or "tuned" it makes the file name under `state/`.
        limit: longest answer in tokens; by default the recipe's.
        watched: tokens whose logits at the first position of an answer are wanted.
    """
    prompts = {ask.id: prompt_ids(chat.tokenizer, ask.messages) for ask in asks}
    served = job.recipe.generation
    generation = served if limit is None else served.model_copy(update={"max_new_tokens": limit})

    def work(batch: list[Question]) -> list[Decoded]:
        return decode(chat, [prompts[ask.id] for ask in batch], generation, tuned=tuned, watched=watched)

    batches = plan({name: len(ids) for name, ids in prompts.items()}, asks, generation.max_new_tokens)
    return keep(job, f"{name}-{'tuned' if tuned else 'base'}", batches, work)


def keep(job: Job, name: str, batches: Sequence[list[Question]], work: Work) -> dict[str, Decoded]:
    """The answers to all batches, each batch worked on once, even over several starts."""
    ledger = AnswerStore(job.path(f"state/{name}.jsonl"), job.manifest.key)
    for batch in job.track(batches, name):
        if not all(ask.id in ledger.answers for ask in batch):
            ledger.add({ask.id: found for ask, found in zip(batch, work(batch), strict=True)})
    return {ask.id: ledger.answers[ask.id] for batch in batches for ask in batch}


def plan(lengths: dict[str, int], asks: Sequence[Question], limit: int) -> list[list[Question]]:
    """Batches of like prompt length, longest first, each within `BATCH_TOKENS`."""
    order = sorted(asks, key=lambda ask: (-lengths[ask.id], ask.id))
    batches = []
    while order:
        size = max(1, BATCH_TOKENS // (lengths[order[0].id] + limit))
        batches.append(order[:size])
        order = order[size:]
    return batches
