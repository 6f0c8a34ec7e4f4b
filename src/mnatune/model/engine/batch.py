"""The in-process engine: Transformers on this machine, all waiting requests answered in one moving batch.

One thread owns the model. Requests join and leave its batches between steps, so a short answer never waits for a long
one. Base and adapters are lanes that take turns; the adapter is switched between turns. What could hurt another
request is refused before it reaches the thread: empty prompts, foreign token ids, prompts beyond the context.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from ...runs.errors import DataError
from ...runs.recipe import GenerationSection
from ...runs.workspace import file_hash
from ..load import ChatModel, attach_adapter
from ..prompt import prompt_ids, without_control_tokens
from .emitter import Emitter
from .lane import Lane, LaneRow, Outgoing
from .protocol import Load, Piece, ServedModel, Stream, Task, find_model
from .refusals import Refusal, bad_request, busy, engine_down, overdue
from .sampler import Draw

log = logging.getLogger(__name__)

BATCH_LOST = Refusal(500, "the engine failed on this batch", code="engine_failure")
UNKNOWN = "?"  # PEFT changed what is on; the next turn sets it
TURN = 4  # steps that a lane takes before another lane with work gets its turn


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """What the engine takes on.

    Attributes:
        rows: answers in one batch.
        waiting: requests in the queue; more are refused with 429.
        cache_tokens: rows times width of a batch, which bounds its memory.
        prefill_tokens: prompt tokens that may join in one step, so that running answers are not held up.
        stall_seconds: a step that takes longer means that the engine is stuck.
    """

    rows: int = 32
    waiting: int = 64
    cache_tokens: int = 65_536
    prefill_tokens: int = 4_096
    stall_seconds: float = 120.0


@dataclass(frozen=True, slots=True)
class Names:
    """Under which names base and tuned are served."""

    base: str
    tuned: str


class BatchEngine:
    """Serves a `ChatModel` (see the module's text).

    Args:
        generation: the default limit of new tokens.
    """

    def __init__(
        self,
        chat: ChatModel,
        names: Names,
        generation: GenerationSection,
        limits: BatchLimits | None = None,
    ) -> None:
        self._chat = chat
        self._names = names
        self._generation = generation
        self._limits = limits or BatchLimits()
        self._base = ServedModel(names.base, chat.model_id)
        self._slots: dict[str, str | None] = {names.base: None}  # served name → PEFT's name of the adapter
        self._tuned: ServedModel | None = None
        if chat.adapter:
            self._slots[names.tuned] = "default"
            self._tuned = self._describe(chat.adapter)
        self._lanes: dict[str | None, Lane] = {}
        self._active: str | None = "default" if chat.adapter else None
        self._waiting: deque[tuple[str | None, LaneRow]] = deque()
        self._errands: deque[Callable[[], None]] = deque()
        self._wake = threading.Condition()
        self._outgoing = Outgoing()
        self._thread: threading.Thread | None = None
        self._closing = False
        self._working = False  # rows that are just being prefilled are in no lane and no queue
        self._beat = time.monotonic()
        self._faults = 0
        self._promotions = 0
        self._loaded = {"default"} if chat.adapter else set()

    def _describe(self, adapter: Path) -> ServedModel:
        weights = file_hash(adapter / "adapter_model.safetensors")
        return ServedModel(self._names.tuned, self._chat.model_id, weights, self._names.base)

    # What the server calls, on its event loop

    def models(self) -> Sequence[ServedModel]:
        return [self._tuned, self._base] if self._tuned else [self._base]

    def fault(self) -> str:
        if self._closing or self._thread is None:
            return "the engine is not running"
        if not self._thread.is_alive():
            return "the engine's thread has died"
        if (self._working or self._busy()) and time.monotonic() - self._beat > self._limits.stall_seconds:
            return "the engine is stuck in a step"
        return ""

    def load(self) -> Load:
        running = sum(len(lane.rows) for lane in list(self._lanes.values()))
        return Load(len(self._waiting), running, self._faults)

    async def start(self) -> None:
        """Start the engine's thread."""
        self._thread = threading.Thread(target=self._work, name="mnatune-engine", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        """Stop the thread and fail what is left."""
        self._closing = True
        with self._wake:
            self._wake.notify_all()
        if self._thread:
            await asyncio.to_thread(self._thread.join, 30.0)

    async def open(self, task: Task) -> Stream:
        if fault := self.fault():
            raise engine_down(fault)
        find_model(self.models(), task.model)
        if len(self._waiting) >= self._limits.waiting:
            raise busy()
        ids = await asyncio.to_thread(self._encode, task)
        row = self._row(task, ids)
        with self._wake:
            model = find_model(self.models(), task.model)  # a promotion may have come in between
            if len(self._waiting) >= self._limits.waiting:
                raise busy()
            if not self._busy():
                self._beat = time.monotonic()
            self._waiting.append((self._slots[model.id], row))
            self._wake.notify_all()
        return Stream(model, len(ids), row.prompt_hash, RowReader(row, self.fault))

    async def promote(self, adapter: Path | None) -> None:
        """Serve another adapter (None: the base alone) from now on; answers being made finish on the old one.

        Raises:
            DataError: the adapter is unsafe, broken or made for another base; the old one stays.
        """
        done: Future[None] = Future()

        def errand() -> None:
            try:
                self._swap(adapter)
                done.set_result(None)
            except BaseException as error:
                done.set_exception(error)

        with self._wake:
            self._errands.append(errand)
            self._wake.notify_all()
        await asyncio.wrap_future(done)

    def _encode(self, task: Task) -> list[int]:
        """The task's prompt as token ids; raises 400 for what the model cannot take."""
        tokenizer, context = self._chat.tokenizer, self._chat.context
        if isinstance(task.prompt, list):
            ids = task.prompt
            if any(not 0 <= i < len(tokenizer) for i in ids):
                raise bad_request("the prompt holds a token id outside the vocabulary", param="prompt")
        elif task.prompt is not None:
            ids = list(tokenizer(task.prompt, add_special_tokens=False)["input_ids"])
        else:
            try:
                ids = prompt_ids(tokenizer, without_control_tokens(task.messages))
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
        limit = task.sampling.max_tokens or min(self._generation.max_new_tokens, self._chat.context - len(ids))
        emitter = Emitter(self._chat.tokenizer, task.sampling.stop, trim=task.prompt is None)
        return LaneRow(ids, limit, Draw(task.sampling), emitter, asyncio.get_running_loop(), task.deadline)

    # What happens on the engine's thread

    def _busy(self) -> bool:
        return bool(self._waiting or any(lane.rows for lane in list(self._lanes.values())))

    def _work(self) -> None:
        while not self._closing:
            with self._wake:
                while not (self._busy() or self._errands or self._closing):
                    self._wake.wait()
            self._beat = time.monotonic()
            self._working = True
            try:
                self._round()
            except Exception:
                log.exception("the engine failed between steps; everything in flight is told so")
                self._faults += 1
                self._fail_all(engine_down("the engine had to start anew"))
            finally:
                self._working = False
        self._fail_all(engine_down("the server is shutting down"))

    def _round(self) -> None:
        """Errands, a turn for every lane with work, and adapters that nobody needs any more."""
        while self._errands:
            self._errands.popleft()()
        for slot in self._slots_with_work():
            self._turn(slot)
        self._retire()

    def _slots_with_work(self) -> list[str | None]:
        """The active lane first, so that the adapter is switched as seldom as can be."""
        slots = {slot for slot, lane in self._lanes.items() if lane.rows} | {slot for slot, _ in list(self._waiting)}
        return sorted(slots, key=lambda slot: (slot != self._active, slot or ""))

    def _turn(self, slot: str | None) -> None:
        """Some steps of one lane; a failing step fails the lane's rows and nobody else's."""
        lane = self._lane(slot)
        joining: list[LaneRow] = []
        try:
            self._activate(slot)
            for _ in range(TURN):
                self._sweep(lane)
                joining = self._admit(slot, lane)
                if joining:
                    lane.join(joining, self._outgoing)
                    joining = []
                if lane.rows:
                    lane.step(self._outgoing)
                self._outgoing.flush()
                self._beat = time.monotonic()
        except Exception:
            log.exception("a step of the engine failed; its requests are told so")
            self._faults += 1
            for row in joining:
                self._outgoing.put(row, BATCH_LOST)
            lane.abort(BATCH_LOST, self._outgoing)
            self._outgoing.flush()

    def _lane(self, slot: str | None) -> Lane:
        if slot not in self._lanes:
            model = self._chat.model
            inner = model.get_base_model() if hasattr(model, "get_base_model") else model
            self._lanes[slot] = Lane(inner, self._chat.tokenizer.pad_token_id, self._chat.end)
        return self._lanes[slot]

    def _activate(self, slot: str | None) -> None:
        """Put the slot's adapter on, or all adapters off."""
        if slot == self._active:
            return
        adapters = self._chat.model.base_model
        if slot is None:
            adapters.disable_adapter_layers()
        else:
            adapters.enable_adapter_layers()
            self._chat.model.set_adapter(slot)
        self._active = slot

    def _sweep(self, lane: Lane) -> None:
        """Let go of rows that nobody waits for, running or still in the queue."""
        lane.sweep(self._outgoing, overdue())
        with self._wake:
            for entry in [e for e in self._waiting if e[1].cancelled or e[1].overdue()]:
                self._waiting.remove(entry)
                self._outgoing.put(entry[1], overdue())

    def _admit(self, slot: str | None, lane: Lane) -> list[LaneRow]:
        """Waiting rows of this lane that fit now, in order of arrival."""
        rows = list(lane.rows)
        joining: list[LaneRow] = []
        budget = self._limits.prefill_tokens
        with self._wake:
            for entry in [e for e in self._waiting if e[0] == slot]:
                row = entry[1]
                width = max([row.room, *(r.room for r in rows)])
                fits = len(rows) < self._limits.rows and (len(rows) + 1) * width <= self._limits.cache_tokens
                budget -= len(row.prompt)
                if (rows and not fits) or (joining and budget < 0):
                    break
                self._waiting.remove(entry)
                rows.append(row)
                joining.append(row)
        return joining

    def _swap(self, adapter: Path | None) -> None:
        described, slot = None, f"promoted-{self._promotions + 1}"
        if adapter:
            described = self._describe(adapter)
            self._active = UNKNOWN
            chat = self._chat
            model = attach_adapter(chat.model, adapter, chat.model_id, slot, revision=chat.revision)
            self._chat.model = model.eval()
            self._loaded.add(slot)
        self._promotions += 1
        with self._wake:
            self._tuned = described
            self._slots = {self._names.base: None} | ({self._names.tuned: slot} if described else {})
        log.info("now serving %s", f"adapter {described.adapter_hash[:12]}" if described else "the base alone")

    def _retire(self) -> None:
        """Unload adapters that are no longer served, once their last answer is done."""
        with self._wake:
            needed = {*self._slots.values(), *(slot for slot, _ in self._waiting)}
        for slot in self._loaded - needed:
            if not self._lane(slot).rows:
                self._activate(self._slots.get(self._names.tuned))  # what is deleted must not be on
                del self._lanes[slot]
                self._loaded.remove(slot)
                self._chat.model.delete_adapter(slot)
                self._active = UNKNOWN

    def _fail_all(self, error: Refusal) -> None:
        for lane in self._lanes.values():
            lane.abort(error, self._outgoing)
        with self._wake:
            for _, row in self._waiting:
                self._outgoing.put(row, error)
            self._waiting.clear()
        self._outgoing.flush()


class RowReader:
    """The pieces of one row, read on the event loop; looks after the engine while nothing comes."""

    def __init__(self, row: LaneRow, fault: Callable[[], str]) -> None:
        self._row = row
        self._fault = fault
        self._ended = False

    def __aiter__(self) -> "RowReader":
        return self

    async def __anext__(self) -> Piece:
        if self._ended:
            raise StopAsyncIteration
        item = await self._item()
        if isinstance(item, Refusal):
            self._ended = True
            raise item
        self._ended = item.finish is not None
        return item

    async def aclose(self) -> None:
        """Let the engine drop the row at its next step."""
        self._row.cancelled = True

    async def _item(self) -> Piece | Refusal:
        while True:
            try:
                return await asyncio.wait_for(self._row.outbox.get(), timeout=1.0)
            except TimeoutError:
                if fault := self._fault():
                    return engine_down(fault)
