"""A question, its outcome, and the dialects of the API that servers understand."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..prompt import Message

# What servers accept: a JSON schema as OpenAI words it, and all sampling; the schema as llama-cpp-python has it and
# OpenAI's own sampling; no schema; max_completion_tokens only.
DIALECTS = ("guided", "object", "plain", "bare")
OWN_SAMPLING = ("temperature", "top_p", "seed")
REPAIR = "방금 보낸 답은 쓸 수 없습니다. 까닭: {error}\n설명 없이 요구한 모양의 JSON만 출력하십시오."

Check = Callable[[str], tuple[dict[str, Any], bool]]


@dataclass(frozen=True, slots=True)
class Ask:
    """One question for the model.

    Attributes:
        key: `ledger_key` of all that the reply depends on.
        messages: the prompt.
        schema: flat JSON schema for servers that can guide decoding; None for other shapes.
        check: turns the reply's text into (value, whether the text was nothing but it), or raises `BadReply`; None
            takes any text, cut or whole: the value is {"text", "stopped"}.
        max_tokens: longest reply; one that `check` refuses because it is cut is asked again with twice as much.
        repair: what to say after an unusable reply; {error} is replaced by the fault.
        sampling: fields of the request that say how to sample; greedy without them. A server that refuses those that
            are not OpenAI's own gets the rest, and the outcome's `how` is "tolerated".
    """

    key: str
    messages: list[Message]
    schema: dict[str, Any] | None
    check: Check | None
    max_tokens: int = 400
    repair: str = REPAIR
    sampling: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The one state in which an `Ask` ends: "ok" with its value, or "failed" with a code."""

    key: str
    state: str
    code: str
    how: str
    value: dict[str, Any]
    cached: bool


def request_body(ask: Ask, model: str, messages: list[Message], limit: int, dialect: str) -> dict[str, Any]:
    """The request's JSON in one of `DIALECTS`; `limit` is the longest reply in tokens."""
    body: dict[str, Any] = {"model": model, "messages": messages}
    if dialect == "bare":
        return {**body, "max_completion_tokens": limit}
    if dialect == "guided" and ask.schema is not None:
        form = {"name": "reply", "strict": True, "schema": ask.schema}
        body["response_format"] = {"type": "json_schema", "json_schema": form}
    if dialect == "object" and ask.schema is not None:
        body["response_format"] = {"type": "json_object", "schema": ask.schema}
    sampling = {k: v for k, v in ask.sampling.items() if dialect == "guided" or k in OWN_SAMPLING}
    return {**body, "temperature": 0, "max_tokens": limit, **sampling}
