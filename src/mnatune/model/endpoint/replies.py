"""JSON out of what a model wrote, and the checks of a flat schema.

A flat schema is a JSON schema of one object whose properties are strings, integers, numbers or booleans, with `enum`,
`minimum`, `maximum`, `minLength` and `maxLength` at most: what every guided-decoding engine supports. A server that
was given it may still ignore it, so every reply is checked here.
"""

import json
import re
from typing import Any

from ...runs.errors import DataError

FENCE = re.compile(r"^```[a-zA-Z]*\s*+|(?<!\s)\s*+```$")
THOUGHT_END = "</think>"
KINDS: dict[str, tuple[type, ...]] = {"integer": (int,), "number": (int, float), "string": (str,), "boolean": (bool,)}


class BadReply(DataError):
    """A reply that cannot be used.

    Args:
        code: short name of the fault, counted in the manifest ("no-json", "wrong-id" …).
        what: the fault in words; it is sent back to the model with the repair request.
    """

    def __init__(self, code: str, what: str) -> None:
        super().__init__(what)
        self.code = code


def json_in(text: str, opening: str = "{") -> tuple[Any, bool]:
    """The first JSON object (or array, with `opening="["`) of a text, and whether the text was nothing else.

    Raises:
        BadReply: there is none ("no-json"), or it is broken ("bad-json").
    """
    whole = text.strip()
    body = FENCE.sub("", whole.rpartition(THOUGHT_END)[2].strip()).strip()
    start = body.find(opening)
    if start < 0:
        raise BadReply("no-json", "JSON이 없습니다")
    try:
        value, end = json.JSONDecoder(parse_constant=_refuse_constant).raw_decode(body, start)
    except (ValueError, RecursionError) as error:
        raise BadReply("bad-json", f"JSON이 깨졌습니다({type(error).__name__})") from error
    return value, start == 0 and end == len(body) and body == whole


def check_flat(value: Any, schema: dict[str, Any]) -> dict[str, Any]:
    """The object with the schema's properties only, integers as integers.

    An integer may come as 4.0 or "4", which mean nothing else; "4/5" and 150 do not pass.

    Raises:
        BadReply: no object ("not-an-object"), a missing property ("missing-KEY") or a wrong value ("bad-KEY").
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
    wrong = BadReply(f"bad-{name}", f"{name} 값이 잘못되었습니다: {json.dumps(value, ensure_ascii=False)[:80]}")
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
        value = value.strip()
        if not rule.get("minLength", 0) <= len(value):
            raise wrong
        value = value[: rule.get("maxLength", len(value))]
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
