"""One answer in the making, and the way of its pieces from the engine's thread to whoever waits for them."""

import asyncio
import hashlib
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from .emitter import Emitter
from .protocol import FinishReason, Piece, Sampling
from .refusals import Refusal, engine_down


@dataclass(eq=False, slots=True)
class PieceReader:
    """Where a row's pieces go while it is being made: a queue on somebody's event loop."""

    loop: asyncio.AbstractEventLoop
    outbox: "asyncio.Queue[Piece | Refusal]" = field(default_factory=asyncio.Queue)


@dataclass(eq=False, slots=True)
class LaneRow:
    """One answer in the making. The engine writes to it; `cancelled` alone is set from outside.

    Attributes:
        prompt: token ids.
        limit: new tokens at most.
        slot: of the row's adapter; None for the base.
        wall: rows behind different walls share nothing of what was read.
        emitter: turns tokens into text as they come; None where only the whole answer is wanted.
        reader: whoever waits for the pieces; None where only the whole answer is wanted.
        watched: tokens whose logits at the first position are wanted, before any penalty, in `first`.
        ended: called once, when the row has left with `finish` or `error`.
        length: tokens in the cache, prompt and answer.
        ids: the new tokens; the newest is not yet in the cache.
    """

    prompt: list[int]
    limit: int
    sampling: Sampling
    slot: str | None = None
    wall: str = ""
    emitter: Emitter | None = None
    reader: PieceReader | None = None
    deadline: float = float("inf")
    watched: Sequence[int] = ()
    ended: "Callable[[LaneRow], None] | None" = None
    cancelled: bool = False
    length: int = 0
    ids: list[int] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    finish: FinishReason | None = None
    error: Refusal | None = None

    @property
    def room(self) -> int:
        """Tokens that the row may come to hold."""
        return len(self.prompt) + self.limit

    def overdue(self) -> bool:
        """True once the deadline has passed."""
        return time.monotonic() > self.deadline

    @property
    def prompt_hash(self) -> str:
        """Hash of the prompt's token ids."""
        return hashlib.sha256(array("q", self.prompt).tobytes()).hexdigest()


class Outgoing:
    """Pieces collected during a step and handed to each event loop in one call."""

    def __init__(self) -> None:
        self._mail: dict[asyncio.AbstractEventLoop, list[tuple[PieceReader, Piece | Refusal]]] = {}

    def put(self, row: LaneRow, item: Piece | Refusal) -> None:
        """Add an item for a row's reader; a last one ends the row."""
        if isinstance(item, Refusal):
            row.error = item
        else:
            row.finish = item.finish
        if row.reader and not row.cancelled:
            self._mail.setdefault(row.reader.loop, []).append((row.reader, item))
        if row.ended and (row.error or row.finish):
            row.ended(row)

    def flush(self) -> None:
        """Deliver; a loop that is closed has no readers any more."""
        for loop, mail in self._mail.items():
            try:
                loop.call_soon_threadsafe(_deliver, mail)
            except RuntimeError:
                continue
        self._mail = {}


def _deliver(mail: list[tuple[PieceReader, Piece | Refusal]]) -> None:
    for reader, item in mail:
        reader.outbox.put_nowait(item)


class RowPieces:
    """The pieces of one row, read on the event loop; looks after the engine while nothing comes."""

    def __init__(self, row: LaneRow, reader: PieceReader, fault: Callable[[], str]) -> None:
        self._row = row
        self._reader = reader
        self._fault = fault
        self._ended = False

    def __aiter__(self) -> "RowPieces":
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
                return await asyncio.wait_for(self._reader.outbox.get(), timeout=1.0)
            except TimeoutError:
                if fault := self._fault():
                    return engine_down(fault)
