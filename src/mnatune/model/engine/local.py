"""The engine of this process: Transformers on this machine, all waiting rows answered in one moving batch.

Rows join and leave between steps, so a short answer never waits for a long one. Each row has the base or an adapter of its
own; only so many adapters are loaded at once, and one that is not is loaded at its next request. What could hurt another row
is refused before it reaches a lane: empty prompts, foreign token ids, prompts beyond the context.

For an API one thread of the engine's own does the work (`start`, `open`, `stop`). Plain calls (`answers`,
`likelihoods`, `choice_costs`) do the same work over the same lanes on the caller's thread.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from ...runs.errors import DataError, log_failure
from ...runs.workspace import file_hash
from ..load import LoadedModel
from ..memory import memory_faults
from ..prompt import Example, prompt_ids
from .emitter import Emitter
from .lane_rows import LaneRow, PieceReader, RowPieces
from .protocol import Answer, Load, ServedModel, Stream, Task, find_model
from .refusals import Refusal, bad_request, engine_down
from .scheduler import BatchLimits, Scheduler, fitted
from .scoring import Scored, choice_costs, score_completions

log = logging.getLogger(__name__)

ADVICE = "set train.quantize: nf4, or lower generation.max_new_tokens; see mnatune train RECIPE --plan"
SCORED_TOKENS = 8_192  # of a batch whose likelihood is taken, padding included
NEW_TOKENS = 512  # limit of an answer whose task names none


def open_engine(
    base: str,
    adapters: Mapping[str, Path] | None = None,
    *,
    revision: str | None = None,
    quantize: str = "none",
    name: str = "base",
    new_tokens: int = NEW_TOKENS,
    limits: BatchLimits | None = None,
) -> "LocalEngine":
    """An engine over one load of a base and of any number of adapters; close it to give the memory back.

    Args:
        base: model id or folder.
        adapters: served name → adapter folder; the first is the default model.
        quantize: "none", "nf4" or "fp8", as the adapters were trained.
        name: under which the base is served.
        new_tokens: limit of an answer whose task names none.

    Raises:
        EnvironmentFault: the base cannot be loaded, or does not fit the memory.
        DataError: an adapter is unsafe, broken or made for another base.
    """
    loaded = LoadedModel(base, revision, quantize=quantize)
    engine = LocalEngine(loaded, name, new_tokens, fitted(limits or BatchLimits(), loaded))
    try:
        for served, folder in (adapters or {}).items():
            engine.attach(served, folder)
    except BaseException:
        engine.close()
        raise
    return engine


class LocalEngine:
    """See the module's text; made by `open_engine`."""

    def __init__(self, loaded: LoadedModel, name: str, new_tokens: int, limits: BatchLimits) -> None:
        self.loaded = loaded
        self._new_tokens = new_tokens
        self._limits = limits
        self._base = ServedModel(name, loaded.model_id)
        self._models: list[ServedModel] = [self._base]
        self._slots: dict[str, str | None] = {name: None}  # served name → slot of its adapter
        self._queue = Scheduler(loaded, self._limits)
        self._errands: deque[Callable[[], None]] = deque()
        self._thread: threading.Thread | None = None
        self._closing = False
        self._working = False  # rows that are just being prefilled are in no lane and no queue

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def attach(self, name: str, adapter: Path) -> None:
        """Serve an adapter under a name, the first as the default; for an engine that is not started."""
        self._slots[name] = self._queue.shelf.add(adapter)
        self._models.insert(len(self._models) - 1, self._describe(name, adapter))

    def _describe(self, name: str, adapter: Path) -> ServedModel:
        weights = file_hash(adapter / "adapter_model.safetensors")
        return ServedModel(name, self.loaded.model_id, weights, self._base.id)

    def close(self) -> None:
        """Give the memory back; an engine that was started is stopped first."""
        self.loaded.close()

    # Plain calls

    def answers(
        self,
        tasks: Sequence[Task],
        *,
        done: Callable[[int, Answer], None] = lambda at, answer: None,
        watched: Sequence[int] = (),
    ) -> list[Answer | Refusal]:
        """Whole answers in the order of the tasks; a task that cannot be taken has its refusal.

        Rows start together as far as `cache_tokens` allows. An answer depends on its own task, up to the order in which
        a batch of another width adds floats; what was asked before plays no part.

        Args:
            done: called with the number of a task and its answer as soon as it is there.
            watched: tokens whose logits at an answer's first position are wanted.
        """
        self._alone()
        found: dict[int, Answer | Refusal] = {}

        def ended(at: int) -> Callable[[LaneRow], None]:
            def book(row: LaneRow) -> None:
                found[at] = row.error or self._whole(row)
                if isinstance(answer := found[at], Answer):
                    done(at, answer)

            return book

        for at, task in enumerate(tasks):
            try:
                model = find_model(self._models, task.model)
                row = self._row(task, self._encode(task))
            except Refusal as refusal:
                found[at] = refusal
                continue
            row.ended, row.watched = ended(at), watched
            row.slot = self._slots[model.id]
            self._queue.submit(row)
        with memory_faults("answering", ADVICE):
            self._queue.work_off()
        return [found[at] for at in range(len(tasks))]

    def likelihoods(self, model: str, examples: Sequence[Example]) -> list[Scored]:
        """Negative log-likelihood of each example's completion after its prompt, in the given order."""
        with self.variant(model) as loaded:
            return score_completions(loaded, examples, SCORED_TOKENS)

    def choice_costs(
        self, model: str, prompts: Sequence[list[int]], choices: Sequence[Sequence[list[int]]]
    ) -> list[list[float]]:
        """Negative log-likelihood of every choice after its prompt, equally many choices for each; one batch."""
        with self.variant(model) as loaded:
            return choice_costs(loaded, prompts, choices)

    @contextmanager
    def variant(self, model: str) -> Iterator[LoadedModel]:
        """The loaded model with this one's adapter on, for what computes with it directly."""
        self._alone()
        slot = self._slots[find_model(self._models, model).id]
        self._queue.shelf.ready(slot)
        self.loaded.activate(slot)
        with memory_faults("scoring", ADVICE):
            yield self.loaded

    def _alone(self) -> None:
        if self._thread is not None:
            raise RuntimeError("plain calls cannot be made while the engine serves")

    def _whole(self, row: LaneRow) -> Answer:
        text = self.loaded.tokenizer.decode(row.ids, skip_special_tokens=True)
        for stop in row.sampling.stop:
            text = text.partition(stop)[0]
        return Answer(text.strip(), row.ids, row.finish == "stop", row.first)

    # What the server calls, on its event loop

    def models(self) -> Sequence[ServedModel]:
        return self._models

    def fault(self) -> str:
        if self._closing or self._thread is None:
            return "the engine is not running"
        if not self._thread.is_alive():
            return "the engine's thread has died"
        late = time.monotonic() - self._queue.beat > self._limits.stall_seconds
        return "the engine is stuck in a step" if late and (self._working or self._queue.busy()) else ""

    def load(self) -> Load:
        return Load(self._queue.waiting, self._queue.running, self._queue.faults)

    async def start(self) -> None:
        """Start the engine's thread."""
        self._closing = False
        self._queue.beat = time.monotonic()
        self._thread = threading.Thread(target=self._work, name="mnatune-engine", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Stop the thread and fail what is left."""
        self._closing = True
        with self._queue.wake:
            self._queue.wake.notify_all()
        if self._thread:
            await asyncio.to_thread(self._thread.join, 30.0)
            self._thread = None

    async def open(self, task: Task) -> Stream:
        if fault := self.fault():
            raise engine_down(fault)
        find_model(self._models, task.model)
        self._queue.refuse_if_full()
        ids = await asyncio.to_thread(self._encode, task)
        row = self._row(task, ids)
        row.emitter = Emitter(self.loaded.tokenizer, task.sampling.stop, trim=task.prompt is None)
        row.reader = PieceReader(asyncio.get_running_loop())
        with self._queue.wake:
            model = find_model(self._models, task.model)  # a promotion may have come in between
            self._queue.refuse_if_full()
            if not self._queue.busy():
                self._queue.beat = time.monotonic()
            row.slot = self._slots[model.id]
            self._queue.submit(row)
            self._queue.wake.notify_all()
        return Stream(model, len(ids), row.prompt_hash, RowPieces(row, row.reader, self.fault))

    async def serve_adapter(self, name: str, adapter: Path | None, *, first: bool = False) -> None:
        """Serve another adapter under `name` (None: none any more) from now on; answers being made finish on the old.

        Args:
            first: it becomes the default model.

        Raises:
            DataError: the adapter is unsafe, broken or made for another base; the old one stays.
        """
        done: Future[None] = Future()

        def errand() -> None:
            try:
                self._swap(name, adapter, first=first)
                done.set_result(None)
            except BaseException as error:
                done.set_exception(error)

        with self._queue.wake:
            self._errands.append(errand)
            self._queue.wake.notify_all()
        await asyncio.wrap_future(done)

    def _encode(self, task: Task) -> list[int]:
        """The task's prompt as token ids; raises 400 for what the model cannot take."""
        tokenizer, context = self.loaded.tokenizer, self.loaded.context
        if isinstance(task.prompt, list):
            ids = task.prompt
            if any(not 0 <= i < len(tokenizer) for i in ids):
                raise bad_request("the prompt holds a token id outside the vocabulary", param="prompt")
        elif task.prompt is not None:
            ids = list(tokenizer(task.prompt, add_special_tokens=False)["input_ids"])
        else:
            try:
                ids = prompt_ids(tokenizer, task.messages)
            except DataError as error:
                raise bad_request(error.what, param="messages") from None
        if not ids:
            raise bad_request("the prompt is empty", param="prompt")
        wanted = task.sampling.max_tokens or 1
        if len(ids) + wanted > context:
            raise bad_request(
                f"prompt ({len(ids)} tokens) and answer ({wanted}) exceed the context of {context} tokens",
                param="max_tokens" if len(ids) < context else None,
                code="context_length_exceeded",
            )
        return ids

    def _row(self, task: Task, ids: list[int]) -> LaneRow:
        limit = task.sampling.max_tokens or min(self._new_tokens, self.loaded.context - len(ids))
        row = LaneRow(ids, limit, task.sampling, wall=task.wall, deadline=task.deadline)
        if task.sampling.stop:
            row.emitter = Emitter(self.loaded.tokenizer, task.sampling.stop, trim=task.prompt is None)
        return row

    # What happens on the engine's thread

    def _work(self) -> None:
        while not self._closing:
            with self._queue.wake:
                while not (self._queue.busy() or self._errands or self._closing):
                    self._queue.wake.wait()
            self._queue.beat = time.monotonic()
            self._working = True
            try:
                self._round()
            except Exception as error:
                log_failure(log, "the engine failed between steps; everything in flight is told so", error)
                self._queue.faults += 1
                self._queue.fail_all(engine_down("the engine had to start anew"))
            finally:
                self._working = False
        self._queue.fail_all(engine_down("the server is shutting down"))

    def _round(self) -> None:
        """Errands, a turn for every lane with work, and adapters that nobody needs any more."""
        while self._errands:
            self._errands.popleft()()
        self._queue.take_turns()
        self._queue.clear_away(set(self._slots.values()))

    def _swap(self, name: str, adapter: Path | None, *, first: bool) -> None:
        described = slot = None
        if adapter:
            described = self._describe(name, adapter)
            slot = self._queue.shelf.add(adapter, self._queue.at_work())
        models = [model for model in self._models if model.id != name]
        if described:
            models.insert(0 if first else len(models) - 1, described)
        with self._queue.wake:
            self._models = models
            self._slots = {model.id: slot if model is described else self._slots[model.id] for model in models}
        log.info("%s is now %s", name, f"adapter {described.adapter_hash[:12]}" if described else "served no more")
