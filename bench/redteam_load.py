"""Clients that must lose nothing while others hold connections, trickle and throw poison; used by bench/redteam.py --load.

The server is `mnatune serve --echo` in a process of its own, with its own limits. Fifty clients ask one streamed answer
after another, first alone, then beside 1,000 connections that stay silent, 50 that send or read a byte at a time, and
20 that send broken or huge requests or hang up. An answer counts only if it came whole.
"""

import asyncio
import itertools
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from mnatune.service.connections import raise_file_limit

CHAT = "/v1/chat/completions"
WORDS = ["합병", "계약의", "비밀", "조항은", "언제까지", "효력이", "있으며", "위반하면", "어떻게", "됩니까"]
GONE = (OSError, asyncio.IncompleteReadError)  # a connection that the server ended


@dataclass
class Load:
    """How many of each kind there are, and how many answers each good client asks."""

    clients: int = 50
    answers: int = 6
    idle: int = 1000
    slow: int = 50
    hostile: int = 20


@dataclass
class Seen:
    """What good clients saw: answers that came whole, faults, and seconds to the first word and to the end."""

    whole: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    first: list[float] = field(default_factory=list)
    total: list[float] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        return {
            "whole": self.whole,
            "lost": sum(self.faults.values()),
            "faults": dict(self.faults),
            "first_word_s": _percentiles(self.first),
            "answer_s": _percentiles(self.total),
        }


