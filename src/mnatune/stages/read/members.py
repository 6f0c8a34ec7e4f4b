"""One JSON member → rows. The fast way decodes it whole and typed; what that refuses is taken record by record."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain
from typing import Any

import msgspec

from .layout import Reader, Trail
from .shards import Columns, ReadRow, ShardWriter
from .split import Broken, split_records
from .wholesale import repeats, take

WHOLE = 24 << 20  # bytes up to which a member is decoded at once
UTF8_BOM, UTF16_BOMS = b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")
NO_ROWS = "no question-answer records"
SHAPE_DEPTH = 6
STRETCH = 1000  # records of a big member that are taken at once


class Bad:
    """A record that cannot be decoded, with the reason."""

    def __init__(self, reason: str, text: bytes) -> None:
        self.reason = reason
        self.shown = text[:8000].decode("utf-8", "replace")


def read_member(chunks: Iterator[bytes], name: str, readers: list[Reader], writer: ShardWriter) -> str:
    """Add a member's rows to the writer; returns "", or why the member holds none.

    A member up to `WHOLE` bytes is read to its end before its first row is added: a fault in it costs all of it.
    """
    data, whole = _gather(chunks)
    head = data[: 1 << 20].lstrip()
    reader = next((r for r in readers if r.fits(head)), None)
    if reader is None:
        writer.columns.tally.see(name, data)
        return NO_ROWS
    columns = writer.columns
    index = 0
    for text, records in _stretches(data, whole, chunks, reader):
        table = take(text, reader, columns.origin, name, index)
        if table is not None:
            columns.add_table(table)
            index += len(table)
            writer.flush()
            continue
        for record in records:
            if isinstance(record, Bad):
                columns.drop(name, index, record.reason, record.shown)
                index += 1
            else:
                index += add_rows(columns, name, index, reader, record)
            writer.flush()
    if not columns.count and not columns.tally.rows:
        columns.tally.see(name, data)
    if not index:
        return NO_ROWS
    columns.tally.layouts[reader.layout.name] += index
    return ""


def _gather(chunks: Iterator[bytes]) -> tuple[bytes, bool]:
    """The beginning of a member as UTF-8 without a byte-order mark, and whether that is all of it."""
    parts: list[bytes] = []
    size = 0
    whole = True
    for chunk in chunks:
        parts.append(chunk)
        size += len(chunk)
        if size > WHOLE:
            whole = False
            break
    data = b"".join(parts).removeprefix(UTF8_BOM)
    if data[:2] in UTF16_BOMS and whole:
        data = data.decode("utf-16", "replace").encode()
    return data, whole


def _stretches(
    data: bytes, whole: bool, chunks: Iterator[bytes], reader: Reader
) -> Iterator[tuple[bytes, Iterable[Any]]]:
    """What is taken at once: the text of a list of records, and the same records decoded, `Bad` for what cannot be.

    The text is empty where records can only be taken one by one.
    """
    if whole:
        yield data, _together(data, reader.decode_member, _pieces(data, iter(()), reader), reader)
        return
    waiting: list[bytes] = []
    for piece in _pieces(data, chunks, reader):
        if isinstance(piece, Broken):
            yield from _stretch(waiting, reader)
            yield b"", [_decoded(piece, reader)]
            waiting = []
        elif len(waiting) == STRETCH:
            yield from _stretch(waiting, reader)
            waiting = [piece]
        else:
            waiting.append(piece)
    yield from _stretch(waiting, reader)


def _stretch(pieces: list[bytes], reader: Reader) -> Iterator[tuple[bytes, Iterable[Any]]]:
    if reader.listed and pieces:
        text = b"[" + b",".join(pieces) + b"]"
        yield text, _together(text, reader.decode_records, pieces, reader)
    elif pieces:
        yield b"", map(partial(_decoded, reader=reader), pieces)


def _pieces(data: bytes, chunks: Iterator[bytes], reader: Reader) -> Iterator[bytes]:
    """The text of each record of a member."""
    if reader.listed:
        yield from split_records(chain((data,), chunks), reader.under)
    else:
        yield b"".join([data, *chunks])


def _together(
    text: bytes, decode: Callable[[bytes], list[Any]], pieces: Iterable[bytes], reader: Reader
) -> Iterator[Any]:
    """The records of a text decoded at once; if that fails, piece by piece."""
    try:
        records = decode(text)
        if not repeats(text, sum(map(reader.count, records)), reader):
            yield from records
            return
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    yield from map(partial(_decoded, reader=reader), pieces)


def _decoded(piece: bytes, reader: Reader) -> Any:
    """One record; text that is not UTF-8 is taken as cp949."""
    if isinstance(piece, Broken):
        return Bad("truncated", piece)
    try:
        record = reader.decode_record(piece)
    except UnicodeDecodeError:
        try:
            record = reader.decode_record(piece.decode("cp949").encode())
        except UnicodeDecodeError:
            return Bad("undecodable-text", piece)
        except (msgspec.MsgspecError, RecursionError):
            return Bad("invalid-json", piece)
    except RecursionError:
        return Bad("too-deep", piece)
    except msgspec.ValidationError:
        return Bad("wrong-type", piece)
    except msgspec.DecodeError:
        return Bad("invalid-json", piece)
    if repeats(piece, reader.count(record), reader) and has_repeated_key(piece):
        return Bad("duplicate-key", piece)
    return record


def has_repeated_key(text: bytes) -> bool:
    """True if any object of a JSON text holds a key twice."""
    import json

    found = False

    def look(pairs: list[tuple[str, Any]]) -> None:
        nonlocal found
        found = found or len({key for key, _ in pairs}) < len(pairs)

    try:
        json.loads(text, object_pairs_hook=look)
    except (ValueError, RecursionError):
        return False
    return found


def add_rows(columns: Columns, name: str, index: int, reader: Reader, record: Any) -> int:
    """Turn a record's rows into records of ours, or drop them with a reason; returns their number."""
    first = index
    plain = reader.plain
    for trail in reader.trails(record):
        question, answer = reader.question(trail), reader.answer(trail)
        alternatives: list[str] = []
        unclear = False
        if answer is None and reader.layout.ranked:
            ranked = reader.ranked(trail)
            unclear = ranked is None
            answer, *others = ranked or [None]
            alternatives = [text for text in others if isinstance(text, str)]
        category, group = reader.category(trail), reader.group(trail)
        reason = _fault(reader, trail, question, answer, category, group)
        if unclear and reason == "missing-answer":
            reason = "unclear-ranking"
        if reason:
            columns.drop(name, index, reason, _text(answer), _text(question))
        elif plain:
            columns.add(ReadRow(name, index, question, answer, _text(category), _text(group)))
        else:
            passage = _text(reader.passage(trail)).strip()
            asked = f"{question}\n\n{passage}" if passage else question
            reference = _text(reader.reference(trail))
            columns.add(ReadRow(name, index, asked, answer, _text(category), _text(group), reference, alternatives))
        index += 1
    return index - first


