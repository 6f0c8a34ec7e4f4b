"""What every route works with: the engine, the store, the metrics, and an answer from its acceptance to its record."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from ..model.engine.protocol import Engine, FinishReason, Piece, Sampling, ServedModel, Stream, Task
from ..model.engine.refusals import Refusal, bad_request, engine_down
from ..model.prompt import Message
from ..runs.errors import EnvironmentFault, log_failure
from ..runs.recipe import GenerationSection
from .api_schema import ChatRequest, SamplingFields
from .caller import Caller
from .evidence import Evidence, LawEvidence
from .feedback.sink import FeedbackSink, Generation
from .gauges import Metrics
from .keys import KeyStore, Limiter
from .marking import Checker
from .model_desk import ModelDesk
from .page_words import PageWords
from .repair import CheckedPieces, GroundedEngine
from .walls import Walls
from .worth import Worth

log = logging.getLogger(__name__)

T = TypeVar("T")

STORE_PATIENCE = 0.25  # seconds that an answer's end waits for its storing; then that goes on by itself
STORE_QUEUE = 1_000  # what may wait for the store; more is lost, and counted
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})


@dataclass(frozen=True, slots=True)
class Settings:
    """How the server behaves.

    Attributes:
        system: the pack's system prompt, used unless the caller brings one.
        generation: defaults of sampling.
        title, examples, words: what the pages say of the field; from the pack.
        exam: (topic, question) of the pack's exam items: what is to be rated follows its topics.
        open_while_keyless: let everybody in until the first key exists, and nobody without one from then on.
        require_keys: refuse requests without an active key.
        hosts: Host headers that are answered while no key is required (against DNS rebinding); empty means any.
        max_body: bytes of a request body.
        max_characters: of all messages or prompts of a request; more is refused before it is tokenized.
        evidence: answer with evidence unless a request says otherwise.
        deadline: seconds that an answer may take, queue included.
        heartbeat: seconds of silence after which a stream gets a comment, so that proxies keep it open.
    """

    system: str = ""
    generation: GenerationSection = field(default_factory=GenerationSection)
    title: str = "mnatune"
    examples: tuple[str, ...] = ()
    words: PageWords = field(default_factory=PageWords)
    exam: tuple[tuple[str, str], ...] = ()
    open_while_keyless: bool = False
    require_keys: bool = False
    hosts: frozenset[str] = frozenset()
    max_body: int = 8 * 2**20
    max_characters: int = 200_000
    evidence: bool = False
    deadline: float = 300.0
    heartbeat: float = 15.0


@dataclass(frozen=True, slots=True)
class Record:
    """That an answer is to be stored, under which id and in which conversation."""

    id: str
    conversation: str = ""


class Service:
    """The server's parts, and the way from a task to a measured, charged and stored answer."""

    def __init__(
        self,
        engine: Engine,
        feedback: FeedbackSink,
        settings: Settings,
        checker: Checker | None = None,
        law: LawEvidence | None = None,
        keys: KeyStore | None = None,
    ) -> None:
        self.engine = engine
        self.walls = Walls(keys)
        self.desk: ModelDesk | None = None  # where models are loaded and promoted, if there is a registry
        self.feedback = feedback
        self.settings = settings
        self.checker = checker
        self.worth = Worth(checker, settings.exam)
        self.law = law or LawEvidence(None, None, "이 서버에는 법 기억이 없습니다.")
        self.metrics = Metrics(engine.load)
        self.limiter = Limiter()
        self.draining = False
        self._background: set[asyncio.Task[None]] = set()
        self._store = ThreadPoolExecutor(1, "feedback")
        self._storing = 0

    def sampling(self, fields: SamplingFields, limit: int | None, choice: int = 0) -> Sampling:
        """The request's sampling over the server's defaults; each further choice takes the next seed."""
        given, stop = self.settings.generation, fields.stop
        seed = fields.seed if fields.seed is not None else time.time_ns()
        return Sampling(
            max_tokens=limit,
            temperature=given.temperature if fields.temperature is None else fields.temperature,
            top_p=given.top_p if fields.top_p is None else fields.top_p,
            top_k=given.top_k if fields.top_k is None else fields.top_k,
            repetition_penalty=given.repetition_penalty
            if fields.repetition_penalty is None
            else fields.repetition_penalty,
            seed=seed + choice,
            stop=(stop,) if isinstance(stop, str) else tuple(stop or ()),
        )

    def check_size(self, texts: Sequence[str | list[int]]) -> None:
        """400 for more text than any context holds, before time is spent on it."""
        if sum(map(len, texts)) > self.settings.max_characters:
            raise bad_request(
                f"the prompt is longer than {self.settings.max_characters:,} characters", code="context_length_exceeded"
            )

    def count_answers(self, caller: Caller, answers: int) -> None:
        """Have a request of several answers count as so many requests; the gate has counted it as one."""
        if caller.key:
            self.limiter.count(caller.key, answers - 1)

    def models(self, caller: Caller) -> list[ServedModel]:
        """What the caller may use; the first is the default."""
        return self.walls.models(caller, self.engine.models())

    async def evidence(self, caller: Caller, fields: ChatRequest, dialogue: Sequence[Message]) -> Evidence | None:
        """What the last question of a dialogue can be answered with; None if the request wants no evidence."""
        wanted = self.settings.evidence if fields.evidence is None else fields.evidence
        if not wanted:
            return None
        wall = self.walls.of(caller)
        return await self.law.gather(dialogue, wall.documents if wall else "")

    async def open(
        self, caller: Caller, task: Task, record: Record | None = None, evidence: Evidence | None = None
    ) -> "ServedAnswer":
        """Have the engine accept a task; the answer must be closed, whatever happens."""
        begun = time.monotonic()
        if self.draining:
            raise Refusal(503, "the server is shutting down", code="draining", retry_after=5.0)
        model = self.walls.find(caller, self.engine.models(), task.model)
        task = replace(task, model=model.id, wall=self.walls.home(caller, model.id))
        try:
            if evidence is None:
                return ServedAnswer(self, caller, task, await self.engine.open(task), record, begun)
            stream, evidence = await GroundedEngine(self.engine, self.law, self.in_background).open(task, evidence)
        except Refusal as error:
            if error.code == "model_not_found":  # unloaded just now; the engine would name other walls' models
                self.walls.find(caller, [other for other in self.engine.models() if other.id != model.id], model.id)
            raise
        answer = ServedAnswer(self, caller, task, stream, record, begun)
        answer.evidence = evidence
        return answer

    def deadline(self) -> float:
        """The monotonic time at which an answer that begins now is given up."""
        return time.monotonic() + self.settings.deadline

    def in_background(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Run to the end even if the request that caused it is cancelled."""
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    async def in_store(self, work: Callable[[FeedbackSink], T], wall: str | None = None) -> T:
        """Work with what the feedback store has behind a wall (None: all of it).

        It has a thread of its own, in the order of the calls: a database that waits for a lock takes no thread from anything
        else, and a rating is written after its answer.
        """
        if self._storing >= STORE_QUEUE:
            raise EnvironmentFault("the feedback store does not keep up")
        self._storing += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._store, work, self.feedback.within(wall))
        finally:
            self._storing -= 1

    async def settle(self) -> None:
        """Wait for what runs in the background."""
        while self._background:
            await asyncio.gather(*self._background, return_exceptions=True)


class ServedAnswer:
    """One answer on its way to a client: measured, charged to the key and, if wanted, stored when it is closed."""

    def __init__(
        self, service: Service, caller: Caller, task: Task, stream: Stream, record: Record | None, begun: float
    ) -> None:
        self.stream = stream
        self.evidence: Evidence | None = None
        self.model = stream.model
        self.text = ""
        self.tokens = 0
        self.prompt_tokens = stream.prompt_tokens
        self.finish: FinishReason | None = None
        self._service = service
        self._caller = caller
        self._task = task
        self._record = record
        self._begun = begun
        self._first: float | None = None
        self._failed = False
        self._closed: asyncio.Task[None] | None = None
        service.metrics.in_flight.inc()

    async def pieces(self) -> AsyncIterator[Piece]:
        """The pieces as they come."""
        try:
            async for piece in self.stream.pieces:
                if self._first is None and piece.text:
                    self._first = time.monotonic()
                self.text += piece.text
                self.tokens += piece.tokens
                self.prompt_tokens = piece.prompt_tokens or self.prompt_tokens
                self.finish = piece.finish
                yield piece
        except Refusal:
            self._failed = True
            raise
        except Exception as error:
            self._failed = True
            log_failure(log, "an answer broke off", error)
            raise engine_down("the engine failed") from None

    def checked(self) -> dict[str, Any]:
        """What a choice tells of its citations; empty for an answer without evidence."""
        pieces = self.stream.pieces
        if not isinstance(pieces, CheckedPieces):
            return {} if self.evidence is None else {"citations": [], "rewritten": 0, "unchecked": True}
        return {"citations": pieces.citations, "rewritten": pieces.rewritten, "unchecked": pieces.unchecked}

    async def whole(self) -> "ServedAnswer":
        """Wait for all of it."""
        async for _ in self.pieces():
            pass
        return self

    def close(self) -> "asyncio.Task[None]":
        """Cancel what is still being made and book the answer; await the result to know that it is stored."""
        if self._closed is None:
            self._book()
            self._closed = self._service.in_background(self._wind_up(time.monotonic()))
        return self._closed

    def _book(self) -> None:
        metrics, model = self._service.metrics, self._service.walls.label(self.model.id)
        metrics.in_flight.dec()
        outcome = "failed" if self._failed else self.finish or "cancelled"
        metrics.answers.labels(model, outcome).inc()
        metrics.tokens.labels(model, "prompt").inc(self.prompt_tokens)
        metrics.tokens.labels(model, "completion").inc(self.tokens)
        if self._first is not None:
            metrics.first_token.labels(model).observe(self._first - self._begun)
            if self.tokens > 1:
                metrics.per_token.labels(model).observe((time.monotonic() - self._first) / (self.tokens - 1))
        if self._caller.key:
            self._service.limiter.charge(self._caller.key, self.prompt_tokens + self.tokens)

    async def _wind_up(self, ended: float) -> None:
        await self.stream.pieces.aclose()
        if self._record is None or self._failed or not self.text:
            return
        saving = self._service.in_background(self._save(self._generation(self._record, ended)))
        await asyncio.wait({saving}, timeout=STORE_PATIENCE)

    async def _save(self, generation: Generation) -> None:
        try:
            await self._service.in_store(lambda sink: sink.save_generation(generation))
        except Exception as error:  # the store's trouble must not take the answer away from its reader
            self._service.metrics.lost_feedback.inc()
            log_failure(log, "an answer could not be stored", error)

    def _generation(self, record: Record, ended: float) -> Generation:
        sampling = self._task.sampling
        return Generation(
            id=record.id,
            conversation=record.conversation or record.id,
            rater=self._caller.rater,
            model=self.model.id,
            revision=self.model.revision,
            adapter_hash=self.model.adapter_hash,
            prompt_hash=self.stream.prompt_hash,
            messages=self._task.messages,
            answer=self.text,
            sampling={
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                "top_k": sampling.top_k,
                "repetition_penalty": sampling.repetition_penalty,
                "max_tokens": sampling.max_tokens,
                "seed": sampling.seed,
                "stop": list(sampling.stop),
            },
            finish_reason=self.finish or "cancelled",
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.tokens,
            consent=True,  # only what the user agreed to store comes here
            seconds=ended - self._begun,
            first_token=(self._first or ended) - self._begun,
            created=time.time() - (ended - self._begun),
            wall=self._task.wall,
        )


async def merged(answers: Sequence[ServedAnswer], heartbeat: float) -> AsyncIterator[tuple[int, Piece] | None]:
    """Pieces of several answers as they come, each with its answer's index; None after a silence of `heartbeat`.

    The first failure of any answer ends it all.
    """
    queue: asyncio.Queue[tuple[int, Piece] | Refusal | None] = asyncio.Queue()

    async def pump(index: int, answer: ServedAnswer) -> None:
        try:
            async for piece in answer.pieces():
                queue.put_nowait((index, piece))
        except Refusal as error:
            queue.put_nowait(error)
        else:
            queue.put_nowait(None)

    pumps = [asyncio.ensure_future(pump(i, a)) for i, a in enumerate(answers)]
    running = len(pumps)
    try:
        while running:
            try:
                item = await asyncio.wait_for(queue.get(), heartbeat)
            except TimeoutError:
                yield None
                continue
            if isinstance(item, Refusal):
                raise item
            if item is None:
                running -= 1
            else:
                yield item
    finally:
        for task in pumps:
            task.cancel()
