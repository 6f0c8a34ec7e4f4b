"""What the API asks of an engine, and the echo engine for tests and for working on the page without a model."""

import asyncio
import hashlib
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from ..prompt import Message
from .refusals import Refusal, bad_request, busy

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How one answer is drawn.

    Attributes:
        max_tokens: limit of new tokens; None takes what the engine's default and the context allow.
        temperature: 0 is greedy.
        top_k: 0 is no limit.
        seed: of this answer's random draws.
        stop: strings before which the answer ends.
    """

    max_tokens: int | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Task:
    """One answer to make: either a dialogue (`messages`, system message included) or a raw `prompt`.

    Attributes:
        deadline: `time.monotonic()` after which the answer is given up; infinity means never.
    """

    model: str
    sampling: Sampling
    messages: Sequence[Message] = ()
    prompt: str | list[int] | None = None
    deadline: float = float("inf")


@dataclass(frozen=True, slots=True)
class Piece:
    """Some new text and how many new tokens it stands for.

    The last piece carries the finish reason, and the prompt's length where the engine learns it only at the end.
    """

    text: str
    tokens: int
    finish: FinishReason | None = None
    prompt_tokens: int = 0


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model that can be asked for by name.

    Attributes:
        revision: base model id and revision, or the upstream's address.
        adapter_hash: SHA-256 of the adapter's weights; empty for a base model.
        parent: name of the base among the served models, if it is an adapter on it.
        created: Unix time since when it is served.
    """

    id: str
    revision: str
    adapter_hash: str = ""
    parent: str | None = None
    created: int = field(default_factory=lambda: int(time.time()))


class Pieces(Protocol):
    """The pieces of an answer, in order; the last has the finish reason. A failure raises `Refusal`."""

    def __aiter__(self) -> AsyncIterator[Piece]: ...

    async def __anext__(self) -> Piece: ...

    async def aclose(self) -> None:
        """Cancel the answer if it is still being made."""


@dataclass(frozen=True, slots=True)
class Stream:
    """An accepted task: which model answers, from how long a prompt, and the pieces to come."""

    model: ServedModel
    prompt_tokens: int
    prompt_hash: str
    pieces: Pieces


@dataclass(frozen=True, slots=True)
class Load:
    """How busy an engine is, and how often it had to be started anew or lost a batch."""

    waiting: int = 0
    running: int = 0
    faults: int = 0


class Engine(Protocol):
    """Makes answers. All methods are called on the server's event loop."""

    def models(self) -> Sequence[ServedModel]:
        """What is served; the first is the default."""

    def fault(self) -> str:
        """Why the engine cannot answer now; empty when it is ready."""

    def load(self) -> Load:
        """Queue and batch, for the metrics."""

    async def start(self) -> None:
        """Get ready."""

    async def open(self, task: Task) -> Stream:
        """Check and accept a task; raises `Refusal` 400 (bad prompt), 404 (model), 429 (full) or 503 (down)."""

    async def close(self) -> None:
        """Stop; what is still in flight fails with 503."""


def find_model(models: Sequence[ServedModel], name: str) -> ServedModel:
    """The served model of that name; the default for an empty name."""
    for model in models:
        if name in ("", model.id):
            return model
    served = ", ".join(model.id for model in models)
    raise Refusal(404, f"there is no such model here; served are: {served}", code="model_not_found", param="model")


def text_hash(text: str) -> str:
    """Hash that stands for a prompt in the feedback store."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


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

    async def close(self) -> None:
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
