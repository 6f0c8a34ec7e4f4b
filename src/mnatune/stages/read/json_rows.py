"""The rows of a JSON file, however they are wrapped: an array, JSON Lines, objects over several lines, a list under a key."""

import json
from collections.abc import Iterator
from typing import Any

import msgspec

from ...runs.errors import DataError
from .members import Twice, shape_of, unique

DEPTH = 4  # keys above a wrapped list


def json_rows(text: str, where: str) -> Iterator[tuple[Any, str]]:
    """Each row with "", or the rejected text with a reason.

    Raises:
        DataError: the file is an array or an object that is no JSON, or an object without a list of rows.
    """
    body = text.strip()
    if body.startswith("["):
        yield from _array(body, where)
    elif _is_lines(body):
        # Not splitlines: strings may hold U+2028, U+0085 and the like as they are.
        yield from (_line(line) for line in body.split("\n") if line.strip())
    else:
        yield from _objects(body, where)


def _is_lines(body: str) -> bool:
    """False if the first line opens an object that continues on the next."""
    first, _, rest = body.partition("\n")
    if not rest.strip() or not first.lstrip().startswith("{"):
        return True
    return "" in (_line(first)[1], _line(rest.split("\n")[0])[1])


def _line(line: str) -> tuple[Any, str]:
    try:
        value = msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        return line, "invalid-json"
    return (value, "") if not _repeats(line, value) else (line, "duplicate-key")


def _array(body: str, where: str) -> Iterator[tuple[Any, str]]:
    try:
        rows = json.loads(body, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise DataError(f"not a JSON array: {error}", where=where) from error
    for row in rows:
        yield row, "duplicate-key" if type(row) is Twice else ""


def _objects(body: str, where: str) -> Iterator[tuple[Any, str]]:
    """Concatenated objects, each of which may span lines."""
    decode = json.JSONDecoder(object_pairs_hook=unique).raw_decode
    at = 0
    while at < len(body):
        try:
            value, end = decode(body, at)
        except (ValueError, RecursionError):
            following = body.find("\n{", at + 1)
            end = following + 1 if following > 0 else len(body)
            yield body[at:end], "invalid-json"
        else:
            yield value, "duplicate-key" if type(value) is Twice else ""
        at = end
        while at < len(body) and body[at] in " \t\r\n,":
            at += 1


def unwrapped(value: Any, where: str) -> list[Any]:
    """The rows of an object that holds them in a list under a key, at most four keys deep.

    Raises:
        DataError: there is no such list, or several.
    """
    lists = list(_lists(value, "", DEPTH))
    if len(lists) == 1:
        return lists[0][1]
    names = ", ".join(path for path, _ in lists)
    told = f"the file is one object {f'with several lists of rows: {names}' if lists else 'without rows'}"
    step = "keep the list alone in the file, or write one row a line (JSON Lines)"
    raise DataError(f"{told}; its shape: {shape_of(msgspec.json.encode(value))}", where=where, next_step=step)


def _lists(value: Any, path: str, depth: int) -> Iterator[tuple[str, list[Any]]]:
    for key, below in value.items() if isinstance(value, dict) and depth else ():
        name = f"{path}.{key}".lstrip(".")
        if isinstance(below, list) and any(isinstance(row, dict) for row in below):
            yield name, below
        else:
            yield from _lists(below, name, depth - 1)


def _repeats(line: str, value: Any) -> bool:
    """True if an object repeats a key; JSON decoders would silently keep the last."""
    if not isinstance(value, dict) or all(line.count(f'"{key}"') < 2 for key in value):
        return False
    return type(json.loads(line, object_pairs_hook=unique)) is Twice
