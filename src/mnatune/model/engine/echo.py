"""An engine that answers with the question: for tests, and for working on the page without a model."""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Sequence

from .protocol import Answer, Load, Piece, ServedModel, Stream, Task, find_model, text_hash
from .refusals import Refusal, bad_request, busy


def repeat(task: Task) -> str:
    """The task's last words, as they are."""
    if task.messages:
        return task.messages[-1]["content"]
    return task.prompt if isinstance(task.prompt, str) else " ".join(map(str, task.prompt or ()))


class EchoEngine:
    """Answers with the question; a token is a word with the blank after it.

    Args:
        names: names of the models to pretend.
        reply: the answer to a task; by default its last user message.
        pause: seconds between two pieces.
        capacity: answers in flight at most.
    """

    def __init__(
        self,
        names: Sequence[str] = ("echo-tuned", "echo"),
        reply: Callable[[Task], str] = repeat,
        pause: float = 0.0,
        capacity: int = 1024,
    ) -> None:
        self._models = [ServedModel(name, "echo") for name in names]
        self._reply = reply
        self._pause = pause
        self._capacity = capacity
        self._running = 0

    def models(self) -> Sequence[ServedModel]:
        return self._models

    def fault(self) -> str:
        return ""

    def load(self) -> Load:
        return Load(running=self._running)

    async def start(self) -> None:
        """Nothing to do."""

    async def stop(self) -> None:
        """Nothing to do."""

    def answers(
        self, tasks: Sequence[Task], *, done: Callable[[int, Answer], None] = lambda at, answer: None
    ) -> list[Answer | Refusal]:
        found: list[Answer | Refusal] = [Answer(self._reply(task), [], True) for task in tasks]
        for at, answer in enumerate(found):
            if isinstance(answer, Answer):
                done(at, answer)
        return found

    def close(self) -> None:
        """Nothing to do."""

    async def open(self, task: Task) -> Stream:
        model = find_model(self._models, task.model)
        asked = repeat(task)
        if not asked.strip():
            raise bad_request("the prompt is empty", param="prompt")
        if self._running >= self._capacity:
            raise busy()
        return Stream(model, len(asked.split()), text_hash(asked), self._pieces(task))

    async def _pieces(self, task: Task) -> AsyncGenerator[Piece, None]:
        text = self._reply(task)
        ends = [at for stop in task.sampling.stop if (at := text.find(stop)) >= 0]
        words = re.findall(r"\s*\S+\s*", text[: min(ends)] if ends else text)
        limit = task.sampling.max_tokens or len(words)
        self._running += 1
        try:
            for word in words[:limit]:
                if self._pause:
                    await asyncio.sleep(self._pause)
                yield Piece(word, 1)
            yield Piece("", 0, "length" if len(words) > limit else "stop")
        finally:
            self._running -= 1
