"""What an OpenAI-compatible server is sent and what it says: request bodies, server-sent events, refusals.

Servers differ: llama-server has its own names for the penalty, some send whole replies where a stream was asked for,
content as a list of parts, nulls, an event over several data lines, or no finish reason before [DONE]. Whatever says the
same thing is read the same way.
"""

import codecs
import json
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

from ..prompt import marked_for
from .protocol import FinishReason, Piece, Task
from .refusals import Refusal, engine_down

# fields beyond OpenAI's API; a server that refuses them is asked without
EXTENSIONS = ("chat_template_kwargs", "repetition_penalty", "repeat_penalty", "repeat_last_n", "top_k")
EMPTY_THINKING = ("<think>", "</think>")
LINE_END = re.compile(r"\r\n|\n|\r")
TOO_LONG = re.compile(r"context (?:length|size|window)|exceeds? the (?:available )?context", re.IGNORECASE)
SURROGATE = re.compile("[\ud800-\udbff]$")


def request_body(task: Task, model: str, new_tokens: int) -> tuple[str, dict[str, Any]]:
    """Path and body of a request; the think policy goes along.

    The penalty has two names: `repetition_penalty` (vLLM, SGLang), and `repeat_penalty` over `repeat_last_n` tokens
    (llama-server, -1: all of them). A `top_k` of 0 is sent, since llama-server takes 40 where none is given.
    """
    sampling = task.sampling
    body: dict[str, Any] = {
        "model": model,
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": sampling.max_tokens or new_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "seed": sampling.seed % 2**31,
    }
    if sampling.repetition_penalty != 1 and not sampling.quoting:
        penalty = sampling.repetition_penalty
        body |= {"repetition_penalty": penalty, "repeat_penalty": penalty, "repeat_last_n": -1}
    body |= {"stop": list(sampling.stop)} if sampling.stop else {}
    if task.prompt is not None:
        return "completions", {**body, "prompt": task.prompt}
    messages = marked_for(model, task.messages)
    return "chat/completions", {**body, "messages": messages, "chat_template_kwargs": {"enable_thinking": False}}


def without_extensions(body: dict[str, Any]) -> dict[str, Any]:
    """The body in OpenAI's own fields alone."""
    return {name: value for name, value in body.items() if name not in EXTENSIONS}


async def events(chunks: AsyncIterator[bytes]) -> AsyncIterator[Any]:
    """The JSON value of each server-sent event, and a last None for [DONE]; a body that is JSON as a whole is one event.

    Lines end at CR, LF or both, nowhere else: a text may hold other line separators. Events per the HTML standard, §9.2.6.
    """
    data: list[str] = []
    other: list[str] = []
    async for line in _lines(chunks):
        if line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
        elif not line and data:
            for value in _values(data):
                yield value
            data = []
        elif line.startswith(("{", " ", "}", "[", "]", '"')):
            other.append(line)
    for value in _values(data or other):
        yield value


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
    rest = ""
    async for chunk in chunks:
        rest += decoder.decode(chunk)
        *whole, rest = LINE_END.split(rest) if not rest.endswith("\r") else [rest]
        for line in whole:
            yield line
    for line in LINE_END.split(rest + decoder.decode(b"", final=True)):
        yield line
    yield ""


def _values(data: list[str]) -> Iterator[Any]:
    text = "\n".join(data).strip()
    if text == "[DONE]":
        yield None
    elif text:
        yield json.loads(text)


class ReplyReader:
    """Makes pieces of a reply's events."""

    def __init__(self) -> None:
        self._opening = _Opening()
        self._finish: FinishReason | None = None
        self._prompt = self._made = self._counted = 0
        self._held = ""  # half of a surrogate pair whose other half is still to come
        self._any = False

    def take(self, event: Any) -> Piece | None:
        """A piece with the event's new text, if it has any.

        Raises:
            Refusal: the event reports an error, or is none that could be understood.
        """
        if event is None:  # [DONE]
            self._finish = self._finish or ("stop" if self._any else None)
            return None
        try:
            if "error" in event:
                raise engine_down("the upstream server reports an error")
            self._count(event.get("usage"))
            choices = event.get("choices") or [{}]
            text = self._whole_characters(_text(choices[0]))
            self._finish = _finish(choices[0]) or self._finish
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            raise engine_down("the upstream's answer broke off") from None
        self._any = self._any or bool(text)
        shown = self._opening.pass_on(text) if text else ""
        self._counted += bool(shown)
        return Piece(shown, 1) if shown else None

    def last(self) -> Piece:
        """The last piece, with the finish reason.

        Raises:
            Refusal: the reply ended without one.
        """
        if self._finish is None:
            raise engine_down("the upstream's answer broke off")
        return Piece(self._opening.rest(), max(0, self._made - self._counted), self._finish, self._prompt)

    def _count(self, usage: Any) -> None:
        known = usage if isinstance(usage, dict) else {}
        self._prompt = int(known.get("prompt_tokens") or self._prompt)
        self._made = int(known.get("completion_tokens") or self._made)

    def _whole_characters(self, text: str) -> str:
        """Surrogate pairs put together, also over two events; halves that stay alone become U+FFFD."""
        text = self._held + text
        self._held = text[-1] if SURROGATE.search(text) else ""
        text = text[: len(text) - len(self._held)]
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _text(choice: dict[str, Any]) -> str:
    said = choice.get("delta") or choice.get("message") or {}
    content = said.get("content") or choice.get("text") or ""
    if isinstance(content, list):  # parts: {"type": "text", "text": …}
        content = "".join(str(part.get("text") or "") for part in content)
    return str(content)


def _finish(choice: dict[str, Any]) -> FinishReason | None:
    reason = choice.get("finish_reason")
    return ("length" if reason == "length" else "stop") if reason else None


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


def refusal_of(status: int, body: bytes, pause: float | None) -> Refusal:
    """The upstream's refusal in our words; its own are passed on only where they are about the request.

    Args:
        pause: seconds that it asks to wait.
    """
    detail = _message(body)
    if status == 429:
        return Refusal(
            429, "the upstream server is busy; try again shortly", code="queue_full", retry_after=pause or 1.0
        )
    if status == 404:
        return Refusal(
            404, "the upstream server does not serve this model any more", code="model_not_found", param="model"
        )
    if status in (400, 413, 422):
        code = "context_length_exceeded" if TOO_LONG.search(detail) else None
        return Refusal(400, detail or "the upstream server refused the request", code=code)
    return engine_down(f"the upstream server answered {status}")


def _message(body: bytes) -> str:
    try:
        said = json.loads(body)
        error = said.get("error", said.get("message") or said.get("detail") or "")
        text = error.get("message") or "" if isinstance(error, dict) else error
        return (text if isinstance(text, str) else json.dumps(text, ensure_ascii=False))[:300]
    except (ValueError, AttributeError):
        return ""
