"""`Endpoint`: asks many questions concurrently; each is paid for once and ends in exactly one state."""

import asyncio
import math
import random
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ...runs.errors import EnvironmentFault, MnatuneError, UsageError
from ...runs.recipe import EndpointSection
from ..prompt import Message
from .dialects import DIALECTS, Ask, Check, Outcome, request_body
from .ledger import Ledger, LedgerEntry
from .limits import Breaker, Budget, CallGate, Clock, Refusals, TokenBucket
from .replies import BadReply
from .tally import CallUsage, Tally
from .wire import KEY_VARIABLE, Fault, Reply, Wire, guess_tokens

ROW_ATTEMPTS = 6  # transport faults of one request before it is given up
LOST = ("no-connection", "reset")
BACKOFF_FIRST, BACKOFF_LONGEST = 0.5, 30.0
QUOTED_CHARS = 2000  # of an unusable reply, quoted in the repair request
CACHED_BATCH = 500  # rows from the ledger between two turns of the event loop
TICK = 5.0  # seconds between progress updates while no row is settled


class Endpoint:
    """An endpoint of the recipe, with its ledger.

    Args:
        section: where and how fast to ask, at which price.
        run: name under which spending is summed up against the cap, the run folder's path.
        ledger: the open ledger; None opens `section.ledger`.
        clock: replaced in tests.
    """

    def __init__(
        self, section: EndpointSection, run: str, ledger: Ledger | None = None, clock: Clock | None = None
    ) -> None:
        if not section.base_url or not section.model:
            step = "set endpoint.base_url and endpoint.model, or judge.scorer: lexicon"
            raise UsageError("the recipe names no endpoint to ask", where="endpoint", next_step=step)
        if urlsplit(section.base_url).username is not None:
            raise UsageError(
                "endpoint.base_url holds a user name or password",
                where="endpoint.base_url",
                next_step=f"take it out and export {KEY_VARIABLE}=…",
            )
        self.section = section
        self.ledger = ledger or Ledger(Path(section.ledger))
        self.model = section.model
        self._run = run
        self._clock = clock or Clock()

    def ask(
        self,
        asks: Iterable[Ask],
        each: Callable[[Outcome], None] = lambda outcome: None,
        tell: Callable[[Tally], None] = lambda tally: None,
        *,
        afresh: bool = False,
    ) -> Tally:
        """Ask everything and return the tally. Also works inside a notebook's running event loop.

        Args:
            asks: taken one by one as places become free, so that memory stays flat.
            each: called once per ask, in the order in which they are settled; a `MnatuneError` that it raises ends the
                asking as soon as the calls in flight have been paid.
            tell: called with the running tally after every outcome, and now and then while there is none.
            afresh: ask even what the ledger has, and do not record it (for canaries).

        Raises:
            EnvironmentFault: the spend cap is reached, the key or every call is refused, or nothing answers any more.
                What has been paid is in the ledger; the same call goes on from there.
        """
        work = _Round(self, each, tell, afresh)
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(work.go(iter(asks)))
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, work.go(iter(asks))).result()


