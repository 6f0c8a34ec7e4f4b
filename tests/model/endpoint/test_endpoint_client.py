"""The endpoint client against a server that misbehaves on purpose: one state per row, nothing paid twice."""

import asyncio
import json
import multiprocessing
import os
import signal
import sqlite3
import time
from collections import Counter
from pathlib import Path

import pytest

from mnatune.model.endpoint import Ask, BadReply, Clock, Endpoint, Ledger, check_flat, json_in, ledger_key
from mnatune.model.endpoint.fake import FORMAT_FAULTS, Body, FakeEndpoint, seeded_faults
from mnatune.runs.errors import EnvironmentFault, UsageError
from mnatune.runs.recipe import EndpointSection

SCHEMA = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "reason": {"type": "string"},
        "score": {"type": "integer", "maximum": 100},
    },
    "required": ["id", "reason", "score"],
}


class FastClock(Clock):
    """A hundred seconds in one."""

    def now(self) -> float:
        return time.monotonic() * 100

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds) / 100)


def reply(body: Body) -> str:
    row = body["messages"][-1 if len(body["messages"]) == 1 else 0]["content"].split()[-1]
    return json.dumps({"id": row, "reason": "까닭", "score": len(row)})


def ask(row: str) -> Ask:
    def check(text: str) -> tuple[dict, bool]:
        value, clean = json_in(text)
        checked = check_flat(value, SCHEMA)
        if checked["id"] != row:
            raise BadReply("wrong-id", "id")
        return checked, clean

    return Ask(ledger_key(row), [{"role": "user", "content": f"평가할 행의 번호: {row}"}], SCHEMA, check)


def opened(server: FakeEndpoint, folder: Path, **more: object) -> Endpoint:
    section = EndpointSection.model_validate(
        {
            "base_url": server.base_url,
            "model": "m",
            "timeout": 2.0,
            "ledger": str(folder / "ledger.sqlite3"),
            "per_minute": (10**9, 10**12),
        }
        | more
    )
    return Endpoint(section, "run", clock=FastClock())


def test_ten_percent_faults_leave_every_row_in_one_state(tmp_path: Path) -> None:
    rows, rate = [f"r{n}" for n in range(1000)], 0.1
    states: Counter[str] = Counter()
    with FakeEndpoint(reply, seeded_faults(rate)) as server:
        endpoint = opened(server, tmp_path, timeout=0.5)
        tally = endpoint.ask(map(ask, rows), lambda outcome: states.update([outcome.key]))
        assert len(states) == 1000
        assert set(states.values()) == {1}
        assert sum(tally.how.values()) + sum(tally.failed.values()) == tally.done == 1000
        assert set(tally.failed) <= {"no-json", "bad-json", "bad-score", "missing-reason", "wrong-id", "cut"}
        assert sum(tally.failed.values()) <= 10  # two bad replies in a row
        assert {"429", "500", "502", "503", "reset"} <= set(tally.faults)
        assert tally.how["repaired"] > 0
        assert tally.how["tolerated"] > 0
        assert server.served.paid <= 1000 * (1 + rate) + 10
        before = server.served.calls
        again = endpoint.ask(map(ask, rows))
        assert server.served.calls == before
        assert (again.cached, again.failed) == (1000, tally.failed)


@pytest.mark.parametrize("name", [n for n in FORMAT_FAULTS if n != "prose"])
def test_a_reply_that_stays_bad_fails_after_one_repair(name: str, tmp_path: Path) -> None:
    with FakeEndpoint(reply, lambda row, seen: name) as server:
        tally = opened(server, tmp_path).ask([ask("r1")])
        assert sum(tally.failed.values()) == 1
        assert server.served.calls == 2


