"""One call to `/chat/completions`, and what its outcome means for the caller.

aiohttp is the cheapest client: 0.34 ms of CPU per call, where httpx and openai (which is built on it) took
2.4 ms with 16 connections (`bench/judge.py` repeats the measurement). Its `trust_env` stays off: with it a ~/.netrc entry
replaces the key. Proxies of the environment are used, but never for this machine's own addresses.
"""

import ipaddress
import json
import math
import os
import zlib
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from time import time
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from ...runs.errors import EnvironmentFault, MnatuneError, UsageError, needs
from ...runs.recipe import EndpointSection
from .replies import text_of, whole
from .tally import CallUsage

KEY_VARIABLE = "MNATUNE_API_KEY"
CHARS_PER_TOKEN = 1.44  # Korean legal text under the Qwen3 tokenizer: 1.43–1.46 measured
LONGEST_PAUSE = 600.0  # a Retry-After beyond this is cut to it
LONGEST_REPLY = 4 << 20  # bytes of a response's body, before and after decompression
MOST_TOKENS = 10_000_000  # larger counts of one call are not believed
QUOTED_CHARS = 300  # of a refusal, for the person at the keyboard
FORMAT_FIELD = b"response_format"
AGAIN = {408, 409, 425, 500, 502, 503, 504, 520, 522, 524, 529}
CUT_REASONS = ("length", "max_tokens")


@dataclass(frozen=True, slots=True)
class Reply:
    """A paid answer. `cut` says that it ended at max_tokens."""

    text: str
    cut: bool
    usage: CallUsage


@dataclass(frozen=True, slots=True)
class Fault:
    """A call without an answer.

    Attributes:
        name: "429", "503", "timeout", "reset" …
        kind: "crowded" (too many requests), "transport" (try again), "refused" (this request, as it is worded, or the
            dialect of the API that it uses), "fatal" (nothing more can be asked).
        pause: seconds that the server asks to wait, or None.
        error: for "fatal".
        detail: what the server said, cut, without the key.
    """

    name: str
    kind: str
    pause: float | None = None
    error: MnatuneError | None = None
    detail: str = ""


class OverlongBody(Exception):
    """A response's body exceeds `LONGEST_REPLY`."""