class _Round:
    """One call of `Endpoint.ask`: the workers and what they share."""

    def __init__(
        self, endpoint: Endpoint, each: Callable[[Outcome], None], tell: Callable[[Tally], None], afresh: bool
    ) -> None:
        section, clock = endpoint.section, endpoint._clock
        self._endpoint, self._each, self._tell, self._afresh = endpoint, each, tell, afresh
        self._ledger, self._run, self._clock = endpoint.ledger, endpoint._run, clock
        self._gate = CallGate(section.concurrency, clock)
        self._breaker = Breaker(clock)
        self._refusals = Refusals()
        self._requests = TokenBucket(section.per_minute[0], clock)
        self._tokens = TokenBucket(section.per_minute[1], clock)
        self._budget = Budget(section.max_cost, self._ledger.spent(self._run))
        self._dialect = 0
        self._spoken = len(DIALECTS)  # the first dialect in which a call has succeeded
        self._halt: MnatuneError | None = None
        self._workers: list[asyncio.Task[None]] = []
        self._calling: set[asyncio.Task[Any] | None] = set()
        self._random = random.Random(0)
        self._dearer = 1.0  # largest ratio of real to guessed prompt tokens so far
        self._started = clock.now()
        self.tally = Tally()

    async def go(self, asks: Iterator[Ask]) -> Tally:
        self._wire = Wire(self._endpoint.section)
        workers = [asyncio.create_task(self._work(asks)) for _ in range(self._endpoint.section.concurrency)]
        ticker, self._workers = asyncio.create_task(self._tick()), workers
        try:
            await asyncio.wait(workers, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for task in (*workers, ticker):
                task.cancel()
            ended = await asyncio.gather(*workers, ticker, return_exceptions=True)
            await self._wire.close()
            self._ledger.commit()
            self._refresh()
        for error in (self._halt, *ended):
            if isinstance(error, Exception):
                raise error
        return self.tally

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            self._refresh()
            self._tell(self.tally)

    async def _work(self, asks: Iterator[Ask]) -> None:
        for ask in asks:
            if self._halt:
                return
            entry = None if self._afresh else self._ledger.find(ask.key)
            if entry:
                self._refusals.answered()
                self._finish(ask, entry, cached=True)
                if self.tally.cached % CACHED_BATCH == 0:
                    await self._clock.sleep(0)
                continue
            entry = await self._settle(ask)
            if entry is None:
                return
            self._finish(ask, entry, cached=False)

    def _finish(self, ask: Ask, entry: LedgerEntry, *, cached: bool) -> None:
        self.tally.done += 1
        self.tally.cached += cached
        if entry.state == "ok":
            self.tally.how[entry.how] += 1
        else:
            self.tally.failed[entry.code] += 1
        self._refresh()
        try:
            self._each(Outcome(ask.key, entry.state, entry.code, entry.how, entry.value, cached))
        except MnatuneError as error:
            self._stop(error)
        self._tell(self.tally)

    def _refresh(self) -> None:
        self.tally.seconds = self._clock.now() - self._started
        self.tally.busy = self._gate.busy

    async def _settle(self, ask: Ask) -> LedgerEntry | None:
        """Ask, and once more after an unusable reply; None if all asking has come to a halt."""
        messages, limit, code = ask.messages, ask.max_tokens, ""
        for turn in ("clean", "repaired"):
            reply = await self._reply(ask, messages, limit, turn)
            if reply is None:
                return None
            if isinstance(reply, Fault):
                if not code or reply.kind != "refused":
                    # not recorded: the next run asks again
                    return LedgerEntry("failed", f"http-{reply.name}", "", {})
                break  # the repair request is too long for the server: the first reply's fault stands
            if ask.check is None:
                value = {"text": reply.text, "stopped": not reply.cut}
                entry = LedgerEntry("ok", "", "tolerated" if self._dialect else "clean", value)
                self._record(ask, reply.usage, entry)
                return entry
            try:
                value, clean = self._checked(ask.check, reply)
            except BadReply as bad:
                code = bad.code
                limit = 2 * ask.max_tokens if reply.cut else limit
                self._record(ask, reply.usage, None)
                said: Message = {"role": "assistant", "content": reply.text[:QUOTED_CHARS] or "(빈 답)"}
                wish: Message = {"role": "user", "content": ask.repair.replace("{error}", bad.what)}
                messages = [*ask.messages, said, wish]
            else:
                entry = LedgerEntry("ok", "", turn if turn == "repaired" or clean else "tolerated", value)
                self._record(ask, reply.usage, entry)
                return entry
        failed = LedgerEntry("failed", code, "", {})
        self._record(ask, CallUsage(), failed)
        return failed

    @staticmethod
    def _checked(check: Check, reply: Reply) -> tuple[dict[str, Any], bool]:
        try:
            return check(reply.text)
        except BadReply as bad:
            raise BadReply("cut", "답이 도중에 끊겼습니다. 더 짧게 쓰십시오") if reply.cut else bad from None

    def _record(self, ask: Ask, usage: CallUsage, entry: LedgerEntry | None) -> None:
        """Book the call and, if the row is settled, its reply; one commit for all replies of this turn of the loop."""
        if self._ledger.begin():
            asyncio.get_running_loop().call_soon(self._ledger.commit)
        self._ledger.pay(self._run, usage)
        if entry and not self._afresh:
            self._ledger.record(ask.key, entry)
        self._budget.pay(usage)
        self.tally.paid = self.tally.paid + usage

    async def _reply(self, ask: Ask, messages: list[Message], limit: int, turn: str) -> Reply | Fault | None:
        """An answered call, a lasting fault of this request, or None when all asking has come to a halt."""
        attempts = 0
        while not self._halt:
            await self._breaker.ready()
            if self._breaker.given_up:
                self._stop(self._unreachable())
                return None
            was_open, dialect = self._breaker.is_open, self._dialect
            result = await self._call(ask, messages, limit, turn)
            if result is None or isinstance(result, Reply):
                return result
            self.tally.faults[result.name] += 1
            if result.kind != "refused":
                self.tally.refusal = result.detail or self.tally.refusal
            if result.kind == "fatal":
                self._stop(result.error or self._unreachable())
                return None
            if result.name == "no-completion" and self._refusals.hopeless(result.name, result.detail):
                self._stop(self._refused_alike(result))
                return None
            if result.kind == "refused":
                if dialect >= min(self._spoken, len(DIALECTS) - 1):
                    self.tally.refusal = result.detail
                    if self._refusals.hopeless(result.name, result.detail):
                        self._stop(self._refused_alike(result))
                    return result
                # without a schema all dialects but the last are the same
                following = dialect + 1 if ask.schema is not None else len(DIALECTS) - 1
                self._dialect = max(self._dialect, following)
                continue
            gone = was_open or self._breaker.is_open  # then a lost connection is no fault of this row
            attempts += result.kind == "transport" and not (gone and result.name in LOST)
            if attempts >= ROW_ATTEMPTS:
                return result
            if result.pause is None and not self._halt:
                wait = min(BACKOFF_LONGEST, BACKOFF_FIRST * 2 ** min(attempts, 10))
                await self._clock.sleep(wait * self._random.uniform(0.5, 1.0))
        return None

    async def _call(self, ask: Ask, messages: list[Message], limit: int, turn: str) -> Reply | Fault | None:
        """One call through all limits; None if the budget does not allow it."""
        dialect, result = self._dialect, None
        body = request_body(ask, self._endpoint.model, messages, limit, DIALECTS[dialect])
        guess = guess_tokens(body["messages"])
        most = self._wire.priced(math.ceil(guess * self._dearer), limit)
        await self._requests.take(1)
        await self._tokens.take(most.tokens)
        entered = await self._gate.enter()
        try:
            if self._halt or not self._budget.allows(most):
                self._stop(self._over_budget())
                return None
            self._calling.add(asyncio.current_task())
            with self._budget.reserved(most):
                once = f"-{self._clock.now()}" if self._afresh else ""
                result = await self._wire.call(body, f"{ask.key}-{turn}{once}")
            self._learn(result, entered)
            if isinstance(result, Reply):
                self._dearer = max(self._dearer, result.usage.tokens_in / guess)
                self._spoken = min(self._spoken, dialect)
                self._dialect = min(self._dialect, self._spoken)
                self._refusals.answered()
            return result
        finally:
            self._calling.discard(asyncio.current_task())
            self._gate.leave()
            self._tokens.give_back(most.tokens - (result.usage.tokens if isinstance(result, Reply) else 0))

    def _learn(self, result: Reply | Fault, entered: float) -> None:
        """Tell the limits what a call has shown about the endpoint."""
        if isinstance(result, Reply) or result.kind == "refused":
            self._breaker.succeeded()
            self._gate.succeeded()
        elif result.kind == "crowded":
            self._breaker.crowded()
            self._gate.crowded(entered)
        else:
            self._breaker.failed()
        if isinstance(result, Fault) and result.pause is not None:
            self._gate.pause(result.pause)

    def _stop(self, error: MnatuneError) -> None:
        """Ask nothing more: let calls in flight finish, and cancel workers that wait for a limit or the breaker."""
        self._halt = self._halt or error
        for worker in self._workers:
            if worker not in self._calling and worker is not asyncio.current_task():
                worker.cancel()

    def _refused_alike(self, fault: Fault) -> EnvironmentFault:
        how = "" if fault.name == "no-completion" else f" ({fault.name})"
        return EnvironmentFault(
            f"the endpoint refuses every call alike{how}: {fault.detail or 'without a word'}",
            where=f"{self._endpoint.section.base_url}, model {self._endpoint.model}",
            next_step="correct endpoint.base_url or endpoint.model by what it says; what is paid is kept",
        )

    def _over_budget(self) -> EnvironmentFault:
        spent, section = self._budget.spent, self._endpoint.section
        return EnvironmentFault(
            f"the spend cap is reached: {spent.calls:,} calls, {spent.tokens:,} tokens, cost {spent.cost:,.4f}"
            f" (endpoint.max_cost {section.max_cost:g})",
            where=str(self._ledger.path),
            next_step="raise the cap or choose judge.scorer: cascade, then run again; what is paid is kept",
        )

    def _unreachable(self) -> EnvironmentFault:
        return EnvironmentFault(
            f"the endpoint has not answered for a long time ({dict(self.tally.faults)}) {self.tally.refusal}".rstrip(),
            where=self._endpoint.section.base_url,
            next_step="check the server and the network, then run again; what is paid is kept",
        )
