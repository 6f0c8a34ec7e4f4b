"""Judging against a local server: how busy the endpoint is kept, what a fault costs, and what the ledger saves.

    python bench/judge.py [--quick] [--rows 10000] [--latency 0.02] [--concurrency 16]

The baseline is the obvious program: the same calls over httpx with an asyncio semaphore, no ledger, no checks. Pairs run
in turn. "In flight" is the mean share of the concurrency limit that was in flight, as the client sees it; "of_ideal" is
the ideal time (rows x latency / concurrency) over the wall time, which a busy machine spoils; CPU time per call is not
spoiled by it. Memory is the resident size after a tenth of the rows and after all of them. Every row must be in the
ledger with one call each. What faults and `kill -9` cost: bench/judge_faults.py.
"""

import argparse
import asyncio
import json
import platform
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from mnatune.model.endpoint import Ask, Endpoint, Tally, check_flat, json_in, ledger_key
from mnatune.runs.recipe import EndpointSection

NAMES = ("relevance", "accuracy", "depth", "clarity")
SCHEMA = {
    "type": "object",
    "properties": {"id": {"type": "string"}, "reason": {"type": "string"}} | {n: {"type": "integer"} for n in NAMES},
    "required": ["id", "reason", *NAMES],
}
RUBRIC = "채점 기준 " * 200


@dataclass(frozen=True)
class Turn:
    """One turn of both ways: their seconds, CPU milliseconds a call, and the share of its places that ours kept busy."""

    ours: float
    ours_cpu: float
    baseline: float
    baseline_cpu: float
    busy: float


def messages(row: str) -> list[dict[str, str]]:
    text = f"평가할 행의 번호: {row}\n<<<자료 시작>>>\n{row}번 합병 질문\n<<<자료 끝>>>\n" + "본문 " * 150
    return [{"role": "system", "content": RUBRIC}, {"role": "user", "content": text}]


def asks(count: int, mark: str) -> Iterator[Ask]:
    def check(text: str) -> tuple[dict, bool]:
        value, clean = json_in(text)
        return check_flat(value, SCHEMA), clean

    for number in range(count):
        row = f"{mark}{number}"
        yield Ask(ledger_key(row), messages(row), SCHEMA, check)


def ours(url: str, folder: Path, count: int, concurrency: int, mark: str) -> Tally:
    section = EndpointSection(
        base_url=url,
        model="m",
        concurrency=concurrency,
        per_minute=(10**9, 10**12),
        ledger=str(folder / "ledger.sqlite3"),
        timeout=5.0,
    )
    return Endpoint(section, mark).ask(asks(count, mark))


def plain(url: str, count: int, concurrency: int, mark: str) -> float:
    import httpx

    async def go() -> None:
        places = asyncio.Semaphore(concurrency)
        limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        async with httpx.AsyncClient(limits=limits) as client:

            async def one(number: int) -> None:
                async with places:
                    body = {"model": "m", "messages": messages(f"{mark}{number}")}
                    (await client.post(f"{url}/chat/completions", json=body)).json()

            await asyncio.gather(*[one(number) for number in range(count)])

    started = time.monotonic()
    asyncio.run(go())
    return time.monotonic() - started


def server(latency: float, faults: float) -> tuple[subprocess.Popen, str]:
    command = [sys.executable, "-m", "mnatune.model.endpoint.fake", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--latency", str(latency), "--faults", str(faults)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def resident_mib() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed(url: str, folder: Path, rows: int, concurrency: int, turn: int) -> Turn:
    """Ours, then the baseline, over as many new rows each."""
    started, used = time.monotonic(), time.process_time()
    tally = ours(url, folder, rows, concurrency, f"t{turn}-")
    took, ours_cpu = time.monotonic() - started, time.process_time() - used
    used = time.process_time()
    baseline = plain(url, rows, concurrency, f"b{turn}-")
    baseline_cpu = time.process_time() - used
    assert tally.done == tally.paid.calls == rows
    return Turn(took, ours_cpu / rows * 1000, baseline, baseline_cpu / rows * 1000, tally.busy)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--latency", type=float, default=0.02)
    parser.add_argument("--concurrency", type=int, default=16)
    wish = parser.parse_args()
    rows = 2000 if wish.quick else wish.rows
    ideal = rows * wish.latency / wish.concurrency
    process, url = server(wish.latency, 0.0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours(url, folder, rows // 10, wish.concurrency, "warm-")
        early = resident_mib()
        ours(url, folder, rows, wish.concurrency, "memory-")
        late = resident_mib()
        turns = [timed(url, folder, rows, wish.concurrency, turn) for turn in range(3)]
        started = time.monotonic()
        again = ours(url, folder, rows, wish.concurrency, "t0-")
        from_ledger = time.monotonic() - started
        with sqlite3.connect(folder / "ledger.sqlite3") as base:
            recorded = base.execute("SELECT count(*) FROM replies").fetchone()[0]
            booked = base.execute("SELECT sum(calls) FROM spending").fetchone()[0]
    process.terminate()
    assert again.cached == rows
    assert recorded == booked == rows // 10 + 4 * rows
    medians = {one.name: statistics.median(getattr(turn, one.name) for turn in turns) for one in fields(Turn)}
    print(f"ideal {ideal:.1f} s, ours {medians['ours']:.1f} s, httpx with a semaphore {medians['baseline']:.1f} s")
    print(
        f"memory {early:.0f} MiB after {rows // 10} rows, {late:.0f} MiB after {rows} more; ledger {from_ledger:.2f} s"
    )
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    print(
        json.dumps(
            {
                "bench": "judge",
                "commit": commit.stdout.strip(),
                "device": f"{platform.machine()}, {platform.processor() or 'cpu'}",
                "ratio": {"httpx": round(medians["baseline"] / medians["ours"], 2)},
                "ours": {
                    "rows": rows,
                    "seconds": round(medians["ours"], 2),
                    "in_flight": round(medians["busy"], 4),
                    "of_ideal": round(ideal / medians["ours"], 4),
                    "cpu_ms_per_call": round(medians["ours_cpu"], 3),
                    "memory_growth_mib": round(late - early, 1),
                    "ledger_rows_per_second": round(rows / from_ledger),
                    "ledger_rows": recorded,
                    "ledger_calls": booked,
                },
                "baseline": {
                    "seconds": round(medians["baseline"], 2),
                    "of_ideal": round(ideal / medians["baseline"], 4),
                    "cpu_ms_per_call": round(medians["baseline_cpu"], 3),
                },
            }
        )
    )


if __name__ == "__main__":
    main()
