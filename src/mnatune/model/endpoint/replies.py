"""Extracts JSON from a model's text and checks it against a flat schema.

A flat schema is a JSON schema of one object whose properties are strings, integers, numbers or booleans, with `enum`,
`minimum`, `maximum`, `minLength` and `maxLength` at most: what every guided-decoding engine supports. A server that
was given it may still ignore it, so every reply is checked here.
"""

import json
import re
import string
from collections.abc import Iterator
from typing import Any

from ...runs.errors import DataError
from ...text.normalize import SURROGATES

FENCE = "```"
THOUGHT_END = "</think>"
MOST_BRACKETS = 30  # failed attempts to decode, after which a text counts as broken
KINDS: dict[str, tuple[type, ...]] = {"integer": (int,), "number": (int, float), "string": (str,), "boolean": (bool,)}
# What a model writes when it copies the form instead of filling it in.
PLACEHOLDER = re.compile(
    r"[\W_]*+(?:\d+자(?:를|\s)?\s*(?:넘지 않는|이내|이하|안팎)[^.!?\n]{0,20}"
    r"|(?:(?:짧은|간단한|한국어|실제|구체적인|당신의|판단의|평가|채점)\s?)+(?:이유|까닭|사유|근거|설명|질문|답변|구절|인용|내용|글|문자열)"
    r"|여기에[^.!?\n]{0,30}"
    r"|(?:(?:your|the|an?|short|brief|korean|actual|exact)\s)+(?:reason|evidence|question|answer|quote|span|string|text)(?: here)?"
    r")?[\W_]*"
    r"|<[^<>\n]{1,40}>|\{[^{}\n]{1,40}\}|\[[^\[\]\n]{1,40}\]",
    re.IGNORECASE,
)
LONGEST_PLACEHOLDER = 80


class BadReply(DataError):
    """A reply that cannot be used.

    Args:
        code: short name of the fault, counted in the manifest ("no-json", "wrong-id" …).
        what: the fault in words; it is sent back to the model with the repair request.
    """

    def __init__(self, code: str, what: str) -> None:
        super().__init__(what)
        self.code = code


def text_of(content: Any) -> str:
    """The text of a message's content, which may be a string, None or a list of parts; other parts are ignored."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(part if isinstance(part, str) else _text_part(part) for part in content)
    return ""


def _text_part(part: Any) -> str:
    text = part.get("text") if isinstance(part, dict) and part.get("type", "text") in ("text", "output_text") else None
    return text if isinstance(text, str) else ""


def whole(text: str) -> str:
    """The text with U+FFFD for each half of a surrogate pair, which neither UTF-8 nor SQLite can hold."""
    return SURROGATES.sub("\ufffd", text)


def json_in(text: str, opening: str = "{") -> tuple[Any, bool]:
    """The JSON object (or array, with `opening="["`) of a text, and whether the text was nothing else.

    Raw line breaks and tabs inside strings are accepted. Several different objects are refused: the answer may be the
    first (before a sequel) or the last (after an example).

    Raises:
        BadReply: there is none ("no-json"), it is broken ("bad-json"), or there are several ("several-json").
    """
    whole_text = text.strip()
    body = _unfenced(whole_text.rpartition(THOUGHT_END)[2].strip())
    if opening not in body:
        raise BadReply("no-json", "JSON이 없습니다")
    found = list(_values(body, opening))
    if not found:
        raise BadReply("bad-json", "JSON이 깨졌습니다")
    value, start, end = found[0]
    if any(other != value for other, _, _ in found[1:]):
        raise BadReply("several-json", "JSON이 여럿입니다. 답 하나만 출력하십시오")
    return value, start == 0 and end == len(body) and body == whole_text


def _unfenced(text: str) -> str:
    """The text without a code fence around it."""
    if text.startswith(FENCE):
        text = text[len(FENCE) :].lstrip(string.ascii_letters)
    return text.removesuffix(FENCE).strip()


def _values(body: str, opening: str) -> Iterator[tuple[Any, int, int]]:
    """The outermost JSON values of a text, each with its start and end."""
    decoder = json.JSONDecoder(strict=False, parse_constant=_refuse_constant)
    start, broken = body.find(opening), 0
    while start >= 0 and broken < MOST_BRACKETS:
        try:
            value, end = decoder.raw_decode(body, start)
        except (ValueError, RecursionError):
            broken, end = broken + 1, start + 1
        else:
            yield value, start, end
        start = body.find(opening, end)


def check_flat(value: Any, schema: dict[str, Any]) -> dict[str, Any]:
    """The object with the schema's properties only, integers as integers.

    An integer may come as 4.0 or "4", which mean nothing else; "4/5" and 150 do not pass. A string that only repeats
    what the form asks for ("한국어 이유", "<reason>", "…") is no value.

    Raises:
        BadReply: no object ("not-an-object"), a missing property ("missing-KEY"), a wrong value ("bad-KEY") or a copy
            of the form ("placeholder-KEY").
    """
    if not isinstance(value, dict):
        raise BadReply("not-an-object", "JSON 객체가 아닙니다")
    checked: dict[str, Any] = {}
    for name, rule in schema["properties"].items():
        if value.get(name) is None:
            if name in schema.get("required", ()):
                raise BadReply(f"missing-{name}", f"{name} 값이 없습니다")
            continue
        checked[name] = _fitting(name, value[name], rule)
    return checked


def _fitting(name: str, value: Any, rule: dict[str, Any]) -> Any:
    shown = whole(json.dumps(value, ensure_ascii=False)[:80])
    wrong = BadReply(f"bad-{name}", f"{name} 값이 잘못되었습니다: {shown}")
    kind = rule["type"]
    if kind == "integer":
        if isinstance(value, str) and re.fullmatch(r"\s*-?\d{1,9}\s*", value):
            value = int(value)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
    if not isinstance(value, KINDS[kind]) or (isinstance(value, bool) and kind != "boolean"):
        raise wrong
    if "enum" in rule and value not in rule["enum"]:
        raise wrong
    if kind in ("integer", "number") and not rule.get("minimum", value) <= value <= rule.get("maximum", value):
        raise wrong
    if isinstance(value, str):
        value = whole(value).strip()
        if not rule.get("minLength", 0) <= len(value):
            raise wrong
        if value and "enum" not in rule and len(value) <= LONGEST_PLACEHOLDER and PLACEHOLDER.fullmatch(value):
            raise BadReply(f"placeholder-{name}", f"{name}에 양식의 말을 그대로 옮겼습니다: {shown}")
        value = value[: rule.get("maxLength", len(value))]
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
