"""Serving: one request after another through `generate` against the moving batch behind the API; and the API alone.

    python bench/serve.py --quick                           concurrency 1 and 16, 16 requests each
    python bench/serve.py --adapter runs/x/6-train/adapter  concurrency 1 to 32

The baseline answers the same prompts greedily on the same model, one by one, in this process, without any server. Ours
is the whole way: an own asyncio client, HTTP, server-sent events, the engine in a process of its own. Both run in turn,
and each waits for the other to be idle. Tokens are counted by the model's own usage figures. The echo engine shows what
the API costs without a model. The last line is JSON.
"""

import argparse
import asyncio
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
SYSTEM = "당신은 금융,법률 및 M&A 분야 전문가입니다.\n사용자 질문에 대해 반드시 한국어로만 답변하세요."
TOPICS = (
    "합병계약서의 기재 사항",
    "주식매수청구권의 행사 절차",
    "영업양도의 승인",
    "이사의 충실의무",
    "공개매수의 공고",
)
ASKED = (
    "은 무엇인가요?",
    "에 관하여 판례의 태도를 설명해 주세요.",
    "을 어긴 효과는 무엇인가요?",
    "의 예외를 정리해 주세요.",
)
PERCENTILES = (50, 95, 99)


def question(number: int) -> str:
    return f"{number}. {TOPICS[number % len(TOPICS)]}{ASKED[number % len(ASKED)]}"


@dataclass
class Seen:
    """One request as the client saw it; times in seconds."""

    first: float = 0.0
    total: float = 0.0
    tokens: int = 0
    error: str = ""


@dataclass
class Round:
    """One run of many requests."""

    seconds: float
    seen: list[Seen] = field(default_factory=list)

    def figures(self) -> dict[str, float]:
        good = [s for s in self.seen if not s.error]
        tokens = sum(s.tokens for s in good)
        figures = {
            "requests_per_s": round(len(good) / self.seconds, 2),
            "tokens_per_s": round(tokens / self.seconds, 2),
            "errors": len(self.seen) - len(good),
        }
        gaps = [(s.total - s.first) / (s.tokens - 1) for s in good if s.tokens > 1]
        for name, values in (("first_token_ms", [s.first for s in good]), ("per_token_ms", gaps)):
            for percent in PERCENTILES:
                figures[f"{name}_p{percent}"] = round(1000 * percentile(values, percent), 1)
        return figures


def percentile(values: list[float], percent: int) -> float:
    """The smallest value that `percent` of the values do not exceed; 0 without values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, -(-percent * len(ordered) // 100) - 1)] if ordered else 0.0


async def one(host: str, port: int, body: dict) -> Seen:
    """One streamed request over a connection of its own."""
    seen, begun = Seen(), time.perf_counter()
    raw = json.dumps(body).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(raw)}\r\n\r\n"
    try:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(head.encode() + raw)
        status = (await reader.readline()).split()[1]
        async for line in reader:
            if line.startswith(b"data: {"):
                event = json.loads(line[6:])
                if "error" in event:
                    seen.error = event["error"]["message"]
                seen.tokens = (event.get("usage") or {}).get("completion_tokens", seen.tokens)
                if not seen.first and event.get("choices") and event["choices"][0]["delta"].get("content"):
                    seen.first = time.perf_counter() - begun
        writer.close()
        seen.error = seen.error or ("" if status == b"200" else f"HTTP {status.decode()}")
    except (OSError, ValueError, KeyError, IndexError) as error:
        seen.error = f"{type(error).__name__}: {error}"
    seen.total = time.perf_counter() - begun
    return seen


async def load(port: int, concurrency: int, bodies: list[dict]) -> Round:
    """All bodies by so many clients, each sending its next request when its last is answered."""
    waiting, result = iter(bodies), Round(0.0)

    async def client() -> None:
        for body in waiting:
            result.seen.append(await one("127.0.0.1", port, body))

    begun = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(concurrency)))
    result.seconds = time.perf_counter() - begun
    return result


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


class Server:
    """The server in a process of its own, with the engine that the arguments name."""

    def __init__(self, *arguments: str) -> None:
        self.port = free_port()
        command = [sys.executable, __file__, "--serve", str(self.port), *arguments]
        self._process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT / "src")})
        for _ in range(1200):
            try:
                socket.create_connection(("127.0.0.1", self.port), 0.2).close()
                return
            except OSError:
                if self._process.poll() is not None:
                    raise SystemExit("the server did not start") from None
                time.sleep(0.1)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()


def serve(port: int, model: str, adapter: str, limit: int) -> None:
    """What the server's process does."""
    import uvicorn

    from mnatune.model.engine.echo import EchoEngine
    from mnatune.model.engine.protocol import Engine
    from mnatune.service.app import create_app
    from mnatune.service.feedback.store import FeedbackStore
    from mnatune.service.service import Settings

    engine: Engine = EchoEngine()
    generation = greedy(limit)
    if model:
        from mnatune.model.engine.local import open_engine

        engine = open_engine(model, {"tuned": Path(adapter)} if adapter else {}, new_tokens=limit)
    settings = Settings(system=SYSTEM, generation=generation)
    app = create_app(engine, FeedbackStore("sqlite://", lambda text: text), None, settings)
    uvicorn.run(app, port=port, log_level="error", access_log=False)


