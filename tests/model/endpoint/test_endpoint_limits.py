"""Rates, adaptive concurrency, breaker, Retry-After and reply checks, on a clock of their own."""

import asyncio
import json
import time
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnatune.model.endpoint import BadReply, Clock, Tally, check_flat, json_in, meter
from mnatune.model.endpoint.limits import BREAKER_FAULTS, Breaker, CallGate, TokenBucket
from mnatune.model.endpoint.meter import LINE_SECONDS, described
from mnatune.model.endpoint.tally import CallUsage
from mnatune.model.endpoint.wire import LONGEST_PAUSE, retry_after

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner), max_leaves=8
)


class Still(Clock):
    """A clock that moves only when somebody waits."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += max(0.0, seconds)
        await asyncio.sleep(0)


@given(st.lists(st.integers(1, 500), min_size=1, max_size=60), st.integers(60, 6000))
def test_a_bucket_never_gives_more_than_its_rate_and_one_burst(units: list[int], per_minute: int) -> None:
    clock = Still()
    bucket = TokenBucket(per_minute, clock)

    async def drain() -> None:
        for unit in units:
            await bucket.take(unit)

    asyncio.run(drain())
    burst = max(1.0, per_minute / 60 * 5)
    assert sum(units) <= burst + clock.time * per_minute / 60 + 1e-6


def test_the_gate_halves_once_per_generation_and_grows_back() -> None:
    async def play() -> list[float]:
        clock = Still()
        gate = CallGate(16, clock)
        early = [await gate.enter() for _ in range(16)]
        clock.time = 1.0
        for entered in early:  # sixteen refusals of one generation are one halving
            gate.crowded(entered)
            gate.leave()
        limits = [gate.limit]
        clock.time = 2.0
        gate.crowded(await gate.enter())
        gate.leave()
        limits.append(gate.limit)
        for _ in range(1000):
            gate.succeeded()
        return [*limits, gate.limit]

    assert asyncio.run(play()) == [8.0, 4.0, 16.0]


def test_a_pause_keeps_everybody_out() -> None:
    async def play() -> float:
        clock = Still()
        gate = CallGate(4, clock)
        gate.pause(7)
        return await gate.enter()

    assert asyncio.run(play()) == 7.0


def test_the_breaker_lets_one_probe_through_and_closes_on_success() -> None:
    async def play() -> tuple[bool, float, bool]:
        clock = Still()
        breaker = Breaker(clock)
        for _ in range(BREAKER_FAULTS):
            breaker.failed()
        opened = breaker.is_open
        await breaker.ready()  # the probe
        waited = clock.time
        breaker.succeeded()
        return opened, waited, breaker.is_open

    assert asyncio.run(play()) == (True, 1.0, False)


@given(st.text(max_size=30))
def test_retry_after_is_none_or_within_bounds(value: str) -> None:
    pause = retry_after(value)
    assert pause is None or 0 <= pause <= LONGEST_PAUSE


def test_retry_after_reads_seconds_and_dates() -> None:
    assert retry_after("3") == 3.0
    assert retry_after("nan") is None
    assert 50 < (retry_after(formatdate(time.time() + 60, usegmt=True)) or 0) <= 60


@given(JSON)
def test_any_json_is_accepted_or_refused_never_a_crash(value: object) -> None:
    schema = {"properties": {"a": {"type": "integer", "enum": [0, 1]}, "b": {"type": "string"}}, "required": ["a", "b"]}
    try:
        parsed, _ = json_in(json.dumps({"a": value, "b": "x"}))
        outcome = check_flat(parsed, schema)["a"]
    except BadReply as bad:
        outcome = bad.code
    assert outcome in (0, 1, "bad-a", "missing-a", "bad-json")


@given(st.text())
def test_text_without_json_is_refused(text: str) -> None:
    with pytest.raises(BadReply):
        json_in(text.replace("{", ""))


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(BadReply):
        json_in('{"a":' + "[" * 100_000)


@pytest.mark.parametrize("score", ["85/100", 150, None, True, 4.5, "네", -1])
def test_scores_that_are_none_are_refused(score: object) -> None:
    schema = {"properties": {"s": {"type": "integer", "minimum": 0, "maximum": 100}}, "required": ["s"]}
    with pytest.raises(BadReply):
        check_flat({"s": score}, schema)


def test_progress_tells_rate_cost_and_time_left() -> None:
    tally = Tally(done=3_000, cached=1_000, paid=CallUsage(2_100, 900_000, 100_000, 1.5), seconds=100.0)
    tally.failed["no-json"] = 7
    line = described(tally, 20_000, "judging")  # 2,000 asked in 100 s; 17,000 to go
    assert line == ("  judging: 3,000 of 20,000 rows, 20.0 rows/s, 1,000,000 tokens, cost 1.50, failed 7, 0:14:10 left")
    assert "left" not in described(Tally(done=5, cached=5), 20, "judging")


def test_without_a_terminal_progress_is_a_line_at_once_and_then_one_a_minute(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with meter(1000, "judging") as tell:
        assert capsys.readouterr().err == "  judging: 1,000 rows, waiting for the first reply\n"
        for done in range(1000):
            now += 0.25
            tell(Tally(done=done, seconds=now))
    assert len(capsys.readouterr().err.splitlines()) == 250 // LINE_SECONDS
