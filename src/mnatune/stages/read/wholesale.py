"""The fast way from JSON to columns: texts go from the member's bytes into Arrow without a Python string for each.

For layouts such as 71748's corpus, whose records form a list and whose rows hold question and answer as plain fields.
Whatever is not as simple as that (a field that is missing or no text, bytes that are not UTF-8, a key that stands
twice) is refused as a whole, and `members` takes the same records one by one.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .layout import Reader
from .shards import Origin, table_of

MOST = 2**31 - 1  # bytes of a column, by Arrow's 32-bit offsets

_decode_text = msgspec.json.Decoder(str).decode


def take(data: bytes, reader: Reader, origin: Origin, member: str, index: int) -> pa.Table | None:
    """The rows of a JSON list of records as a table of `QA_SCHEMA`, or None if they have to be taken one by one.

    Args:
        index: position of the first row within the member.
    """
    if not data or reader.raw_texts is None:
        return None
    try:
        records = reader.decode_raw(data)
        found, counts = reader.rows(records)
        if repeats(data, len(found), reader):
            return None
        questions, answers = (_texts(list(map(get, found))) for get in reader.raw_texts)
        categories, groups = (_spread(list(map(get, records)), counts) for get in reader.raw_shared)
    except (
        msgspec.MsgspecError,
        UnicodeDecodeError,
        RecursionError,
        pa.ArrowInvalid,
        AttributeError,
        TypeError,
        _Mixed,
    ):
        return None
    return table_of(
        origin,
        {
            "member": pa.repeat(member, len(found)),
            "position": pa.array(np.arange(index, index + len(found)), pa.int64()),
            "question": questions,
            "answer": answers,
            "category": categories,
            "group": groups,
        },
    )


def repeats(data: bytes, rows: int, reader: Reader) -> bool:
    """True if a key of question or answer stands more often than there are rows: some object may hold it twice."""
    return any(data.count(b'"' + key.encode() + b'"') > rows for key in reader.keys)


class _Mixed(Exception):
    """Not every value is a text."""


def _texts(values: Sequence[Any]) -> pa.Array:
    """Undecoded JSON strings as a column; a string without an escape is its own bytes, whatever is no string raises."""
    data = b"".join(values)
    sizes = np.fromiter(map(len, values), np.int64, len(values))
    ends = np.concatenate([[0], np.cumsum(sizes)])
    letters = np.frombuffer(data, np.uint8)
    if ends[-1] > MOST or not len(values) or sizes.min() < 2 or (letters[ends[:-1]] != ord('"')).any():
        raise _Mixed
    buffers = [None, pa.py_buffer(ends.astype(np.int32)), pa.py_buffer(data)]
    plain = pc.binary_slice(pa.Array.from_buffers(pa.binary(), len(values), buffers), 1, -1)
    if b"\\" in data:
        escaped = np.unique(np.searchsorted(ends, np.flatnonzero(letters == ord("\\")), side="right") - 1)
        mask = np.zeros(len(values), bool)
        mask[escaped] = True
        decoded = [_decode_text(values[row]).encode() for row in escaped.tolist()]
        plain = pc.replace_with_mask(plain, pa.array(mask), pa.array(decoded, pa.binary()))
    return plain.cast(pa.string())  # refuses what is not UTF-8


def _spread(values: Sequence[Any], counts: Sequence[int]) -> pa.Array:
    """One text per record as one text per row."""
    if set(map(type, values)) - {str}:
        raise _Mixed
    return pa.array(values, pa.string()).take(pa.array(np.repeat(np.arange(len(values)), counts)))
