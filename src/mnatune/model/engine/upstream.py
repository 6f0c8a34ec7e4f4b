"""The engine for production: any OpenAI-compatible server (vLLM, llama-server, Ollama) behind the gateway.

Only three addresses of the upstream are ever called: /models, /chat/completions and /completions. By default it must
stand on this machine or in a private network: prompts of a law firm do not leave the building because of a typing
error in a URL. Answers are always streamed from the upstream, so that a client that leaves frees it at once.
"""

import asyncio
import ipaddress
import json
import logging
import os
import socket
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from ...runs.errors import EnvironmentFault, UsageError
from ..prompt import under_policy, without_control_tokens
from .protocol import FinishReason, Load, Piece, ServedModel, Stream, Task, find_model, text_hash
from .refusals import bad_request, busy, engine_down, overdue

log = logging.getLogger(__name__)

KEY_VARIABLE = "MNATUNE_API_KEY"
EMPTY_THINKING = ("<think>", "</think>")
CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 120.0  # between two pieces of an answer


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where the answers come from.

    Attributes:
        url: the API's root, such as http://127.0.0.1:8001/v1.
        models: names to serve, default first; empty takes what the upstream lists.
        capacity: answers in flight at most; more are refused with 429.
        allow_hosts: public hosts that may be called.
    """

    url: str
    models: tuple[str, ...] = ()
    capacity: int = 256
    allow_hosts: frozenset[str] = frozenset()


class UpstreamEngine:
    """Passes tasks on to an OpenAI-compatible server. `transport` replaces the network in tests."""

    def __init__(self, upstream: Upstream, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._upstream = upstream
        self._root = upstream.url.rstrip("/")
        check_address(self._root, upstream.allow_hosts)
        key = os.environ.get(KEY_VARIABLE, "")
        self._client = httpx.AsyncClient(
            transport=transport,
            headers={"authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=upstream.capacity + 4),
            follow_redirects=False,
            trust_env=False,
        )
        self._models: list[ServedModel] = []
        self._running = 0
        self._faults = 0
        self._fault = "the upstream has not been asked yet"

    def models(self) -> Sequence[ServedModel]:
        return self._models

    def fault(self) -> str:
        return self._fault

    def load(self) -> Load:
        return Load(running=self._running, faults=self._faults)

    async def start(self) -> None:
        """Ask the upstream what it serves."""
        try:
            reply = await self._client.get(f"{self._root}/models")
            reply.raise_for_status()
            listed = [str(card["id"]) for card in reply.json()["data"]]
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise EnvironmentFault(
                f"the upstream does not answer as an OpenAI-compatible server: {error}",
                where=f"{self._root}/models",
                next_step="start it, or correct --upstream",
            ) from error
        missing = [name for name in self._upstream.models if name not in listed]
        if missing or not listed:
            raise UsageError(
                f"the upstream does not serve {', '.join(missing) or 'any model'}",
                where=self._root,
                next_step=f"it serves: {', '.join(listed) or 'nothing'}",
            )
        self._models = [ServedModel(name, f"{self._root}#{name}") for name in self._upstream.models or listed]
        self._fault = ""

    async def close(self) -> None:
        """Close the connections."""
        self._fault = "the engine is not running"
        await self._client.aclose()

    async def open(self, task: Task) -> Stream:
        model = find_model(self._models, task.model)
        if self._running >= self._upstream.capacity:
            raise busy()
        path, body, prompt = _request(task, model.id)
        if not prompt.strip():
            raise bad_request("the prompt is empty", param="prompt")
        self._running += 1
        try:
            request = self._client.build_request("POST", f"{self._root}/{path}", json=body)
            reply = await self._client.send(request, stream=True)
            await self._check(reply)
        except httpx.HTTPError as error:
            self._running -= 1
            self._faults += 1
            log.warning("the upstream failed: %s", type(error).__name__)
            raise engine_down("the upstream server does not answer") from None
        except BaseException:
            self._running -= 1
            raise
        pieces = _Pieces(_read(reply, task.deadline), reply, self._release)
        return Stream(model, 0, text_hash(prompt), pieces)

    def _release(self) -> None:
        self._running -= 1

    async def _check(self, reply: httpx.Response) -> None:
        """Pass the upstream's refusal on, without its text where that is none of the client's business."""
        if reply.status_code == 200:
            return
        detail = _message_of(await reply.aread())
        await reply.aclose()
        if reply.status_code == 429:
            raise busy(
                float(reply.headers.get("retry-after", "1")) if reply.headers.get("retry-after", "1").isdigit() else 1
            )
        if reply.status_code in (400, 413, 422):
            raise bad_request(detail or "the upstream refused the request")
        self._faults += 1
        log.warning("the upstream answered %s: %s", reply.status_code, detail)
        raise engine_down(f"the upstream server answered {reply.status_code}")


class _Pieces:
    """The upstream's pieces; closing them hangs up, which cancels the answer there."""

    def __init__(self, source: AsyncGenerator[Piece, None], reply: httpx.Response, release: Any) -> None:
        self._source = source
        self._reply = reply
        self._release = release
        self._open = True

    def __aiter__(self) -> AsyncIterator[Piece]:
        return self

    async def __anext__(self) -> Piece:
        return await anext(self._source)

    async def aclose(self) -> None:
        """Hang up."""
        if self._open:
            self._open = False
            self._release()
            await self._reply.aclose()


