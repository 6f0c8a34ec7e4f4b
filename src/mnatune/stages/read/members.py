"""One JSON member → rows. The fast path decodes it whole and typed; the slow path goes record by record."""

import json
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain
from typing import Any

import msgspec

from ...text.normalize import decoded
from .layout import WRONG, Reader, Trail
from .shards import Columns, ReadRow, ShardWriter
from .split import RECORD_BYTES, Broken, split_records
from .wholesale import repeats, take
from .zips import TRUNCATED, MemberFault

WHOLE = 24 << 20  # bytes up to which a member is decoded at once
UTF8_BOM, UTF16_BOMS = b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")
NO_ROWS = "no question-answer records"
SHAPE_DEPTH = 6
STRETCH, STRETCH_BYTES = 1000, 8 << 20  # records of a big member that are taken at once


class Bad:
    """A record that cannot be decoded: the reason, and an estimate of its rows."""

    def __init__(self, reason: str, text: bytes, reader: Reader) -> None:
        self.reason = reason
        self.shown = text[:8000].decode("utf-8", "replace")
        self.rows = max(1, *(text.count(b'"' + key.encode() + b'"') for key in reader.keys))


class Plain:
    """A record with a wrong type or a repeated key, decoded to plain dicts and lists."""

    def __init__(self, value: Any) -> None:
        self.value = value


class Twice(dict[str, Any]):
    """An object that holds a key twice."""


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; `Twice` if a key stands in it more than once."""
    found = dict(pairs)
    return found if len(found) == len(pairs) else Twice(found)


def read_member(chunks: Iterator[bytes], name: str, readers: list[Reader], writer: ShardWriter) -> str:
    """Add a member's rows to the writer; returns "", or why it was not read completely.

    A member up to `WHOLE` bytes is read to its end before its first row is added: a fault in it costs all of it. Of a
    member that is cut the records before the cut are kept.
    """
    cut: list[str] = []
    chunks = _until_cut(chunks, cut)
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
                columns.drop(name, index, record.reason, record.shown, rows=record.rows)
                index += 1
            elif isinstance(record, Plain):
                index += add_rows(columns, name, index, reader.untyped, record.value)
            else:
                index += add_rows(columns, name, index, reader, record)
            writer.flush()
    if not columns.count and not columns.tally.rows:
        columns.tally.see(name, data)
    if not index:
        return cut[0] if cut else NO_ROWS
    columns.tally.layouts[reader.layout.name] += index
    return cut[0] if cut else ""


def _until_cut(chunks: Iterator[bytes], cut: list[str]) -> Iterator[bytes]:
    """The chunks up to a truncation, which is reported in `cut`."""
    try:
        yield from chunks
    except MemberFault as fault:
        if str(fault) != TRUNCATED:
            raise
        cut.append(TRUNCATED)


def _gather(chunks: Iterator[bytes]) -> tuple[bytes, bool]:
    """The beginning of a member as UTF-8 without a byte-order mark, and whether that is all of it."""
    parts: list[bytes] = []
    size = 0
    for chunk in chunks:
        parts.append(chunk)
        size += len(chunk)
        if size > WHOLE:
            break
    data = b"".join(parts).removeprefix(UTF8_BOM)
    if data[:2] in UTF16_BOMS and size <= WHOLE:
        data = data.decode("utf-16", "replace").encode()
    return data, size <= WHOLE


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
    size = 0
    for piece in _pieces(data, chunks, reader):
        if isinstance(piece, Broken) or len(waiting) == STRETCH or size > STRETCH_BYTES:
            yield from _stretch(waiting, reader)
            waiting, size = [], 0
        if isinstance(piece, Broken):
            yield b"", [_decoded(piece, reader)]
        else:
            waiting.append(piece)
            size += len(piece)
    yield from _stretch(waiting, reader)


def _stretch(pieces: list[bytes], reader: Reader) -> Iterator[tuple[bytes, Iterable[Any]]]:
    if reader.listed and pieces:
        text = b"[" + b",".join(pieces) + b"]"
        yield text, _together(text, reader.decode_records, pieces, reader)
    elif pieces:
        yield b"", map(partial(_decoded, reader=reader), pieces)


def _pieces(data: bytes, chunks: Iterator[bytes], reader: Reader) -> Iterator[bytes]:
    """The text of each record of a member.

    Raises:
        MemberFault: the whole member is one record, and larger than a record may be.
    """
    if reader.listed:
        yield from split_records(chain((data,), chunks), reader.under)
        return
    parts = [data]
    size = len(data)
    for chunk in chunks:
        parts.append(chunk)
        size += len(chunk)
        if size > RECORD_BYTES:
            raise MemberFault(f"a record larger than {RECORD_BYTES:,} bytes")
    yield b"".join(parts)


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
        return Bad(piece.reason, piece, reader)
    text = decoded(piece)
    if text is None:
        return Bad("undecodable-text", piece, reader)
    piece = text.encode()
    try:
        record = reader.decode_record(piece)
        if not repeats(piece, reader.count(record), reader):
            return record
    except RecursionError:
        return Bad("too-deep", piece, reader)
    except msgspec.ValidationError:
        pass
    except msgspec.DecodeError:
        return Bad("invalid-json", piece, reader)
    return _plain(piece, reader)


def _plain(piece: bytes, reader: Reader) -> Any:
    try:
        value = json.loads(piece, object_pairs_hook=unique)
    except ValueError:
        return Bad("invalid-json", piece, reader)
    except RecursionError:
        return Bad("too-deep", piece, reader)
    return Plain(value) if isinstance(value, dict) else Bad("wrong-type", piece, reader)


def add_rows(columns: Columns, name: str, index: int, reader: Reader, record: Any) -> int:
    """Turn a record's rows into records of ours, or drop them with a reason; returns their number."""
    first = index
    plain = reader.plain
    for trail in reader.trails(record):
        wrong = trail[-1] is WRONG or isinstance(trail[-1], (str, int, float, list))
        if wrong or any(type(part) is Twice for part in trail):
            columns.drop(name, index, "wrong-type" if wrong else "duplicate-key", _shown(trail))
            index += 1
            continue
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


def _shown(trail: Trail) -> str:
    """The innermost decoded part of a trail, as JSON."""
    part = next((part for part in reversed(trail) if part is not WRONG), None)
    return msgspec.json.encode(part).decode()


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