def test_a_repair_that_the_server_refuses_leaves_the_paid_reply_as_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The repair request is longer than the first one, and can be too long for the context."""
    monkeypatch.setattr("mnatune.model.endpoint.fake.UNPAID_FAULTS", ("400",))
    with FakeEndpoint(lambda body: "글쎄요", lambda row, seen: "400" if seen else "") as server:
        endpoint = opened(server, tmp_path)
        tally = endpoint.ask([ask("r1")])
        assert tally.failed == {"no-json": 1}
        assert server.served.paid == endpoint.ledger.spent("run").calls == 1
        again = endpoint.ask([ask("r1")])
        assert (again.cached, again.failed, server.served.calls) == (1, {"no-json": 1}, 2)


def _judge_forever(base_url: str, folder: str) -> None:
    section = {"base_url": base_url, "model": "m", "ledger": f"{folder}/ledger.sqlite3", "concurrency": 4}
    fast = {"per_minute": (10**9, 10**12)}
    Endpoint(EndpointSection.model_validate(section | fast), "run").ask(ask(f"r{n}") for n in range(250))


def test_twenty_kills_lose_nothing_and_pay_nothing_twice(tmp_path: Path) -> None:
    kills, victim = iter(range(10, 250, 11)), []
    due = next(kills)

    def kill_now_and_then(row: str, seen: int) -> str:
        nonlocal due
        if victim and server.served.calls >= due:
            os.kill(victim.pop(), signal.SIGKILL)
            due = next(kills, 10**9)
        return ""

    with FakeEndpoint(reply, kill_now_and_then, latency=0.001) as server:
        fork = multiprocessing.get_context("fork")
        killed = 0
        for _ in range(60):
            child = fork.Process(target=_judge_forever, args=(server.base_url, str(tmp_path)))
            child.start()
            victim[:] = [child.pid]
            child.join()
            if child.exitcode == 0:
                break
            assert child.exitcode == -signal.SIGKILL
            killed += 1
        assert killed >= 20
        ledger = Ledger(tmp_path / "ledger.sqlite3")
        entries = [ledger.find(ledger_key(f"r{n}")) for n in range(250)]
        assert all(entry and entry.state == "ok" for entry in entries)
        # What was in flight at a kill is asked again: at most the concurrency limit each time, and nothing else.
        assert server.served.calls <= 250 + killed * 4


def test_an_outage_is_waited_out(tmp_path: Path) -> None:
    with FakeEndpoint(reply) as server:
        endpoint = opened(server, tmp_path)

        def each(outcome: object) -> None:
            done.append(outcome)
            server.down = server.down or len(done) == 50

        done: list[object] = []
        waits: list[float] = []

        class Mending(FastClock):
            async def sleep(self, seconds: float) -> None:
                waits.extend([seconds] if server.down else [])
                if len(waits) > 60:
                    server.down = False
                await super().sleep(seconds)

        endpoint._clock = Mending()
        tally = endpoint.ask((ask(f"r{n}") for n in range(200)), each)
    assert tally.done == 200
    assert not tally.failed
    assert tally.faults["reset"] + tally.faults["no-connection"] > 8


def test_an_endpoint_that_never_answers_is_given_up(tmp_path: Path) -> None:
    class Rushing(FastClock):
        def now(self) -> float:
            return time.monotonic() * 20_000

        async def sleep(self, seconds: float) -> None:
            await asyncio.sleep(seconds / 20_000)

    section = EndpointSection(base_url="http://127.0.0.1:9/v1", model="m", ledger=str(tmp_path / "l"))
    with pytest.raises(EnvironmentFault, match="has not answered"):
        Endpoint(section, "run", clock=Rushing()).ask([ask("r1")])


def test_the_spend_cap_stops_and_the_next_run_goes_on(tmp_path: Path) -> None:
    with FakeEndpoint(reply) as server:
        prices = {"prices": (1000.0, 1000.0), "concurrency": 4}  # 690 tokens: 0.69 a call
        endpoint = opened(server, tmp_path, max_cost=34.5, **prices)
        with pytest.raises(EnvironmentFault, match="spend cap"):
            endpoint.ask(ask(f"r{n}") for n in range(100))
        spent = endpoint.ledger.spent("run")
        assert spent.cost <= 34.5
        assert 46 <= spent.calls == server.served.paid <= 50
        with pytest.raises(EnvironmentFault):  # a restart does not refill the purse
            opened(server, tmp_path, max_cost=34.5, **prices).ask(ask(f"r{n}") for n in range(100))
        tally = opened(server, tmp_path, max_cost=100, **prices).ask(ask(f"r{n}") for n in range(100))
        assert (tally.done, sum(server.served.good.values())) == (100, 100)


def test_the_concurrency_limit_is_never_exceeded(tmp_path: Path) -> None:
    with FakeEndpoint(reply, latency=0.002) as server:
        opened(server, tmp_path, concurrency=5).ask(ask(f"r{n}") for n in range(100))
        assert server.served.most_in_flight == 5


def test_equal_prices_cap_tokens(tmp_path: Path) -> None:
    with FakeEndpoint(reply) as server, pytest.raises(EnvironmentFault, match="spend cap"):
        opened(server, tmp_path, prices=(1, 1), max_cost=0.0069, concurrency=1).ask(ask(f"r{n}") for n in range(100))
    assert 9 <= server.served.paid <= 10


def test_the_key_is_sent_and_never_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNATUNE_API_KEY", "very-secret-key")
    with FakeEndpoint(reply) as server:
        opened(server, tmp_path).ask([ask("r1")])
        assert server.served.keys == {"bearer very-secret-key"}
    for file in tmp_path.rglob("*"):
        assert b"very-secret-key" not in file.read_bytes()
    assert (tmp_path / "ledger.sqlite3").stat().st_mode & 0o077 == 0


def test_a_refused_key_is_said_without_showing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNATUNE_API_KEY", "very-secret-key")
    monkeypatch.setattr("mnatune.model.endpoint.fake.UNPAID_FAULTS", ("401",))
    with FakeEndpoint(reply, lambda row, seen: "401") as server, pytest.raises(EnvironmentFault) as caught:
        opened(server, tmp_path).ask(ask(f"r{n}") for n in range(50))
    assert "very-secret-key" not in str(caught.value)
    assert server.served.calls <= 16


class Particular(FakeEndpoint):
    """A server that takes some response formats and refuses the others with `status`; `asked` lists what it met."""

    def __init__(self, takes: tuple[str, ...], status: str) -> None:
        super().__init__(reply)
        self.asked: list[str] = []
        self._takes, self._status = takes, status

    async def _answer(self, body: Body, writer: asyncio.StreamWriter) -> bool:
        self.asked.append(body.get("response_format", {}).get("type", ""))
        if self.asked[-1] in self._takes:
            return await super()._answer(body, writer)
        said = b'{"error": {"message": "1 validation error: body.response_format.type"}}'
        await self._send(writer, int(self._status), said)
        return True


@pytest.mark.parametrize("status", ["400", "422", "500"])
def test_a_server_is_asked_in_the_format_that_it_takes(tmp_path: Path, status: str) -> None:
    """llama-cpp-python takes a schema with json_object alone, and answers 500 to json_schema."""
    with Particular(("json_object",), status) as server:
        tally = opened(server, tmp_path / "schema", concurrency=1).ask(ask(f"r{n}") for n in range(5))
        assert sum(tally.how.values()) == 5
        assert server.asked == ["json_schema", *["json_object"] * 5]
    with Particular(("",), status) as server:
        tally = opened(server, tmp_path / "plain", concurrency=1).ask(ask(f"r{n}") for n in range(5))
        assert sum(tally.how.values()) == 5
        assert server.asked == ["json_schema", "json_object", *[""] * 5]
        assert tally.refusal == ""  # finding the format is no fault of a row


def test_one_refused_request_does_not_change_the_dialect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mnatune.model.endpoint.fake.UNPAID_FAULTS", ("400",))
    with FakeEndpoint(reply, lambda row, seen: "400" if row == "r3" else "") as server:
        endpoint = opened(server, tmp_path, concurrency=1)
        tally = endpoint.ask(ask(f"r{n}") for n in range(6))
    assert tally.failed == {"http-400": 1}
    assert "later" in tally.refusal
    assert server.served.calls == 6
    assert endpoint.ledger.find(ledger_key("r3")) is None  # asked again by the next run: nothing was paid for it


def test_asking_works_in_a_running_loop(tmp_path: Path) -> None:
    values: list[dict] = []
    with FakeEndpoint(reply) as server:
        endpoint = opened(server, tmp_path)

        async def in_a_notebook() -> None:
            endpoint.ask([ask("r77")], lambda outcome: values.append(outcome.value))

        asyncio.run(in_a_notebook())
        endpoint.ask([ask("r77")], lambda outcome: values.append(outcome.value))
        assert values == [{"id": "r77", "reason": "까닭", "score": 3}] * 2
        assert server.served.calls == 1


def test_no_endpoint_in_the_recipe_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="no endpoint"):
        Endpoint(EndpointSection(), "run")


def test_a_ledger_that_is_no_database_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "l").write_text("이것은 데이터베이스가 아니다" * 100, encoding="utf-8")
    with pytest.raises(EnvironmentFault, match="ledger"):
        Ledger(tmp_path / "l")


def test_two_processes_share_a_ledger(tmp_path: Path) -> None:
    with FakeEndpoint(reply) as server:
        opened(server, tmp_path).ask(ask(f"r{n}") for n in range(20))
        opened(server, tmp_path).ask(ask(f"r{n}") for n in range(30))
        assert server.served.calls == 30
    with sqlite3.connect(tmp_path / "ledger.sqlite3") as base:
        assert base.execute("SELECT count(*), sum(calls) FROM replies, spending").fetchone()[0] == 30