class Wire:
    """An open HTTP client for one endpoint; must be made inside the event loop."""

    def __init__(self, section: EndpointSection) -> None:
        with needs("aiohttp", "judge"):
            import aiohttp
        self._aiohttp = aiohttp
        self._section = section
        self._key = os.environ.get(KEY_VARIABLE, "").strip()
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=section.concurrency),
            timeout=aiohttp.ClientTimeout(total=section.timeout),
            headers=headers,
            auto_decompress=False,
        )
        self._url = f"{section.base_url.rstrip('/')}/chat/completions"
        self._proxy = proxy_of(self._url)

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def call(self, body: dict[str, Any], idempotency: str) -> Reply | Fault:
        """Post one request; never raises for what a server or network can do."""
        data = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        headers = {"Idempotency-Key": idempotency}
        post = self._session.post(self._url, data=data, headers=headers, allow_redirects=False, proxy=self._proxy)
        try:
            async with post as response:
                status, told = response.status, response.headers
                content = await _body_of(response)
        except TimeoutError:
            return Fault("timeout", "transport")
        except OverlongBody:
            return Fault("too-large", "refused", detail=f"a reply of more than {LONGEST_REPLY:,} bytes")
        except self._aiohttp.InvalidURL as error:
            fault = UsageError(f"endpoint.base_url is no http address: {error}", where=self._section.base_url)
            return Fault("bad-url", "fatal", error=fault)
        except self._aiohttp.ClientConnectorError:
            return Fault("no-connection", "transport")
        except (self._aiohttp.ClientError, OSError, zlib.error):
            return Fault("reset", "transport")
        if 200 <= status < 300:
            return self._reply(content, body)
        return self._refusal(status, content, retry_after(told.get("Retry-After")), told.get("Location", ""))

    def _reply(self, content: bytes, body: dict[str, Any]) -> Reply | Fault:
        try:
            answer = json.loads(content, parse_int=_integer)
            if isinstance(answer.get("error"), dict) and not answer.get("choices"):
                code = answer["error"].get("code")  # an error that came with status 200
                refused = isinstance(code, int) and 400 <= code < 600
                return self._refusal(code, content, None) if refused else self._no_completion(content)
            choice = answer["choices"][0] if answer["choices"] else {}  # no choice: a paid, empty reply
            text = whole(text_of((choice.get("message") or {}).get("content")))
            cut = choice.get("finish_reason") in CUT_REASONS
            used = answer.get("usage")
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
            return self._no_completion(content)
        used = used if isinstance(used, dict) else {}
        tokens_in = _tokens(used.get("prompt_tokens"), 1) or guess_tokens(body["messages"])
        tokens_out = _tokens(used.get("completion_tokens"), bool(text)) or round(len(text) / CHARS_PER_TOKEN)
        return Reply(text, cut, self.priced(tokens_in, tokens_out))

    def _no_completion(self, content: bytes) -> Fault:
        return Fault("no-completion", "transport", detail=self._said(content))

    def priced(self, tokens_in: int, tokens_out: int) -> CallUsage:
        """A call of so many tokens at the recipe's prices (per million)."""
        price_in, price_out = self._section.prices
        cost = (tokens_in * price_in + tokens_out * price_out) / 1e6
        return CallUsage(1, tokens_in, tokens_out, cost)

    def _refusal(self, status: int, content: bytes, pause: float | None, location: str = "") -> Fault:
        said = self._said(content)
        if 300 <= status < 400:
            what = f"the endpoint redirects to {location or 'nowhere'}"
            return self._fatal(status, what, "", "set endpoint.base_url to where it went")
        if status in (401, 403):
            next_step = f"export {KEY_VARIABLE}=… with a key that is valid for this endpoint"
            return self._fatal(status, "the endpoint refuses the key", said, next_step)
        if status == 402 or (status == 429 and b"insufficient_quota" in content):
            return self._fatal(status, "the endpoint's account has no credit left", said, "top it up, then run again")
        if status == 404:
            next_step = "correct endpoint.base_url (it usually ends in /v1) or endpoint.model"
            what = f"the endpoint knows no such path or model {self._section.model!r}"
            return self._fatal(status, what, said, next_step)
        if status == 429:
            return Fault(str(status), "crowded", pause, detail=said)
        if status in AGAIN and FORMAT_FIELD not in content:  # llama-cpp-python answers 500 to a format it does not know
            return Fault(str(status), "transport", pause, detail=said)
        return Fault(str(status), "refused", detail=said)

    def _fatal(self, status: int, what: str, said: str, next_step: str) -> Fault:
        kind = EnvironmentFault if status in (401, 402, 403, 429) else UsageError
        message = f"{what} (HTTP {status}){': ' if said else ''}{said}"
        return Fault(str(status), "fatal", error=kind(message, where=self._url, next_step=next_step))

    def _said(self, content: bytes) -> str:
        """The server's own words: its JSON error message if there is one, on one line, cut, without the key."""
        try:
            found = json.loads(content)
            error = found.get("error", found)
            said = error.get("message") if isinstance(error, dict) else error
        except (ValueError, AttributeError, RecursionError):
            said = None
        text = said if isinstance(said, str) else content[: 8 * QUOTED_CHARS].decode("utf-8", "replace")
        text = text.replace(self._key, "…") if self._key else text
        line = "".join(sign for sign in " ".join(text.split()) if sign.isprintable())
        return whole(line)[:QUOTED_CHARS]


async def _body_of(response: Any) -> bytes:
    """The body of a response, decompressed.

    Raises:
        OverlongBody: there is more of it than `LONGEST_REPLY`.
    """
    read = bytearray()
    async for piece in response.content.iter_any():
        read += piece
        if len(read) > LONGEST_REPLY:
            raise OverlongBody
    if response.headers.get("Content-Encoding", "").strip().lower() not in ("gzip", "x-gzip", "deflate"):
        return bytes(read)
    unpacked = zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(bytes(read), LONGEST_REPLY + 1)
    if len(unpacked) > LONGEST_REPLY:
        raise OverlongBody
    return unpacked


def proxy_of(url: str) -> str | None:
    """The environment's proxy for an address; None for this machine's own and for those of NO_PROXY."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return None if own_machine(host) or proxy_bypass(host) else getproxies().get(parts.scheme)


def own_machine(host: str) -> bool:
    """True if a host names this machine: localhost, 127.0.0.0/8, ::1 or the unspecified address."""
    name = host.rstrip(".").lower()
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")
    mapped = getattr(address, "ipv4_mapped", None) or address
    return bool(mapped.is_loopback or mapped.is_unspecified)


def _integer(digits: str) -> int | float:
    """A JSON integer; infinity for more digits than a count can have, which Python may refuse to convert."""
    return int(digits) if len(digits) < 20 else math.inf


def _tokens(said: Any, least: int) -> int:
    """A server's token count as an integer; 0 if it is not plausible."""
    plausible = isinstance(said, int | float) and not isinstance(said, bool) and least <= said <= MOST_TOKENS
    return int(said) if plausible else 0


def guess_tokens(messages: list[dict[str, str]]) -> int:
    """Prompt tokens by length, for servers that do not say and for reserving beforehand."""
    return round(sum(len(m["content"]) for m in messages) / CHARS_PER_TOKEN) + 8 * len(messages)


def retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header, given as seconds or as an HTTP date; None if absent or unreadable."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time()
        except (TypeError, ValueError, IndexError):
            return None
    return min(LONGEST_PAUSE, max(0.0, seconds)) if seconds == seconds else None
