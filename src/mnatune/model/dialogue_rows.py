"""Files of rows that people write, a JSON object a line: read in NFC, and refused with their line where a dialogue is none.

Does not: know what a training method or a stage wants of a row beyond its dialogues.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unicodedata import is_normalized, normalize

from ..runs.errors import DataError
from ..text.normalize import SURROGATES
from .prompt import Message

ROLES = ("system", "user", "assistant", "tool")
TURN = 'write each turn as {"role": "user", "content": "…"}'


def given_rows(path: Path, *, empty_ok: bool = False) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a file, each behind its place, "file:line". All text is in NFC; a key with null is as good as none.

    Raises:
        DataError: a line is no JSON object, or there is none.
    """
    empty = not empty_ok
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                empty = False
                yield f"{path}:{number}", _row(line, f"{path}:{number}")
    if empty:
        raise DataError(
            "the file holds no rows", where=str(path), next_step="write a JSON object a line, or name another file"
        )


def turns_of(row: Mapping[str, Any], name: str, where: str) -> list[Message]:
    """The dialogue under a key of a row, its turns with role and content alone.

    Raises:
        DataError: it is no list of turns.
    """
    given = row.get(name)
    if fault := _fault(given):
        raise DataError(f"{name} must be a list of turns, and {fault}", where=where, next_step=TURN)
    return [Message(role=turn["role"], content=turn["content"]) for turn in given or ()]


def answered_turns(row: Mapping[str, Any], where: str) -> list[Message]:
    """The dialogue under `messages`, which ends with a question and its answer.

    Raises:
        DataError: it does not.
    """
    turns = turns_of(row, "messages", where)
    if [turn["role"] for turn in turns[-2:]] != ["user", "assistant"] or not all(says(turn) for turn in turns[-2:]):
        raise DataError(
            "not a dialogue that ends with a question and its answer", where=where,
            next_step="let messages end with a turn of user and a turn of assistant, neither of them empty",
        )  # fmt: skip
    return turns


def says(turn: Message) -> bool:
    """There is more than white space in a turn."""
    return bool(turn["content"].strip())


def _row(line: bytes, where: str) -> dict[str, Any]:
    try:
        text = line.decode("utf-8-sig")
        row = json.loads(text)
    except UnicodeDecodeError as error:
        raise DataError("not UTF-8", where=where, next_step="save the file as UTF-8") from error
    except (ValueError, RecursionError) as error:
        told = f"not a JSON line: {getattr(error, 'msg', error)}"
        raise DataError(told, where=where, next_step="write a JSON object a line (JSONL)") from error
    if not isinstance(row, dict):
        raise DataError("a row must be a JSON object", where=where, next_step="write a JSON object a line (JSONL)")
    if "\\u" in text or not is_normalized("NFC", text):
        row = _tidy(row)
    return {name: value for name, value in row.items() if value is not None}


def _tidy(value: Any) -> Any:
    """The value with all of its texts in NFC, halves of surrogate pairs replaced."""
    if isinstance(value, str):
        return normalize("NFC", SURROGATES.sub("\ufffd", value))
    if isinstance(value, list):
        return [_tidy(one) for one in value]
    return {_tidy(name): _tidy(one) for name, one in value.items()} if isinstance(value, dict) else value


def _fault(given: Any) -> str:
    """What keeps a value from being a dialogue; empty if nothing does."""
    if given is None:
        return "the row has none"
    if not isinstance(given, list):
        return f"it is {'text' if isinstance(given, str) else 'something else'}"
    if not given:
        return "it is empty"
    for number, turn in enumerate(given, 1):
        if not isinstance(turn, dict):
            return f"number {number} is no turn"
        if turn.get("role") not in ROLES:
            return f"the role of turn {number} is none of {', '.join(ROLES)}"
        if not isinstance(turn.get("content"), str):
            return f"the content of turn {number} is no text"
    return ""
