"""Rendering of the subset of Go's text/template that the Ollama template uses, to test it without Ollama.

Known: text with trim marks, fields (`.Role`), string and whole-number literals, brackets, `range … end` over a list,
`if … else … end`, and the functions eq, ge, not, and, or, len, slice. Strings have Go's semantics: `len` and `slice`
count bytes of UTF-8. Anything else is an error. A test compares with the real text/template where Go is installed.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mnatune.runs.errors import DataError

ACTION = re.compile(r"\{\{(-\s)?((?:(?!\{\{).)*?)(\s-)?\}\}", re.S)
WORD = re.compile(r'\s*(?:("(?:[^"\\]|\\.)*")|(\d+)|(\.\w*)|(\w+)|([()]))')

Node = tuple[str, Any]  # ("text", str), ("value", expression), ("range" | "if", (expression, nodes, nodes of else))


def render(template: str, data: Mapping[str, Any]) -> str:
    """The template's output for the data; strings in, string out.

    Raises:
        DataError: the template uses more than the subset, or is not well-formed.
    """
    parts = _lex(template)
    nodes, rest = _parse(parts, 0)
    if rest != len(parts):
        raise DataError("an 'end' or 'else' without its beginning", where="template")
    out: list[bytes] = []
    _run(nodes, _encoded(data), out)
    return b"".join(out).decode()


def _encoded(value: Any) -> Any:
    """Strings as bytes, all the way down."""
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, Mapping):
        return {key: _encoded(v) for key, v in value.items()}
    if isinstance(value, Sequence):
        return [_encoded(v) for v in value]
    return value


def _lex(template: str) -> list[tuple[str, Any]]:
    """Text and actions in turn, trim marks applied to the text beside them."""
    parts: list[tuple[str, Any]] = []
    at, trim = 0, False
    for match in ACTION.finditer(template):
        text = template[at : match.start()]
        text = text.lstrip(" \t\r\n") if trim else text
        parts.append(("text", text.rstrip(" \t\r\n") if match[1] else text))
        parts.append(("action", _words(match[2])))
        at, trim = match.end(), bool(match[3])
    tail = template[at:]
    parts.append(("text", tail.lstrip(" \t\r\n") if trim else tail))
    return parts


def _words(action: str) -> list[Any]:
    words: list[Any] = []
    at, action = 0, action.strip()
    while at < len(action):
        match = WORD.match(action, at)
        if match is None:
            raise DataError(f"not in the subset: {action!r}", where="template")
        literal, number, *names = match.groups()
        if literal is not None:
            words.append(json.loads(literal).encode())
        elif number is not None:
            words.append(int(number))
        else:
            words.append(next(name for name in names if name is not None))
        at = match.end()
    return words


def _parse(parts: list[tuple[str, Any]], at: int) -> tuple[list[Node], int]:
    """Nodes up to the `end` or `else` that closes them, and its place; the end of the template closes the outermost."""
    nodes: list[Node] = []
    while at < len(parts):
        kind, value = parts[at]
        if kind == "text":
            nodes.append((kind, value))
        elif value in (["end"], ["else"]):
            return nodes, at
        elif value and value[0] in ("range", "if"):
            body, at = _parse(parts, at + 1)
            other: list[Node] = []
            if at < len(parts) and parts[at][1] == ["else"]:
                other, at = _parse(parts, at + 1)
            if at >= len(parts) or parts[at][1] != ["end"]:
                raise DataError(f"a {value[0]!r} without its end", where="template")
            nodes.append((value[0], (value[1:], body, other)))
        else:
            nodes.append(("value", value))
        at += 1
    return nodes, at


def _run(nodes: list[Node], dot: Any, out: list[bytes]) -> None:
    for kind, value in nodes:
        if kind == "text":
            out.append(value.encode())
        elif kind == "value":
            out.append(_shown(_evaluate(value, dot)))
        else:
            words, body, other = value
            tested = _evaluate(words, dot)
            if kind == "range":
                for item in tested:
                    _run(body, item, out)
            if (kind == "if" and not tested) or (kind == "range" and not tested):
                _run(other, dot, out)
            elif kind == "if":
                _run(body, dot, out)


def _evaluate(words: list[Any], dot: Any) -> Any:
    value, rest = _command(words, 0, dot)
    if rest != len(words):
        raise DataError("more words than the function takes", where="template")
    return value


def _command(words: list[Any], at: int, dot: Any) -> tuple[Any, int]:
    """A function with its arguments, or one operand; stops at a closing bracket."""
    if isinstance(words[at], str) and words[at][0] not in ".(":
        if words[at] not in FUNCTIONS:
            raise DataError(f"the function {words[at]!r} is not in the subset", where="template")
        arguments: list[Any] = []
        name, at = words[at], at + 1
        while at < len(words) and words[at] != ")":
            known = not (name == "and" and arguments and not arguments[-1]) and not (
                name == "or" and arguments and arguments[-1]
            )
            value, at = _operand(words, at, dot) if known else (arguments[-1], _skip(words, at))
            arguments.append(value)
        return FUNCTIONS[name](arguments), at
    return _operand(words, at, dot)


def _operand(words: list[Any], at: int, dot: Any) -> tuple[Any, int]:
    word = words[at]
    if word == "(":
        value, at = _command(words, at + 1, dot)
        if at >= len(words) or words[at] != ")":
            raise DataError("a bracket is not closed", where="template")
        return value, at + 1
    if isinstance(word, str) and word.startswith("."):
        return (dot if word == "." else dot[word[1:]]), at + 1
    if isinstance(word, (bytes, int)):
        return word, at + 1
    raise DataError(f"{word!r} is no operand", where="template")


def _skip(words: list[Any], at: int) -> int:
    """The place after an operand that is not evaluated: `and` and `or` stop early, as Go's do."""
    depth = 0
    while True:
        depth += {"(": 1, ")": -1}.get(words[at], 0) if isinstance(words[at], str) else 0
        at += 1
        if depth == 0:
            return at


def _shown(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, bool):
        return b"true" if value else b"false"
    return str(value).encode()


FUNCTIONS: dict[str, Callable[[list[Any]], Any]] = {
    "eq": lambda a: any(a[0] == other for other in a[1:]),
    "ge": lambda a: a[0] >= a[1],
    "not": lambda a: not a[0],
    "and": lambda a: a[-1],
    "or": lambda a: a[-1],
    "len": lambda a: len(a[0]),
    "slice": lambda a: a[0][slice(*a[1:]) if len(a) > 2 else slice(a[1], None)],
}


def ollama_ids(tokenizer: Any, template: str) -> Callable[[list[dict[str, str]]], list[int]]:
    """Ids as Ollama makes them from its Go template (no token is added at the beginning: Qwen3 has none)."""

    def ids(messages: list[dict[str, str]]) -> list[int]:
        turns = [{"Role": m["role"], "Content": m["content"]} for m in messages]
        return list(tokenizer(render(template, {"Messages": turns}), add_special_tokens=False)["input_ids"])

    return ids
