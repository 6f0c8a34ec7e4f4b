"""How fast an endpoint may be asked, and when to give up: rates, adaptive concurrency, a breaker, refusals, a spend cap.

All waiting goes through a `Clock`, so that tests can let minutes pass in milliseconds.
"""

import asyncio
import re
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from .tally import CallUsage

BURST_SECONDS = 5.0  # capacity of a bucket, so that a pause is not followed by a flood
BREAKER_FAULTS = 5  # transport faults in a row that open the breaker; fewer than a row may have
PROBE_FIRST, PROBE_LONGEST = 1.0, 60.0  # seconds between two probes of a broken endpoint, doubling
PATIENCE = 1800.0  # seconds without any success after which asking is given up
ALIKE_AT_FIRST = 20  # identical refusals in a row, before any answer, after which asking ends …
ALIKE_LATER = 300  # … and after answers, where refusals of overlong prompts do not count
TOO_LONG = re.compile(r"context|too (?:long|many tokens)|exceed", re.IGNORECASE)


class Clock:
    """Time as the endpoint client sees it."""

    def now(self) -> float:
        """Seconds, monotonic."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait; always lets other tasks run."""
        await asyncio.sleep(max(0.0, seconds))


class TokenBucket:
    """At most `per_minute` units a minute; taking more than is available waits until the debt is paid off."""

    def __init__(self, per_minute: float, clock: Clock) -> None:
        self._rate = per_minute / 60
        self._most = max(1.0, self._rate * BURST_SECONDS)
        self._level = self._most
        self._clock = clock
        self._seen = clock.now()

    async def take(self, units: float) -> None:
        """Wait until `units` may be used."""
        self._refill()
        self._level -= units
        if self._level < 0:
            await self._clock.sleep(-self._level / self._rate)

    def give_back(self, units: float) -> None:
        """Return what an estimate took too much; a negative number takes the difference."""
        self._refill()
        self._level = min(self._most, self._level + units)

    def _refill(self) -> None:
        now = self._clock.now()
        self._level = min(self._most, self._level + (now - self._seen) * self._rate)
        self._seen = now


class CallGate:
    """Calls in flight: additive increase on success, halved on "too many requests" (AIMD), and pauses.

    A halving counts once per generation of calls: a reply to a call that started before the last one says nothing new.
    """

    def __init__(self, most: int, clock: Clock) -> None:
        self.limit = float(most)
        self.in_flight = 0
        self._most = most
        self._clock = clock
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._halved_at = float("-inf")
        self._open_at = float("-inf")
        self._started = self._changed = clock.now()
        self._area = 0.0

    async def enter(self) -> float:
        """Wait for a place; returns the time of entry, to be handed to `crowded`."""
        while True:
            pause = self._open_at - self._clock.now()
            if pause > 0:
                await self._clock.sleep(pause)
            elif self.in_flight >= int(self.limit):
                place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._waiting.append(place)
                await place
            else:
                self._count(+1)
                return self._clock.now()

    def leave(self) -> None:
        """Free a place and wake those who may now enter."""
        self._count(-1)
        self._wake()

    def succeeded(self) -> None:
        """Raise the limit by one per `limit` successes."""
        self.limit = min(float(self._most), self.limit + 1 / self.limit)

    def crowded(self, entered: float) -> None:
        """The endpoint said "too many": halve the limit."""
        if entered > self._halved_at:
            self.limit = max(1.0, self.limit / 2)
            self._halved_at = self._clock.now()

    def pause(self, seconds: float) -> None:
        """Let nobody in for that long, as Retry-After asks."""
        self._open_at = max(self._open_at, self._clock.now() + seconds)

    @property
    def busy(self) -> float:
        """Mean share of the configured concurrency that was in flight so far."""
        now = self._clock.now()
        span = (now - self._started) * self._most
        return (self._area + (now - self._changed) * self.in_flight) / span if span > 0 else 0.0

    def _count(self, change: int) -> None:
        now = self._clock.now()
        self._area += (now - self._changed) * self.in_flight
        self._changed = now
        self.in_flight += change

    def _wake(self) -> None:
        free = int(self.limit) - self.in_flight
        while free > 0 and self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                free -= 1


class Breaker:
    """Stops asking an endpoint that fails again and again; lets single probes through until one succeeds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._faults = 0
        self._probe_after = 0.0
        self._wait = PROBE_FIRST
        self._probing = False
        self._trouble_since: float | None = None

    @property
    def is_open(self) -> bool:
        """True while only probes may pass."""
        return self._faults >= BREAKER_FAULTS

    @property
    def given_up(self) -> bool:
        """True if there has been trouble, and no success, for `PATIENCE` seconds."""
        return self._trouble_since is not None and self._clock.now() - self._trouble_since > PATIENCE

    async def ready(self) -> None:
        """Wait while the breaker is open, unless it is this caller's turn to probe."""
        while self.is_open and not self.given_up:
            wait = self._probe_after - self._clock.now()
            if wait <= 0 and not self._probing:
                self._probing = True
                return
            await self._clock.sleep(max(wait, 0.05))

    def succeeded(self) -> None:
        """The endpoint answered: close."""
        self._faults, self._wait, self._probing = 0, PROBE_FIRST, False
        self._trouble_since = None

    def failed(self) -> None:
        """A transport fault: count it, and space the probes out."""
        self._faults += 1
        if self.is_open:
            self._wait = min(PROBE_LONGEST, self._wait * 2) if self._probing else self._wait
            self._probe_after = self._clock.now() + self._wait
        self.crowded()

    def crowded(self) -> None:
        """The endpoint said "too many requests": it is there, but that is no success."""
        self._probing = False
        if self._trouble_since is None:
            self._trouble_since = self._clock.now()


class Refusals:
    """Tells an endpoint that refuses every call alike from one that cannot take some of the rows."""

    def __init__(self) -> None:
        self._answered = False
        self._words = ""
        self._count = 0

    def answered(self) -> None:
        """A call was answered, now or in an earlier run whose reply is in the ledger."""
        self._answered = True
        self._count = 0

    def hopeless(self, name: str, detail: str) -> bool:
        """Count a refusal; True if enough with the same words (numbers aside) have come in a row."""
        words = f"{name} {re.sub(r'[0-9]+', '#', detail)}"
        self._count = self._count + 1 if words == self._words else 1
        self._words = words
        if not self._answered:
            return self._count >= ALIKE_AT_FIRST
        return self._count >= ALIKE_LATER and not TOO_LONG.search(detail)


class Budget:
    """A cap on money. What is in flight counts at its highest possible price."""

    def __init__(self, max_cost: float, spent: CallUsage) -> None:
        self._max_cost = max_cost or float("inf")
        self.spent = spent
        self._reserved = CallUsage()

    def allows(self, most: CallUsage) -> bool:
        """True if a call that needs `most` cannot break the cap."""
        return (self.spent + self._reserved + most).cost <= self._max_cost

    @contextmanager
    def reserved(self, most: CallUsage) -> Iterator[None]:
        """Hold the price of a call while it is in flight."""
        self._reserved = self._reserved + most
        try:
            yield
        finally:
            self._reserved = self._reserved + CallUsage(-most.calls, -most.tokens_in, -most.tokens_out, -most.cost)

    def pay(self, usage: CallUsage) -> None:
        """Add what a call really used."""
        self.spent = self.spent + usage