def _fault(reader: Reader, trail: Trail, question: Any, answer: Any, category: Any, group: Any) -> str:
    for get, values in reader.only:
        if get(trail) not in values:
            return "other-task"
    if type(question) is type(answer) is type(category) is type(group) is str:
        return ""
    for label, value in (("question", question), ("answer", answer)):
        if value is None:
            return f"missing-{label}"
        if type(value) is not str:
            return "wrong-type"
    for label, value in (("category", category), ("group", group)):
        if value is None:
            if label in reader.layout.require:
                return f"missing-{label}"
        elif type(value) is not str and type(value) is not int:
            return "wrong-type"
    return ""


def _text(value: Any) -> str:
    if type(value) is str:
        return value
    return "" if value is None else str(value)


def shape_of(data: bytes) -> str:
    """The outline of a JSON text: keys and kinds of the first element of every list."""
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "not JSON: " + data[:120].decode("utf-8", "replace")
    return _outline(value, SHAPE_DEPTH)


def _outline(value: Any, depth: int) -> str:
    if isinstance(value, dict):
        if not depth:
            return "{…}"
        inner = ", ".join(f"{key}: {_outline(below, depth - 1)}" for key, below in list(value.items())[:20])
        return "{" + inner + "}"
    if isinstance(value, list):
        return f"[{_outline(value[0], depth - 1) if value and depth else '…' if value else ''}]"
    names = {str: "text", bool: "true/false", int: "number", float: "number", type(None): "null"}
    return names.get(type(value), "value")
