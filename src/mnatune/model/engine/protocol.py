"""What everybody asks of an engine, whether it computes here or passes the question on to a server."""

import hashlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, Self

from ...runs.recipe import GenerationSection
from ..prompt import Message
from .refusals import Refusal

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
        quoting: the answer is to repeat words of its prompt, such as the articles in it: only the answer's own tokens count
            for the penalty. A server always counts the prompt's too, so it is asked without a penalty.
    """

    max_tokens: int | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()
    quoting: bool = False

    @classmethod
    def of(cls, generation: GenerationSection, *, greedy: bool = False, seed: int = 0) -> Self:
        """The recipe's values; `greedy` keeps its length limit and repetition penalty."""
        return cls(
            generation.max_new_tokens,
            0.0 if greedy else generation.temperature,
            generation.top_p,
            generation.top_k,
            generation.repetition_penalty,
            seed,
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer.

    Attributes:
        text: without special tokens, blanks at both ends left out.
        ids: the new tokens, the end token included if it came; empty from a server.
        stopped: True if the model ended its turn by itself within the limit.
        first: logits of the watched tokens at the first position.
    """

    text: str
    ids: list[int]
    stopped: bool
    first: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Task:
    """One answer to make: either a dialogue (`messages`, system message included) or a raw `prompt`.

    Attributes:
        deadline: `time.monotonic()` after which the answer is given up; infinity means never.
        wall: of whoever asks; tasks behind different walls share nothing that is read of their prompts.
    """

    model: str
    sampling: Sampling
    messages: Sequence[Message] = ()
    prompt: str | list[int] | None = None
    deadline: float = float("inf")
    wall: str = ""


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
    """Makes answers: piece by piece on an event loop between `start` and `stop`, or whole ones by plain calls.

    Whoever opens an engine closes it; closing gives back what it holds.
    """

    def models(self) -> Sequence[ServedModel]:
        """What is served; the first is the default."""

    def fault(self) -> str:
        """Why the engine cannot answer now; empty when it is ready."""

    def load(self) -> Load:
        """Queue and batch, for the metrics."""

    async def start(self) -> None:
        """Get ready to take tasks on this event loop."""

    async def open(self, task: Task) -> Stream:
        """Check and accept a task; raises `Refusal` 400 (bad prompt), 404 (model), 429 (full) or 503 (down)."""

    async def stop(self) -> None:
        """Take no more tasks; what is still in flight fails with 503."""

    def answers(
        self, tasks: Sequence[Task], *, done: Callable[[int, Answer], None] = lambda at, answer: None
    ) -> list[Answer | Refusal]:
        """Whole answers in the order of the tasks, outside an event loop; a task that failed has its refusal.

        Args:
            done: called with the number of a task and its answer as soon as it is there.
        """

    def close(self) -> None:
        """Give back memory and connections."""


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