def _percentiles(values: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(values, n=100) if len(values) > 1 else [0.0] * 99
    return {f"p{at}": round(cuts[at - 1], 3) for at in (50, 95, 99)} | {"max": round(max(values, default=0.0), 3)}


async def good_client(url: str, number: int, answers: int, seen: Seen) -> None:
    """Ask one answer after another; each must be the question, word by word."""
    async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
        for turn in range(answers):
            question = " ".join([f"{number}-{turn}", *WORDS * 3])
            begun, first, said = time.perf_counter(), 0.0, ""
            body = {"messages": [{"role": "user", "content": question}], "stream": True, "store": turn % 2 == 0}
            try:
                async with client.stream("POST", f"{url}{CHAT}", json=body) as reply:
                    reply.raise_for_status()
                    async for line in reply.aiter_lines():
                        if line.startswith("data: {"):
                            for choice in json.loads(line[6:])["choices"]:
                                said += choice["delta"].get("content") or ""
                            first = first or (time.perf_counter() - begun if said else 0.0)
            except (httpx.HTTPError, KeyError, ValueError) as error:
                seen.faults[type(error).__name__] += 1
                continue
            if said != question:
                seen.faults["not whole"] += 1
                continue
            seen.whole += 1
            seen.first.append(first)
            seen.total.append(time.perf_counter() - begun)


async def idle_connection(host: str, port: int, tally: Counter[str]) -> None:
    """Say nothing; come again when sent away."""
    while True:
        with suppress(*GONE):
            reader, writer = await asyncio.open_connection(host, port)
            tally["idle connections opened"] += 1
            try:
                await reader.read(1)
                tally["idle connections ended by the server"] += 1
            finally:
                writer.close()
        await asyncio.sleep(0.2)


async def slow_connection(host: str, port: int, number: int, tally: Counter[str]) -> None:
    """By turns: headers a byte at a time, a body a byte at a time, an answer read a byte at a time."""
    body = json.dumps({"messages": [{"role": "user", "content": "말 " * 2000}], "stream": True}).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    whole = head.encode() + b"\r\n"
    at_once = (b"", whole, whole + body)[number % 3]
    while True:
        with suppress(*GONE):
            reader, writer = await asyncio.open_connection(host, port, limit=2)
            tally["slow connections opened"] += 1
            try:
                writer.write(at_once)
                for letter in (whole + body)[len(at_once) :]:
                    writer.write(bytes([letter]))
                    await writer.drain()
                    await asyncio.sleep(0.5)
                while await reader.read(1):
                    await asyncio.sleep(0.05)
            finally:
                writer.close()
        await asyncio.sleep(0.2)


def poison(host: str, port: int) -> list[bytes]:
    """Whole requests of a hostile client: the suite's bodies, and what is no HTTP."""
    from test_serve_faults import POISON

    made = [
        b"\x16\x03\x01" + bytes(300),
        b"GET / HTTP/9.9\r\n\r\n",
        b"A" * 100_000,
        b"GET /" + b"x" * 70_000 + b"\r\n\r\n",
    ]
    made += [f"GET / HTTP/1.1\r\nHost: {host}\r\n".encode() + b"X: y\r\n" * 20_000 + b"\r\n"]
    for path, (body, _) in itertools.product((CHAT, "/api/citations"), POISON.values()):
        head = f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        made.append(head.encode() + body)
    asked = json.dumps({"messages": [{"role": "user", "content": "말 " * 5000}], "stream": True}).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\nContent-Length: {len(asked)}\r\n\r\n"
    return [*made, head.encode() + asked]


async def hostile_client(host: str, port: int, requests: list[bytes], draw: random.Random, tally: Counter[str]) -> None:
    """Send poison, read a little, hang up, again."""
    while True:
        with suppress(*GONE):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(draw.choice(requests))
                tally["hostile requests"] += 1
                with suppress(TimeoutError):
                    line = await asyncio.wait_for(reader.read(12), draw.choice((0.01, 0.1, 3)))
                    tally[f"hostile requests answered {line[9:12].decode('ascii', 'replace') or 'by hanging up'}"] += 1
            finally:
                writer.transport.abort()
        await asyncio.sleep(0.25)


async def phase(url: str, load: Load, attacks: list[Coroutine[Any, Any, None]]) -> Seen:
    """The good clients from beginning to end, with the attacks going on all the while."""
    seen = Seen()
    running = [asyncio.create_task(attack) for attack in attacks]
    await asyncio.sleep(3 if running else 0)  # until the attackers have connected
    await asyncio.gather(*(good_client(url, n, load.answers, seen) for n in range(load.clients)))
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    return seen


def measure(load: Load) -> tuple[dict[str, Any], dict[str, Any], dict[str, int]]:
    """(under attack, alone, what the attackers did)."""
    raise_file_limit()
    with tempfile.TemporaryDirectory() as folder:
        options = (
            "--echo",
            "--keyless",
            "--port",
            "0",
            "--feedback",
            f"{folder}/feedback.db",
            "--keys",
            f"{folder}/keys.json",
        )
        server = subprocess.Popen(
            [sys.executable, "-u", "-m", "mnatune", "serve", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            assert server.stdout is not None
            url = next(word for line in server.stdout for word in line.split() if word.startswith("http://")).rstrip(
                "/.,"
            )
            host, port = url.removeprefix("http://").split(":")
            alone = asyncio.run(phase(url, load, []))
            tally: Counter[str] = Counter()
            attacks = [idle_connection(host, int(port), tally) for _ in range(load.idle)]
            attacks += [slow_connection(host, int(port), n, tally) for n in range(load.slow)]
            requests = poison(host, int(port))
            attacks += [hostile_client(host, int(port), requests, random.Random(n), tally) for n in range(load.hostile)]
            attacked = asyncio.run(phase(url, load, attacks))
            tally["server memory, MiB"] = _memory(server.pid)
            assert httpx.get(f"{url}/readyz", timeout=10).status_code == 200
        finally:
            server.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                server.wait(90)
            server.kill()
    return attacked.figures(), alone.figures(), dict(sorted(tally.items()))


def _memory(process: int) -> int:
    """Most resident memory of a process so far; 0 where the system does not tell."""
    status = Path(f"/proc/{process}/status")
    lines = status.read_text().splitlines() if status.is_file() and os.name == "posix" else []
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM")), 0)