def check_address(url: str, allowed: frozenset[str]) -> None:
    """Refuse an upstream URL that is malformed, carries a password, or points outside private networks.

    Raises:
        UsageError: with the option that allows a public host.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise UsageError(f"not a plain http(s) address: {url!r}", next_step="such as http://127.0.0.1:8001/v1")
    if parts.hostname in allowed:
        return
    try:
        found = socket.getaddrinfo(parts.hostname, parts.port or 443, type=socket.SOCK_STREAM)
    except OSError as error:
        raise EnvironmentFault(f"the host {parts.hostname!r} is not known", next_step="correct --upstream") from error
    for entry in found:
        address = ipaddress.ip_address(str(entry[4][0]).partition("%")[0])
        if not (address.is_private or address.is_loopback) or address.is_link_local:
            raise UsageError(
                f"{parts.hostname!r} is outside this machine and private networks",
                next_step=f"--allow-host {parts.hostname} if prompts may go there",
            )


def _request(task: Task, model: str) -> tuple[str, dict[str, Any], str]:
    """Path, body and prompt text of the upstream request; the think policy goes along."""
    sampling = task.sampling
    body: dict[str, Any] = {
        "model": model,
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": sampling.seed % 2**31,
    }
    body |= {"top_k": sampling.top_k} if sampling.top_k else {}
    body |= {"repetition_penalty": sampling.repetition_penalty} if sampling.repetition_penalty != 1 else {}
    body |= {"max_tokens": sampling.max_tokens} if sampling.max_tokens else {}
    body |= {"stop": list(sampling.stop)} if sampling.stop else {}
    if task.prompt is not None:
        return "completions", {**body, "prompt": task.prompt}, str(task.prompt)
    messages = under_policy(without_control_tokens(task.messages))
    chat = {"messages": messages, "chat_template_kwargs": {"enable_thinking": False}}
    return "chat/completions", {**body, **chat}, json.dumps(messages, ensure_ascii=False)


async def _read(reply: httpx.Response, deadline: float) -> AsyncGenerator[Piece, None]:
    """The upstream's events as pieces; an empty think block at the beginning is left out."""
    finish: FinishReason | None = None
    opening = _Opening()
    prompt, made, counted = 0, 0, 0
    async for event in _events(reply, deadline):
        try:
            text, ended = _choice(event)
            usage = event.get("usage") or {}
            prompt, made = int(usage.get("prompt_tokens", prompt)), int(usage.get("completion_tokens", made))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise engine_down("the upstream's answer broke off") from None
        finish = ended or finish
        if text and (shown := opening.pass_on(text)):
            counted += 1
            yield Piece(shown, 1)
    if finish is None:
        raise engine_down("the upstream's answer broke off")
    yield Piece(opening.rest(), max(0, made - counted), finish, prompt)


async def _events(reply: httpx.Response, deadline: float) -> AsyncIterator[Any]:
    """The JSON of each server-sent event until the stream ends or the deadline passes."""
    lines = reply.aiter_lines()
    while True:
        left = None if deadline == float("inf") else max(0.0, deadline - time.monotonic())
        try:
            line = await asyncio.wait_for(anext(lines), left)
            data = line.removeprefix("data:").strip()
            if line.startswith("data:") and data != "[DONE]":
                yield json.loads(data)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise overdue() from None
        except (httpx.HTTPError, ValueError):
            raise engine_down("the upstream's answer broke off") from None


def _choice(event: dict[str, Any]) -> tuple[str, FinishReason | None]:
    """Text and finish reason of one event."""
    if "error" in event:
        raise ValueError("the upstream reports an error")
    if not event.get("choices"):
        return "", None
    choice = event["choices"][0]
    text = choice.get("delta", {}).get("content") or choice.get("text") or ""
    reason = choice.get("finish_reason")
    return text, None if reason is None else "length" if reason == "length" else "stop"


class _Opening:
    """Leaves out an empty think block, with the blanks around it, at the beginning of an answer."""

    def __init__(self) -> None:
        self._held = ""
        self._open = True

    def pass_on(self, text: str) -> str:
        if not self._open:
            return text
        self._held += text
        start, end = EMPTY_THINKING
        seen = self._held.lstrip()
        inner = seen.removeprefix(start).lstrip()
        if start.startswith(seen) or (seen.startswith(start) and end.startswith(inner)):
            return ""
        self._open = False
        return inner.removeprefix(end).lstrip() if seen.startswith(start) and inner.startswith(end) else self._held

    def rest(self) -> str:
        return self._held if self._open and not self._held.lstrip().startswith(EMPTY_THINKING[0]) else ""


def _message_of(body: bytes) -> str:
    try:
        said = json.loads(body)
        error = said.get("error", said)
        return str(error.get("message", "") if isinstance(error, dict) else error)[:300]
    except (ValueError, AttributeError):
        return ""
