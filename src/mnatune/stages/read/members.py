"""One JSON member of an archive → rows. The fast way decodes the whole typed; what it refuses is taken record by record."""

from collections.abc import Iterator
from typing import IO, Any

import msgspec

from .fieldmap import Reader
from .shards import ShardWriter
from .split import Broken, split_records

WHOLE = 24 << 20  # bytes up to which a member is decoded at once
CHUNK = 4 << 20
BOM = b"\xef\xbb\xbf"


def read_member(stream: IO[bytes], name: str, readers: list[Reader], writer: ShardWriter) -> str:
    """Write a member's rows; returns "" or the reason why the member holds none."""
    head = stream.read(CHUNK).removeprefix(BOM)
    reader = next((r for r in readers if fits(head, r)), None)
    if reader is None:
        return "no question-answer records"
    rest = stream.read(WHOLE - len(head)) if len(head) >= CHUNK - len(BOM) else b""
    data = head + rest
    index = 0
    before = len(writer.columns.question) + writer.columns.tally.rows + sum(writer.columns.tally.dropped.values())
    for record in _records(data, stream, reader):
        if isinstance(record, _Bad):
            writer.columns.drop(name, index, record.reason, record.shown)
            index += 1
            continue
        for trail in reader.trails(record):
            add_row(writer, name, index, reader, trail)
            index += 1
        writer.flush()
    after = len(writer.columns.question) + writer.columns.tally.rows + sum(writer.columns.tally.dropped.values())
    if after == before:
        return "no question-answer records"
    writer.columns.tally.layouts[reader.layout.name] += after - before
    return ""


def fits(head: bytes, reader: Reader) -> bool:
    """True if a member that begins like this can have the layout."""
    first = head.lstrip()[:1]
    if reader.listed and not reader.chain:
        return first == b"["
    if first != b"{":
        return False
    keys = reader.chain or [k for k in reader.root_keys]
    return all(b'"' + key.encode() + b'"' in head for key in keys[:1])


class _Bad:
    """A record that cannot be decoded."""

    def __init__(self, reason: str, shown: bytes) -> None:
        self.reason = reason
        self.shown = shown[:8000].decode("utf-8", "replace")


def _records(data: bytes, stream: IO[bytes], reader: Reader) -> Iterator[Any]:
    """The member's records, decoded; `_Bad` for those that cannot be."""
    more = stream.read(CHUNK) if len(data) >= WHOLE else b""
    if not more:
        try:
            yield from reader.decode_member(data)
            return
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            pass
    if not reader.listed:
        yield _one(data + more, reader)
        return

    def chunks() -> Iterator[bytes]:
        yield data
        block = more
        while block:
            yield block
            block = stream.read(CHUNK)

    for piece in split_records(chunks(), reader.chain):
        if isinstance(piece, Broken):
            yield _Bad("truncated", piece)
        else:
            yield _one(piece, reader)


def _one(piece: bytes, reader: Reader) -> Any:
    try:
        return reader.decode_one(piece)
    except UnicodeDecodeError:
        pass
    except RecursionError:
        return _Bad("too-deep", piece)
    except msgspec.ValidationError:
        return _Bad("wrong-type", piece)
    except msgspec.DecodeError:
        return _Bad("invalid-json", piece)
    try:
        return reader.decode_one(piece.decode("cp949").encode())
    except UnicodeDecodeError:
        return _Bad("undecodable-text", piece)
    except (msgspec.MsgspecError, RecursionError):
        return _Bad("invalid-json", piece)


def add_row(writer: ShardWriter, name: str, index: int, reader: Reader, trail: tuple[Any, ...]) -> None:
    """Turn one row into a record, or drop it with a reason."""
    columns = writer.columns
    for get, values in reader.only:
        if get(trail) not in values:
            columns.drop(name, index, "other-task")
            return
    question = reader.question(trail)
    answer = reader.answer(trail)
    alternatives: list[str] = []
    if answer is None:
        ranked = reader.ranked(trail)
        if ranked:
            answer, *others = ranked
            alternatives = [text for text in others if isinstance(text, str)]
    category = reader.category(trail)
    group = reader.group(trail)
    reason = _fault(question, answer, category, group, reader)
    if reason:
        columns.drop(name, index, reason, _shown(answer), _shown(question))
        return
    passage = reader.passage(trail)
    if isinstance(passage, str) and passage.strip():
        question = f"{question}\n\n{passage}"
    reference = reader.reference(trail)
    columns.add(
        name, index, question, answer, category=_text(category), group=_text(group),
        reference=_text(reference), alternatives=alternatives,
    )


def _fault(question: Any, answer: Any, category: Any, group: Any, reader: Reader) -> str:
    for label, value in (("question", question), ("answer", answer)):
        if value is None:
            return f"missing-{label}"
        if not isinstance(value, str):
            return "wrong-type"
    for label, value in (("category", category), ("group", group)):
        if label in reader.layout.require and value is None:
            return f"missing-{label}"
        if value is not None and not isinstance(value, str | int):
            return "wrong-type"
    return ""


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else repr(value)
