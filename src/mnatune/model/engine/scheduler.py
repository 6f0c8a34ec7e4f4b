"""Who is answered next: rows wait, join a lane as far as memory and loaded adapters allow, and lanes take turns.

The base and all adapters that can share a batch have one lane; an adapter that cannot (DoRA) has one of its own.
"""

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass, replace

from ...runs.errors import log_failure
from ..device import GIB, free_gb
from ..load import LoadedModel
from .adapter_shelf import AdapterShelf
from .lane import Lane
from .lane_rows import LaneRow, Outgoing
from .refusals import Refusal, busy, engine_down, overdue

log = logging.getLogger(__name__)

BATCH_LOST = Refusal(500, "the engine failed on this batch", code="engine_failure")
FREE_SHARE = 0.8  # of a card's free memory that the cache may fill; the rest is for reading prompts and for logits
RAM_SHARE = 0.25  # of the machine's free memory, where other programs live too
LEAST_CACHE, MOST_CACHE = 4_096, 262_144  # tokens
SHARED_LANE = ""
TURN = 4  # steps that a lane takes before another lane with work gets its turn


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """What the engine takes on.

    Attributes:
        rows: answers in one batch.
        waiting: requests in the queue; more are refused with 429.
        cache_tokens: rows times width of a batch, which bounds its memory; 0 takes what is free after loading.
        adapters: adapters loaded at once; one more is loaded at its next request, in place of the one used longest ago.
        prefill_tokens: prompt tokens that may join in one step, so that running answers are not held up.
        stall_seconds: a step that takes longer means that the engine is stuck.
    """

    rows: int = 32
    waiting: int = 64
    cache_tokens: int = 0
    adapters: int = 8
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
        shelf: the adapters that rows may name by their slots.
    """

    def __init__(self, loaded: LoadedModel, limits: BatchLimits) -> None:
        self.shelf = AdapterShelf(loaded, limits.adapters)
        self.wake = threading.Condition()
        self.beat = time.monotonic()
        self.faults = 0
        self._loaded = loaded
        self._limits = limits
        self._lanes: dict[str, Lane] = {}
        self._waiting: deque[LaneRow] = deque()
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

    def submit(self, row: LaneRow) -> None:
        """Let a row wait."""
        self._waiting.append(row)

    def work_off(self) -> None:
        """Answer everything that waits, on this thread; rows start together as far as `cache_tokens` allows.

        Lanes are made anew and given up at the end, so that an answer does not depend on what was asked before.
        """
        whole = replace(self._limits, rows=self._limits.cache_tokens, prefill_tokens=self._limits.cache_tokens)
        try:
            while self._waiting:
                name = self._lanes_with_work()[0]
                lane = self._lanes[name] = Lane(self._loaded)
                while lane.rows or any(self._lane_of(row) == name for row in self._waiting):
                    self._step(name, lane, whole)
        finally:
            self._lanes.clear()
            self._waiting.clear()

    def take_turns(self) -> None:
        """Some steps of every lane with work; a failing step fails the lane's rows and nobody else's."""
        for name in self._lanes_with_work():
            lane = self._lanes.setdefault(name, Lane(self._loaded))
            try:
                for _ in range(TURN):
                    self._step(name, lane, self._limits)
            except Exception as error:
                log_failure(log, "a step of the engine failed; its requests are told so", error)
                self.faults += 1
                for row in self._joining:
                    self._outgoing.put(row, BATCH_LOST)
                lane.abort(BATCH_LOST, self._outgoing)
                self._outgoing.flush()

    def at_work(self) -> set[str]:
        """Slots of the adapters that rows in lanes have."""
        return {row.slot for lane in self._lanes.values() for row in lane.rows if row.slot}

    def clear_away(self, served: set[str | None]) -> None:
        """Unload adapters that are not served any more and whose last answer is done."""
        with self.wake:
            needed = served | {row.slot for row in self._waiting} | self.at_work()
        for slot in self.shelf.slots - needed:
            self._lanes.pop(slot, None)
            self.shelf.drop(slot)

    def fail_all(self, error: Refusal) -> None:
        """Tell everybody who waits that there will be no answer."""
        for lane in self._lanes.values():
            lane.abort(error, self._outgoing)
        with self.wake:
            for row in self._waiting:
                self._outgoing.put(row, error)
            self._waiting.clear()
        self._outgoing.flush()

    def _lane_of(self, row: LaneRow) -> str:
        """The shared lane, or the slot of an adapter that has its own."""
        return SHARED_LANE if self.shelf.mixes(row.slot) else str(row.slot)

    def _lanes_with_work(self) -> list[str]:
        return sorted(
            {name for name, lane in self._lanes.items() if lane.rows} | {*map(self._lane_of, list(self._waiting))}
        )

    def _step(self, name: str, lane: Lane, limits: BatchLimits) -> None:
        """Let rows go that nobody waits for, let others join, and make one more token for each."""
        self._sweep(lane)
        self._joining = self._admit(name, lane, limits)
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
            for row in [row for row in self._waiting if row.cancelled or row.overdue()]:
                self._waiting.remove(row)
                self._outgoing.put(row, overdue())

    def _admit(self, name: str, lane: Lane, limits: BatchLimits) -> list[LaneRow]:
        """Waiting rows of this lane that fit now, in order of arrival.

        A row whose adapter finds all places taken by adapters that are at work or wanted waits, and so do the later rows of
        the adapter that was used longest ago: it makes room when its last answer is done.
        """
        count, width = len(lane.rows), max((row.room for row in lane.rows), default=0)
        joining: list[LaneRow] = []
        held: set[str] = set()
        budget, working = limits.prefill_tokens, self.at_work()
        with self.wake:
            waiting = [row for row in self._waiting if self._lane_of(row) == name]
            wanted = {row.slot for row in self._waiting if row.slot}
        for row in waiting:
            if row.slot in held:
                continue
            wide = max(width, row.room)
            fits = count < limits.rows and (count + 1) * wide <= limits.cache_tokens
            if (count and not fits) or (joining and budget < len(row.prompt)):
                break
            try:
                ready = self._ready(row.slot, working, wanted, held)
            except Exception as error:  # whatever its files or the memory lack: nobody else's answer ends with it
                log_failure(log, "an adapter cannot be loaded", error)
                with self.wake:
                    self._waiting.remove(row)
                self._outgoing.put(row, engine_down("this model cannot be loaded"))
                continue
            if not ready or self._lane_of(row) != name:  # loading may show that it needs a lane of its own
                continue
            with self.wake:
                self._waiting.remove(row)
            joining.append(row)
            count, width, budget = count + 1, wide, budget - len(row.prompt)
            working |= {row.slot} if row.slot else set()
        return joining

    def _ready(self, slot: str | None, working: set[str], wanted: set[str], held: set[str]) -> bool:
        """Have an adapter loaded, in the place of one that nobody wants, else of the one used longest ago once it is idle.

        Args:
            held: gets the adapter that is to make room, and this one while it waits for that.
        """
        if slot is None or self.shelf.ready(slot, working | wanted):
            return True
        leaving = next((other for other in self.shelf.loaded if other not in held), None)
        if leaving is not None:
            held.add(leaving)
            if leaving not in working and self.shelf.ready(slot, (working | wanted) - {leaving}):
                return True
        held.add(slot)
        return False
