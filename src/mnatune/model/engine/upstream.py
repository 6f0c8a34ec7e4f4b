"""The engine for production: any OpenAI-compatible server (vLLM, llama-server, Ollama) behind the gateway.

Only three addresses of the upstream are ever called: /models, /chat/completions and /completions. By default it must
stand on this machine or in a private network: prompts of a law firm do not leave the building because of a typing
error in a URL. Answers are always streamed from the upstream, so that a client that leaves frees it at once.

The same engine answers the evaluation's questions by plain calls: what is judged is what would be served.
"""

import asyncio
import ipaddress
import logging
import os
import socket
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from ...runs.errors import EnvironmentFault, UsageError
from ..endpoint.wire import KEY_VARIABLE, retry_after
from .protocol import Answer, Load, Piece, ServedModel, Stream, Task, find_model, text_hash
from .refusals import Refusal, bad_request, busy, engine_down, overdue
from .upstream_wire import EXTENSIONS, ReplyReader, events, refusal_of, request_body, without_extensions

log = logging.getLogger(__name__)

CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 120.0  # between two pieces of an answer
LOOK_SECONDS = 5.0  # between two looks whether the upstream is there
PAUSES = (1.0, 2.0, 4.0, 8.0)  # before a plain call is tried again
GIVEN_UP = 10  # plain calls given up in a row after which the server counts as gone


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where the answers come from.

    Attributes:
        url: the API's root, such as http://127.0.0.1:8001/v1.
        models: names to serve, default first; empty takes what the upstream lists.
        capacity: answers in flight at most; more are refused with 429.
        allow_hosts: public hosts that may be called.
        new_tokens: limit of an answer whose task names none.
    """

    url: str
    models: tuple[str, ...] = ()
    capacity: int = 256
    allow_hosts: frozenset[str] = frozenset()
    new_tokens: int = 512


class UpstreamEngine:
    """Passes tasks on to an OpenAI-compatible server. `transport` replaces the network in tests.

    Attributes:
        tolerated: answers that were given without the fields beyond OpenAI's API, since the server refused them.
    """

    def __init__(self, upstream: Upstream, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self.tolerated = 0
        self._upstream = upstream
        self._root = upstream.url.rstrip("/")
        check_address(self._root, upstream.allow_hosts)
        self._transport = transport
        self._client: httpx.AsyncClient | None = None
        self._watch: asyncio.Task[None] | None = None
        self._models = [self._described(name) for name in upstream.models]
        self._running = self._faults = 0
        self._takes_extensions: bool | None = None  # not known yet
        self._fault = "the upstream has not been asked yet"

    def models(self) -> Sequence[ServedModel]:
        return self._models

    def fault(self) -> str:
        return self._fault

    def load(self) -> Load:
        return Load(running=self._running, faults=self._faults)

    async def start(self) -> None:
        """Ask the upstream what it serves, and look from time to time whether it still does."""
        self._connect()
        try:
            listed = await self._listed()
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise EnvironmentFault(
                f"the upstream does not answer as an OpenAI-compatible server: {type(error).__name__}",
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
        self._models = [self._described(name) for name in self._upstream.models or listed]
        self._fault = ""
        self._watch = asyncio.create_task(self._look())

    async def stop(self) -> None:
        """Close the connections."""
        self._fault = "the engine is not running"
        if self._watch:
            self._watch.cancel()
        if self._client:
            await self._client.aclose()

    def close(self) -> None:
        """Nothing is held between `stop` and the next start."""

    async def open(self, task: Task) -> Stream:
        model = find_model(self._models, task.model)
        if self._running >= self._upstream.capacity:
            raise busy()
        path, body = request_body(task, model.id, self._upstream.new_tokens)
        prompt = str(task.prompt if task.prompt is not None else body["messages"])
        if not prompt.strip():
            raise bad_request("the prompt is empty", param="prompt")
        self._running += 1
        try:
            reply = await self._accepted(path, body, task.deadline)
        except BaseException:
            self._running -= 1
            raise
        return Stream(model, 0, text_hash(prompt), _Pieces(_read(reply, task.deadline), reply, self._release))

    def answers(
        self, tasks: Sequence[Task], *, done: Callable[[int, Answer], None] = lambda at, answer: None
    ) -> list[Answer | Refusal]:
        """As the protocol says; `capacity` tasks at once, each tried again while the server is busy or away.

        Raises:
            EnvironmentFault: the server answers nothing any more.
        """
        return asyncio.run(self._all(tasks, done))

    async def _all(self, tasks: Sequence[Task], done: Callable[[int, Answer], None]) -> list[Answer | Refusal]:
        places, lost = asyncio.Semaphore(self._upstream.capacity), 0

        async def one(at: int, task: Task) -> Answer | Refusal:
            nonlocal lost
            async with places:
                found = await self._patiently(task)
            if isinstance(found, Answer):
                lost = 0
                done(at, found)
            elif found.status >= 429 and (lost := lost + 1) >= GIVEN_UP:
                raise EnvironmentFault(
                    f"the server has stopped answering: {found.message}",
                    where=self._root,
                    next_step="start it again and run the same command: answers that were given are kept",
                )
            return found

        self._connect()
        try:
            async with asyncio.TaskGroup() as group:
                running = [group.create_task(one(at, task)) for at, task in enumerate(tasks)]
        except* EnvironmentFault as faults:
            raise faults.exceptions[0] from None
        finally:
            await self.stop()
        return [task.result() for task in running]

    async def _patiently(self, task: Task) -> Answer | Refusal:
        for pause in (*PAUSES, None):
            try:
                stream = await self.open(task)
                pieces = [piece async for piece in stream.pieces]
                return Answer("".join(piece.text for piece in pieces).strip(), [], pieces[-1].finish == "stop")
            except Refusal as refusal:
                if pause is None or refusal.status < 429:
                    return refusal
                await asyncio.sleep(max(pause, refusal.retry_after if refusal.status == 429 else 0.0))
        raise AssertionError("the last try returns")

    def _described(self, name: str) -> ServedModel:
        return ServedModel(name, f"upstream#{name}")

    def _connect(self) -> None:
        key = os.environ.get(KEY_VARIABLE, "")
        self._client = httpx.AsyncClient(
            transport=self._transport,
            headers={"authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=self._upstream.capacity + 4),
            follow_redirects=False,
            trust_env=False,
        )

    async def _listed(self) -> list[str]:
        assert self._client is not None
        reply = await self._client.get(f"{self._root}/models")
        reply.raise_for_status()
        return [str(card["id"]) for card in reply.json()["data"]]

    async def _look(self) -> None:
        """Say in `fault` whether the upstream is there."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self._listed()
                self._fault = ""
            except (httpx.HTTPError, ValueError, KeyError, TypeError):
                self._fault = "the upstream server does not answer"

    def _release(self) -> None:
        self._running -= 1

    async def _accepted(self, path: str, body: dict[str, Any], deadline: float) -> httpx.Response:
        """The opened reply; a server that refuses fields beyond OpenAI's API is asked without them from then on."""
        plain = self._takes_extensions is False
        reply = await self._send(path, without_extensions(body) if plain else body, deadline)
        if (
            reply.status_code in (400, 422)
            and self._takes_extensions is None
            and not body.keys().isdisjoint(EXTENSIONS)
        ):
            refusal = await self._refusal(reply)
            reply = await self._send(path, without_extensions(body), deadline)
            if reply.status_code != 200:
                await reply.aclose()
                raise refusal
            self._takes_extensions, plain = False, True
        if reply.status_code != 200:
            raise await self._refusal(reply)
        if not plain:
            self._takes_extensions = True
        self.tolerated += plain
        return reply

    async def _send(self, path: str, body: dict[str, Any], deadline: float) -> httpx.Response:
        """The head of the reply; tried twice, since a kept connection may be closed as the request arrives."""
        assert self._client is not None
        for last in (False, True):
            request = self._client.build_request("POST", f"{self._root}/{path}", json=body)
            try:
                return await asyncio.wait_for(self._client.send(request, stream=True), _left(deadline))
            except TimeoutError:
                raise overdue() from None
            except httpx.RemoteProtocolError:
                if not last:
                    continue
                raise self._gone("RemoteProtocolError") from None
            except httpx.HTTPError as error:
                raise self._gone(type(error).__name__) from None
        raise AssertionError("the last try returns or raises")

    def _gone(self, name: str) -> Refusal:
        self._faults += 1
        log.warning("the upstream failed: %s", name)
        return engine_down("the upstream server does not answer")

    async def _refusal(self, reply: httpx.Response) -> Refusal:
        with suppress(httpx.HTTPError):
            await reply.aread()
        await reply.aclose()
        body = reply.content if reply.is_stream_consumed else b""
        refusal = refusal_of(reply.status_code, body, retry_after(reply.headers.get("retry-after")))
        if refusal.status == 503:
            self._faults += 1
        log.warning("the upstream answered %s", reply.status_code)
        return refusal


class _Pieces:
    """The upstream's pieces; closing them hangs up, which cancels the answer there."""

    def __init__(self, source: AsyncGenerator[Piece, None], reply: httpx.Response, release: Callable[[], None]) -> None:
        self._source = source
        self._reply = reply
        self._release = release
        self._open = True

    def __aiter__(self) -> AsyncIterator[Piece]:
        return self

    async def __anext__(self) -> Piece:
        try:
            return await anext(self._source)
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """Hang up."""
        if self._open:
            self._open = False
            self._release()
            await self._reply.aclose()


async def _read(reply: httpx.Response, deadline: float) -> AsyncGenerator[Piece, None]:
    """The reply as pieces; a deadline that passes between two of them ends it."""
    reader, source = ReplyReader(), events(reply.aiter_bytes())
    while True:
        try:
            piece = reader.take(await asyncio.wait_for(anext(source), _left(deadline)))
        except StopAsyncIteration:
            yield reader.last()
            return
        except TimeoutError:
            raise overdue() from None
        except (httpx.HTTPError, ValueError):
            raise engine_down("the upstream's answer broke off") from None
        if piece:
            yield piece


def _left(deadline: float) -> float | None:
    return None if deadline == float("inf") else max(0.0, deadline - time.monotonic())


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
