"""Who is answered next: rows wait, join a lane as far as memory allows, and lanes take turns."""

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass, replace

from ...runs.errors import log_failure
from ..device import GIB, free_gb
from ..load import LoadedModel
from .lane import Lane
from .lane_rows import LaneRow, Outgoing
from .refusals import Refusal, busy, overdue

log = logging.getLogger(__name__)

BATCH_LOST = Refusal(500, "the engine failed on this batch", code="engine_failure")
FREE_SHARE = 0.8  # of a card's free memory that the cache may fill; the rest is for reading prompts and for logits
RAM_SHARE = 0.25  # of the machine's free memory, where other programs live too
LEAST_CACHE, MOST_CACHE = 4_096, 262_144  # tokens
TURN = 4  # steps that a lane takes before another lane with work gets its turn


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """What the engine takes on.

    Attributes:
        rows: answers in one batch.
        waiting: requests in the queue; more are refused with 429.
        cache_tokens: rows times width of a batch, which bounds its memory; 0 takes what is free after loading.
        prefill_tokens: prompt tokens that may join in one step, so that running answers are not held up.
        stall_seconds: a step that takes longer means that the engine is stuck.
    """

    rows: int = 32
    waiting: int = 64
    cache_tokens: int = 0
    prefill_tokens: int = 4_096
    stall_seconds: float = 120.0


def fitted(limits: BatchLimits, loaded: LoadedModel) -> BatchLimits:
    """The limits with a cache that fits the memory that is free now, after loading."""
    if limits.cache_tokens:
        return limits
    share = FREE_SHARE if loaded.device.type == "cuda" else RAM_SHARE
    tokens = int(share * free_gb() * GIB / loaded.cache_bytes_per_token)
    return replace(limits, cache_tokens=min(max(tokens, LEAST_CACHE), MOST_CACHE))


class Scheduler:
    """The queue and the lanes of one loaded model; one thread at a time works, any thread may submit.

    Attributes:
        wake: notified when there is new work; hold it to change what is served.
        beat: `time.monotonic()` of the last step.
        faults: batches lost.
    """

    def __init__(self, loaded: LoadedModel, limits: BatchLimits) -> None:
        self.wake = threading.Condition()
        self.beat = time.monotonic()
        self.faults = 0
        self._loaded = loaded
        self._limits = limits
        self._lanes: dict[str | None, Lane] = {}
        self._waiting: deque[tuple[str | None, LaneRow]] = deque()
        self._joining: list[LaneRow] = []
        self._outgoing = Outgoing()

    @property
    def waiting(self) -> int:
        """Rows in the queue."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Rows in lanes."""
        return sum(len(lane.rows) for lane in list(self._lanes.values()))

    def busy(self) -> bool:
        """True while a row waits or runs."""
        return bool(self._waiting or any(lane.rows for lane in list(self._lanes.values())))

    def refuse_if_full(self) -> None:
        """Raise 429 if no row may wait any more."""
        if len(self._waiting) >= self._limits.waiting:
            raise busy()

    def submit(self, slot: str | None, row: LaneRow) -> None:
        """Let a row wait for the lane of an adapter's slot (None: the base)."""
        self._waiting.append((slot, row))

    def work_off(self) -> None:
        """Answer everything that waits, on this thread; rows start together as far as `cache_tokens` allows.

        Lanes are made anew and given up at the end, so that an answer does not depend on what was asked before.
        """
        whole = BatchLimits(
            rows=self._limits.cache_tokens,
            cache_tokens=self._limits.cache_tokens,
            prefill_tokens=self._limits.cache_tokens,
        )
        try:
            while self._waiting:
                slot = self._slots_with_work()[0]
                lane = Lane(self._loaded)
                self._lanes[slot] = lane
                self._loaded.activate(slot)
                while lane.rows or any(entry[0] == slot for entry in self._waiting):
                    self._step(slot, lane, whole)
        finally:
            self._lanes.clear()
            self._waiting.clear()

    def take_turns(self) -> None:
        """Some steps of every lane with work; a failing step fails the lane's rows and nobody else's."""
        for slot in self._slots_with_work():
            lane = self._lanes.setdefault(slot, Lane(self._loaded))
            try:
                self._loaded.activate(slot)
                for _ in range(TURN):
                    self._step(slot, lane, self._limits)
            except Exception as error:
                log_failure(log, "a step of the engine failed; its requests are told so", error)
                self.faults += 1
                for row in self._joining:
                    self._outgoing.put(row, BATCH_LOST)
                lane.abort(BATCH_LOST, self._outgoing)
                self._outgoing.flush()

    def idle_slots(self, slots: set[str], served: set[str | None]) -> set[str]:
        """Those of `slots` that are not served any more and whose last answer is done; their lanes are given up."""
        with self.wake:
            needed = served | {slot for slot, _ in self._waiting}
        idle = {slot for slot in slots - needed if not (slot in self._lanes and self._lanes[slot].rows)}
        for slot in idle:
            self._lanes.pop(slot, None)
        return idle

    def fail_all(self, error: Refusal) -> None:
        """Tell everybody who waits that there will be no answer."""
        for lane in self._lanes.values():
            lane.abort(error, self._outgoing)
        with self.wake:
            for _, row in self._waiting:
                self._outgoing.put(row, error)
            self._waiting.clear()
        self._outgoing.flush()

    def _slots_with_work(self) -> list[str | None]:
        """The active lane first, so that the adapter is switched as seldom as can be."""
        slots = {slot for slot, lane in self._lanes.items() if lane.rows} | {slot for slot, _ in list(self._waiting)}
        return sorted(slots, key=lambda slot: (not self._loaded.is_on(slot), slot or ""))

    def _step(self, slot: str | None, lane: Lane, limits: BatchLimits) -> None:
        """Let rows go that nobody waits for, let others join, and make one more token for each."""
        self._sweep(lane)
        self._joining = self._admit(slot, lane, limits)
        if self._joining:
            lane.join(self._joining, self._outgoing)
            self._joining = []
        if lane.rows:
            lane.step(self._outgoing)
        self._outgoing.flush()
        self.beat = time.monotonic()

    def _sweep(self, lane: Lane) -> None:
        """Let go of rows that nobody waits for, running or still in the queue."""
        lane.sweep(self._outgoing, overdue())
        with self.wake:
            for entry in [e for e in self._waiting if e[1].cancelled or e[1].overdue()]:
                self._waiting.remove(entry)
                self._outgoing.put(entry[1], overdue())

    def _admit(self, slot: str | None, lane: Lane, limits: BatchLimits) -> list[LaneRow]:
        """Waiting rows of this lane that fit now, in order of arrival."""
        count, width = len(lane.rows), max((row.room for row in lane.rows), default=0)
        joining: list[LaneRow] = []
        budget = limits.prefill_tokens
        with self.wake:
            for entry in [e for e in self._waiting if e[0] == slot]:
                row = entry[1]
                width = max(width, row.room)
                fits = count < limits.rows and (count + 1) * width <= limits.cache_tokens
                budget -= len(row.prompt)
                if (count and not fits) or (joining and budget < 0):
                    break
                self._waiting.remove(entry)
                count += 1
                joining.append(row)
        return joining
