"""A stand-in for an endpoint that answers late, wrongly or not at all, on purpose: for tests, benchmarks and dry runs.

    python -m mnatune.model.endpoint.fake --port 8123 --latency 0.02

It speaks just enough HTTP/1.1 for one client library, and counts what it served. It is no model: scores come from the
function it is given; the command scores every row by its number of 합병, so that something varies.
"""

import argparse
import asyncio
import json
import random
import re
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

FORMAT_FAULTS = ("malformed", "prose", "fraction", "too-big", "no-reason", "wrong-id", "cut", "empty")
UNPAID_FAULTS = ("429", "500", "502", "503")
LINK_FAULTS = ("reset", "hang")
FAULTS = (*UNPAID_FAULTS, *LINK_FAULTS, *FORMAT_FAULTS)
ROW_LINE = re.compile(r"평가할 행의 번호: (\S+)")

Body = dict[str, Any]


@dataclass
class FakeLog:
    """What the server did: all calls, those that a provider would charge, good replies by row, faults by name."""

    calls: int = 0
    paid: int = 0
    good: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    keys: set[str] = field(default_factory=set)
    most_in_flight: int = 0


class FakeEndpoint:
    """A server in a thread of its own; use it as a context manager.

    Args:
        reply: makes the text of a good answer from the request's body.
        fault: makes a fault's name, or "", from the row's name and the number of calls of that row so far.
        latency: seconds that each call takes.
        retry_after: value of Retry-After on 429; empty sends none.
    """

    def __init__(
        self,
        reply: Callable[[Body], str],
        fault: Callable[[str, int], str] = lambda row, seen: "",
        latency: float = 0.0,
        retry_after: str = "1",
    ) -> None:
        self.served = FakeLog()
        self.down = False
        self.port = 0
        self._reply, self._fault, self._latency, self._retry_after = reply, fault, latency, retry_after
        self._seen: Counter[str] = Counter()
        self._in_flight = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def base_url(self) -> str:
        """Address for the recipe's endpoint.base_url."""
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> "FakeEndpoint":
        self._thread.start()
        self._ready.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._talk, "127.0.0.1", self.port))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while not self.down:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                size = re.search(r"content-length: (\d+)", head)
                body = json.loads(await reader.readexactly(int(size.group(1)) if size else 0))
                key = re.search(r"(?m)^authorization: ([^\r\n]*+)", head)
                self.served.keys |= {key.group(1)} if key else set()
                if self.down or not await self._answer(body, writer):
                    break
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError, ValueError):
            pass  # the client or the test has gone
        finally:
            writer.close()

    async def _answer(self, body: Body, writer: asyncio.StreamWriter) -> bool:
        """Serve one call; False ends the connection."""
        found = ROW_LINE.search("\n".join(m["content"] for m in body["messages"]))
        row = found.group(1) if found else ""
        fault = self._fault(row, self._seen[row])
        self._seen[row] += 1
        self.served.calls += 1
        self._in_flight += 1
        self.served.most_in_flight = max(self.served.most_in_flight, self._in_flight)
        try:
            await asyncio.sleep(self._latency)
            if fault:
                self.served.faults[fault] += 1
            if fault == "hang":
                self.served.paid += 1  # nobody knows whether a provider charges for it: count it
                await asyncio.sleep(60)
                return False
            if fault in UNPAID_FAULTS:
                wait = f"Retry-After: {self._retry_after}\r\n" if fault == "429" and self._retry_after else ""
                await self._send(writer, int(fault), b'{"error": {"message": "later"}}', wait)
                return True
            self.served.paid += 1
            data = self._completion(body, row, fault)
            if fault == "reset":
                await self._send(writer, 200, data, cut_at=len(data) // 2)
                return False
            await self._send(writer, 200, data)
            self.served.good[row] += fault in ("", "prose")
            return True
        finally:
            self._in_flight -= 1

    def _completion(self, body: Body, row: str, fault: str) -> bytes:
        text = spoiled(self._reply(body), fault)
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        if fault == "cut":
            choice["finish_reason"] = "length"
        usage = {"prompt_tokens": 600, "completion_tokens": 90, "total_tokens": 690}
        answer = {"id": "x", "object": "chat.completion", "model": body.get("model"), "usage": usage}
        choices = [] if fault == "empty" else [choice]
        return json.dumps({**answer, "choices": choices}, ensure_ascii=False).encode()

    @staticmethod
    async def _send(
        writer: asyncio.StreamWriter, status: int, data: bytes, extra: str = "", cut_at: int | None = None
    ) -> None:
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n{extra}\r\n"
        writer.write(head.encode() + data[:cut_at])
        await writer.drain()


def spoiled(text: str, fault: str) -> str:
    """A good reply with one of `FORMAT_FAULTS`."""
    if fault in ("cut", "malformed"):
        return text[: len(text) * 2 // 3] if fault == "cut" else text.replace('":', '" ', 1)
    if fault == "prose":
        return f"평가 결과는 다음과 같습니다.\n```json\n{text}\n```\n도움이 되었기를 바랍니다."
    value = json.loads(text) if fault in FORMAT_FAULTS else None
    if not isinstance(value, dict):
        return text
    number = next((k for k, v in value.items() if isinstance(v, int) and not isinstance(v, bool)), "")
    if fault in ("fraction", "too-big") and number:
        value[number] = "85/100" if fault == "fraction" else 150
    elif fault == "no-reason":
        value.pop("reason", None)
    elif fault == "wrong-id":
        value["id"] = "0" * 20
    return json.dumps(value, ensure_ascii=False)


def seeded_faults(rate: float, seed: int = 0, names: tuple[str, ...] = FAULTS) -> Callable[[str, int], str]:
    """A fault in a share `rate` of all calls, the same for the same row and call on every run."""

    def fault(row: str, seen: int) -> str:
        draw = random.Random(f"{seed}/{row}/{seen}")
        return draw.choice(names) if draw.random() < rate else ""

    return fault


def judged(body: Body, parts: Callable[[str], tuple[int, int, int, int]]) -> str:
    """A judge's good reply to the pack's prompt: sub-scores from the row's text, evidence from its first words."""
    prompt = body["messages"][1]["content"]
    found = ROW_LINE.search(prompt)
    fields = [part.partition("<<<자료 끝>>>")[0].strip() for part in prompt.split("<<<자료 시작>>>")[1:]]
    names = ("relevance", "accuracy", "depth", "clarity")
    reason = f"{fields[0][:30]}에 쓰인 용어와 내용을 보고 정함"
    reply = {"id": found.group(1) if found else "", "reason": reason, "evidence": fields[0][:20]}
    return json.dumps({**reply, **dict(zip(names, parts("\n".join(fields)), strict=True))}, ensure_ascii=False)


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="a fake OpenAI-compatible endpoint")
    parser.add_argument("--port", type=int, default=8123)
    parser.add_argument("--latency", type=float, default=0.02)
    parser.add_argument("--faults", type=float, default=0.0, help="share of calls that go wrong")
    wish = parser.parse_args()

    def parts(text: str) -> tuple[int, int, int, int]:
        level = min(5, 2 * text.count("합병"))
        return (level, level, level, level)

    server = FakeEndpoint(lambda body: judged(body, parts), seeded_faults(wish.faults), wish.latency)
    server.port = wish.port
    with server:
        print(server.base_url, flush=True)
        try:
            server._thread.join()
        except KeyboardInterrupt:
            print(server.served)


if __name__ == "__main__":
    main()