def greedy(limit: int):
    from mnatune.runs.recipe import GenerationSection

    return GenerationSection(temperature=0.0, top_k=0, top_p=1.0, repetition_penalty=1.0, max_new_tokens=limit)


def sequential(loaded, questions: list[str], limit: int) -> float:
    """Tokens per second of `generate`, one prompt after another."""
    import torch

    from mnatune.model.prompt import dialogue, prompt_ids

    begun, made = time.perf_counter(), 0
    for text in questions:
        ids = torch.tensor([prompt_ids(loaded.tokenizer, dialogue(text, SYSTEM))], device=loaded.device)
        options = {"max_new_tokens": limit, "do_sample": False, "temperature": None, "top_p": None, "top_k": None}
        with torch.inference_mode():
            out = loaded.causal.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                eos_token_id=sorted(loaded.ends),
                pad_token_id=loaded.pad,
                **options,
            )
        made += out.shape[1] - ids.shape[1]
    return made / (time.perf_counter() - begun)


def body_of(text: str, limit: int) -> dict:
    return {
        "messages": [{"role": "user", "content": text}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": limit,
    }


def middle(rounds: list[Round]) -> dict[str, float]:
    """The figures of the round with the median throughput; errors of all rounds together."""
    ordered = sorted(rounds, key=lambda r: r.figures()["tokens_per_s"])
    errors = sum(bool(s.error) for r in rounds for s in r.seen)
    return {**ordered[len(ordered) // 2].figures(), "errors": errors}


def compare(options: argparse.Namespace) -> tuple[dict, dict, float]:
    """The model behind the API at each concurrency, and `generate` one by one, in turn."""
    from mnatune.model.engine.local import open_engine

    adapters = {"tuned": Path(options.adapter)} if options.adapter else {}
    with open_engine(options.model, adapters) as engine, engine.variant("") as loaded:
        return compared(options, loaded)


def compared(options: argparse.Namespace, loaded) -> tuple[dict, dict, float]:
    """What `compare` does, with the model for `generate` loaded."""
    server = Server("--model", options.model, "--adapter", options.adapter, "--tokens", str(options.tokens))
    levels = (1, 16) if options.quick else (1, 2, 4, 8, 16, 32)
    rounds: dict[int, list[Round]] = {level: [] for level in levels}
    alone: list[float] = []
    try:
        few = [question(i) for i in range(4)]
        sequential(loaded, few[:1], 4)
        asyncio.run(load(server.port, 2, [body_of(text, 4) for text in few]))
        for turn in range(options.rounds):
            alone.append(sequential(loaded, few, options.tokens))
            for level in levels:
                count = max(4, level * (1 if options.quick else 2))
                bodies = [body_of(question(100 * turn + i), options.tokens) for i in range(count)]
                rounds[level].append(asyncio.run(load(server.port, level, bodies)))
    finally:
        server.close()
    ours = {f"c{level}": middle(done) for level, done in rounds.items()}
    for name, figures in ours.items():
        print(f"{name:>4}  {figures}")
    pairs = [r.figures()["tokens_per_s"] / base for r, base in zip(rounds[16], alone, strict=True)]
    return ours, {"tokens_per_s": round(statistics.median(alone), 2)}, round(statistics.median(pairs), 2)


def echo(quick: bool, rounds: int) -> dict[str, float]:
    """The API without a model: short answers, 32 clients."""
    server = Server("--tokens", "8")
    try:
        asyncio.run(load(server.port, 32, [body_of("준비", 8)] * 64))
        bodies = [body_of("합병 계약서", 8)] * (500 if quick else 3000)
        done = [asyncio.run(load(server.port, 32, bodies)) for _ in range(rounds)]
    finally:
        server.close()
    figures = middle(done)
    print(f"echo  {figures}")
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="two levels, few requests: under two minutes on 2 cores")
    parser.add_argument("--model", default="starter")
    parser.add_argument("--adapter", default="")
    parser.add_argument("--tokens", type=int, default=0, help="longest answer; by default 48 with --quick, else 128")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only-echo", action="store_true")
    parser.add_argument("--serve", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        model = options.model if "--model" in sys.argv else ""
        return serve(options.serve, model, options.adapter, options.tokens)
    options.tokens = options.tokens or (48 if options.quick else 128)
    ours: dict = {}
    baseline: dict = {}
    ratio: dict = {}
    if not options.only_echo:
        ours, baseline, ratio["sequential"] = compare(options)
    ours["echo"] = echo(options.quick, options.rounds)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout
    result = {
        "bench": "serve",
        "commit": commit.strip(),
        "device": f"{platform.machine()}, {os.cpu_count()} cores",
        "ratio": ratio,
        "ours": ours,
        "baseline": baseline,
    }
    print(json.dumps(result, ensure_ascii=False))
    return None


if __name__ == "__main__":
    main()
