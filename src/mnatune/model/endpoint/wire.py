"""One call to `/chat/completions`, and what its outcome means for the caller.

aiohttp is used because it costs the least: 0.34 ms of CPU per call, where httpx and openai (which is built on it) took
2.4 ms with 16 connections (`bench/judge.py` repeats the measurement).
"""

import json
import os
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from time import time
from typing import Any

from ...runs.errors import EnvironmentFault, MnatuneError, UsageError, missing_extra
from ...runs.recipe import EndpointSection
from .tally import CallUsage

KEY_VARIABLE = "MNATUNE_API_KEY"
CHARS_PER_TOKEN = 1.44  # Korean legal text under the Qwen3 tokenizer: 1.43–1.46 measured
LONGEST_PAUSE = 600.0  # a Retry-After beyond this is cut to it
QUOTED_BYTES = 300  # of a refusal, for the person at the keyboard
FORMAT_FIELD = b"response_format"
AGAIN = {408, 409, 425, 500, 502, 503, 504, 520, 522, 524, 529}


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
        detail: what the server said of a refused request, cut, without the key.
    """

    name: str
    kind: str
    pause: float | None = None
    error: MnatuneError | None = None
    detail: str = ""


class Wire:
    """An open HTTP client for one endpoint; must be made inside the event loop."""

    def __init__(self, section: EndpointSection) -> None:
        try:
            import aiohttp
        except ImportError as error:
            raise missing_extra("aiohttp", "judge") from error
        self._aiohttp = aiohttp
        self._section = section
        self._key = os.environ.get(KEY_VARIABLE, "").strip()
        headers = {"Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=section.concurrency),
            timeout=aiohttp.ClientTimeout(total=section.timeout),
            headers=headers,
            trust_env=True,
        )
        self._url = f"{section.base_url.rstrip('/')}/chat/completions"

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def call(self, body: dict[str, Any], idempotency: str) -> Reply | Fault:
        """Post one request; never raises for what a server or network can do."""
        data = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        headers = {"Idempotency-Key": idempotency}
        try:
            async with self._session.post(self._url, data=data, headers=headers, allow_redirects=False) as response:
                status, pause = response.status, retry_after(response.headers.get("Retry-After"))
                content = await response.read()
        except TimeoutError:
            return Fault("timeout", "transport")
        except self._aiohttp.InvalidURL as error:
            fault = UsageError(f"endpoint.base_url is no http address: {error}", where=self._section.base_url)
            return Fault("bad-url", "fatal", error=fault)
        except self._aiohttp.ClientConnectorError:
            return Fault("no-connection", "transport")
        except (self._aiohttp.ClientError, OSError):
            return Fault("reset", "transport")
        return self._reply(content, body) if status == 200 else self._refusal(status, content, pause)

    def _reply(self, content: bytes, body: dict[str, Any]) -> Reply | Fault:
        try:
            answer = json.loads(content)
            choice = answer["choices"][0] if answer["choices"] else {"message": {}}  # paid for, and empty
            text = str(choice["message"].get("content") or "")
            cut = choice.get("finish_reason") == "length"
            used = answer.get("usage")
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
            return Fault("no-completion", "transport")
        prompt = used.get("prompt_tokens") if isinstance(used, dict) else None
        completion = used.get("completion_tokens") if isinstance(used, dict) else None
        tokens_in = prompt if isinstance(prompt, int) else guess_tokens(body["messages"])
        tokens_out = completion if isinstance(completion, int) else round(len(text) / CHARS_PER_TOKEN)
        return Reply(text, cut, self.priced(tokens_in, tokens_out))

    def priced(self, tokens_in: int, tokens_out: int) -> CallUsage:
        """A call of so many tokens at the recipe's prices (per million)."""
        price_in, price_out = self._section.prices
        cost = (tokens_in * price_in + tokens_out * price_out) / 1e6
        return CallUsage(1, tokens_in, tokens_out, cost)

    def _refusal(self, status: int, content: bytes, pause: float | None) -> Fault:
        name = str(status)
        if status in (401, 403):
            return Fault(
                name,
                "fatal",
                error=EnvironmentFault(
                    f"the endpoint refuses the key (HTTP {status})",
                    where=self._url,
                    next_step=f"export {KEY_VARIABLE}=… with a key that is valid for this endpoint",
                ),
            )
        if status == 402 or (status == 429 and b"insufficient_quota" in content):
            return Fault(
                name,
                "fatal",
                error=EnvironmentFault(
                    "the endpoint's account has no credit left", where=self._url, next_step="top it up, then run again"
                ),
            )
        if status == 404:
            return Fault(
                name,
                "fatal",
                error=UsageError(
                    f"the endpoint knows no such path or model {self._section.model!r} (HTTP 404)",
                    where=self._url,
                    next_step="correct endpoint.base_url (it usually ends in /v1) or endpoint.model",
                ),
            )
        if status == 429:
            return Fault(name, "crowded", pause)
        if status in AGAIN and FORMAT_FIELD not in content:  # llama-cpp-python answers 500 to a format it does not know
            return Fault(name, "transport", pause)
        said = content[:QUOTED_BYTES].decode("utf-8", "replace")
        return Fault(name, "refused", detail=said.replace(self._key, "…") if self._key else said)


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
