"""Judging 10,000 rows against a server that misbehaves on purpose, and through twenty `kill -9`.

    python bench/judge_faults.py [--quick] [--rows 10000] [--rate 0.1] [--kills 20]

Faults: a share `rate` of all calls meets 429 with Retry-After, 500, 502, 503, a reset in mid-body, a hang of 60 s,
malformed JSON, prose around it, "85/100", 150, no reason, a wrong id, a reply cut at max_tokens or empty choices, in
equal shares. Waiting is the client's own, on a clock that runs a hundred times faster; a hang ends at the timeout
(0.5 s). A reset and a hang count as paid. Kills: the judging process is killed as often as asked, at even distances, and
started again; then its ledger is compared with that of a run without kills. Every claim is asserted; the last line is JSON.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import platform
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests/stages/judge"))

from known_rows import endpoint, knowing, make_rows  # noqa: E402

from mnatune.model.endpoint import Clock, Endpoint  # noqa: E402
from mnatune.model.endpoint.fake import FAULTS, FakeEndpoint, seeded_faults  # noqa: E402
from mnatune.model.endpoint.rubric import Rubric  # noqa: E402
from mnatune.pack import Pack  # noqa: E402
from mnatune.runs.recipe import EndpointSection  # noqa: E402

SPEED = 100
REPLIES = "SELECT key, state, code, how, value FROM replies ORDER BY key"


class FastClock(Clock):
    """A hundred seconds in one."""

    def now(self) -> float:
        return time.monotonic() * SPEED

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds) / SPEED)


def opened(url: str, folder: Path, **more: Any) -> Endpoint:
    section = EndpointSection.model_validate(endpoint(url, folder, concurrency=16) | more)
    return Endpoint(section, "bench", clock=FastClock())


def rows_of(count: int) -> tuple[list[dict[str, Any]], set[str]]:
    rows, useful = make_rows(count, 0.1)
    return [{"id": row.id, "question": row.question, "answer": row.answer} for row in rows], useful


def faults(count: int, rate: float, folder: Path) -> dict[str, Any]:
    """Every row in one state, and what that costs."""
    rows, useful = rows_of(count)
    rubric, states = Rubric(Pack.load("mna_ko")), Counter[str]()
    with FakeEndpoint(knowing(useful), seeded_faults(rate)) as server:
        asker = opened(server.base_url, folder, timeout=0.5)
        started = time.monotonic()
        tally = asker.ask((rubric.ask(r, asker.model) for r in rows), lambda outcome: states.update([outcome.key]))
        seconds = time.monotonic() - started
        met, calls, paid = dict(server.served.faults), server.served.calls, server.served.paid
        recorded = asker.ledger._base.execute("SELECT count(*) FROM replies").fetchone()[0]
        again = asker.ask(rubric.ask(r, asker.model) for r in rows)
        asked_again = server.served.calls - calls
    allowed = count * (1 + rate) + 0.01 * count
    assert len(states) == count
    assert set(states.values()) == {1}, "a row ended in more than one state"
    assert sum(tally.how.values()) + sum(tally.failed.values()) == tally.done == count
    assert set(met) == set(FAULTS), f"a fault did not occur: {set(FAULTS) - set(met)}"
    assert paid <= allowed, f"{paid} calls paid, {allowed:.0f} allowed"
    assert again.cached == recorded
    assert recorded + sum(n for code, n in tally.failed.items() if code.startswith("http-")) == count
    return {
        "rows": count,
        "fault_rate": rate,
        "seconds": round(seconds, 1),
        "states": dict(sorted(tally.how.items())) | {f"failed-{k}": n for k, n in sorted(tally.failed.items())},
        "faults_met": dict(sorted(met.items())),
        "calls": calls,
        "calls_paid": paid,
        "calls_allowed": int(allowed),
        "calls_of_a_second_run": asked_again,
    }


def judge_all(url: str, folder: str, count: int) -> None:
    rubric = Rubric(Pack.load("mna_ko"))
    rows, _ = rows_of(count)
    asker = Endpoint(EndpointSection.model_validate(endpoint(url, Path(folder), concurrency=16)), "bench")
    asker.ask(rubric.ask(row, asker.model) for row in rows)


def kills(count: int, wished: int, folder: Path) -> dict[str, Any]:
    """Kill and start again; the ledger must be that of a run without kills, and what was asked twice was in flight."""
    _, useful = rows_of(count)
    fork, victim, due = (
        multiprocessing.get_context("fork"),
        list[int](),
        [count * n // (wished + 1) for n in range(1, wished + 1)],
    )

    def kill_when_due(row: str, seen: int) -> str:
        if due and victim and server.served.calls >= due[0]:
            os.kill(victim.pop(), signal.SIGKILL)
            due.pop(0)
        return ""

    with FakeEndpoint(knowing(useful), kill_when_due, latency=0.002) as server:
        killed, finished = 0, False
        while not finished:
            child = fork.Process(target=judge_all, args=(server.base_url, str(folder), count))
            child.start()
            victim[:] = [child.pid or 0]
            child.join()
            finished = child.exitcode == 0
            killed += not finished
            assert finished or child.exitcode == -signal.SIGKILL, child.exitcode
        calls = server.served.calls
        judge_all(server.base_url, str(folder / "straight"), count)
    with (
        sqlite3.connect(folder / "ledger.sqlite3") as one,
        sqlite3.connect(folder / "straight/ledger.sqlite3") as other,
    ):
        ours, straight = one.execute(REPLIES).fetchall(), other.execute(REPLIES).fetchall()
    assert killed == wished
    assert len(ours) == count
    assert ours == straight, "the killed run's table differs from the straight one's"
    assert calls <= count + killed * 16, f"{calls} calls for {count} rows"
    return {
        "rows": count,
        "kills": killed,
        "rows_in_ledger": len(ours),
        "same_table": True,
        "calls": calls,
        "asked_twice": calls - count,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=0.1)
    parser.add_argument("--kills", type=int, default=20)
    wish = parser.parse_args()
    rows = 1000 if wish.quick else wish.rows
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("faults", "kills"):
            (folder / part).mkdir()
        found = {
            "faults": faults(rows, wish.rate, folder / "faults"),
            "kills": kills(rows, wish.kills, folder / "kills"),
        }
    for part, facts in found.items():
        print(part, *(f"  {key}: {value}" for key, value in facts.items()), sep="\n")
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    device = f"{platform.machine()}, {os.cpu_count()} cores"
    print(json.dumps({"bench": "judge_faults", "commit": commit.stdout.strip(), "device": device} | found))


if __name__ == "__main__":
    main()
