"""Answers of one model to many dialogues, kept in `state/` as they come so that a killed run continues.

For a model in this process, batches are laid out before the first one runs, by prompt length, and a batch is done whole
or again: a continued run therefore computes exactly what an uninterrupted one would.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ...model.engine.protocol import Answer
from ...model.prompt import Message
from ...runs.job import Job

BATCH_TOKENS = 16_384  # prompt and answer tokens of a batch, padding included


@dataclass(frozen=True, slots=True)
class Question:
    """A dialogue to be answered, under an id that is unique within its store."""

    id: str
    messages: Sequence[Message]


Keep = Callable[[str, Answer], None]
Work = Callable[[list[Question], Keep], None]


class AnswerStore:
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
            for row in map(json.loads, complete[1:]):
                name = row.pop("id")
                self.answers[name] = Answer(**row)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8") as handle:
            handle.write(json.dumps({"key": key}) + "\n")
            handle.writelines(self._line(name, found) for name, found in self.answers.items())

    def add(self, found: Mapping[str, Answer]) -> None:
        """Append answers and flush them."""
        self.answers |= found
        with self.path.open("a", encoding="utf-8") as handle:
            handle.writelines(self._line(name, answer) for name, answer in found.items())

    @staticmethod
    def _line(name: str, answer: Answer) -> str:
        return json.dumps({"id": name, **asdict(answer)}, ensure_ascii=False) + "\n"


def keep(
    job: Job, name: str, batches: Sequence[list[Question]], work: Work, *, whole: bool = False
) -> dict[str, Answer]:
    """The answers to all batches, none asked for twice, even over several starts; what failed is missing.

    Args:
        name: of the file under `state/`.
        work: answers questions, and hands over each answer as it comes.
        whole: a batch that lacks one answer is done again as a whole.
    """
    store = AnswerStore(job.path(f"state/{name}.jsonl"), job.manifest.key)
    asked = [ask.id for batch in batches for ask in batch]
    ticks = iter(job.track(range(len(asked)), name, len(asked)))

    def book(name: str, answer: Answer) -> None:
        store.add({name: answer})
        next(ticks, None)

    for batch in batches:
        left = [ask for ask in batch if ask.id not in store.answers]
        for _ in range(len(batch) - (len(batch) if left and whole else len(left))):
            next(ticks, None)
        if left:
            work(batch if whole else left, book)
    for _ in ticks:  # what failed
        pass
    return {name: store.answers[name] for name in asked if name in store.answers}


def plan(lengths: Mapping[str, int], asks: Sequence[Question], limit: int) -> list[list[Question]]:
    """Batches of like prompt length, longest first, each within `BATCH_TOKENS`."""
    order = sorted(asks, key=lambda ask: (-lengths[ask.id], ask.id))
    batches = []
    while order:
        size = max(1, BATCH_TOKENS // (lengths[order[0].id] + limit))
        batches.append(order[:size])
        order = order[size:]
    return batches
