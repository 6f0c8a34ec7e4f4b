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
from .split import Places, quotes_of

COLON, SPACE = b": "
MOST = 2**31 - 1  # bytes of a column, by Arrow's 32-bit offsets

_decode_text = msgspec.json.Decoder(str).decode


class _Odd(Exception):
    """Not as simple as the fast way needs it."""


def take(data: bytes, reader: Reader, origin: Origin, member: str, index: int) -> pa.Table | None:
    """The rows of a JSON list of records as a table of `QA_SCHEMA`, or None if they have to be taken one by one.

    Args:
        index: position of the first row within the member.
    """
    if not reader.simple or not 0 < len(data) <= MOST:
        return None
    try:
        records = reader.decode_raw(data)
        sizes = reader.sizes(records)
        count = int(sizes.sum())
        strings = _Strings(data)
        questions, answers = (strings.values_of(key, count) for key in (reader.question_key, reader.answer_key))
        categories, groups = (_spread(list(map(get, records)), sizes) for get in reader.shared)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, pa.ArrowInvalid, AttributeError, TypeError, _Odd):
        return None
    place = {"member": pa.repeat(member, count), "position": pa.array(np.arange(index, index + count), pa.int64())}
    texts = {"question": questions, "answer": answers, "category": categories, "group": groups}
    return table_of(origin, place | texts)


def repeats(data: bytes, rows: int, reader: Reader) -> bool:
    """True if a key of question or answer stands more often than there are rows: some object may hold it twice."""
    return any(data.count(b'"' + key.encode() + b'"') > rows for key in reader.keys)


class _Strings:
    """Where the strings of a valid JSON text begin and end, keys and values alike."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._letters = np.frombuffer(data, np.uint8)
        quotes, self._slashes = quotes_of(data)
        self._opens, self._ends = quotes[::2], quotes[1::2]
        self._sizes = self._ends - self._opens
        # Of these bounds, those of even number enclose the strings, those of odd number what lies between them.
        bounds = quotes.astype(np.int32)
        bounds[::2] += 1
        buffers = [None, pa.py_buffer(bounds), pa.py_buffer(data)]
        self._pieces = pa.Array.from_buffers(pa.binary(), max(0, len(bounds) - 1), buffers)

    def values_of(self, key: str, count: int) -> pa.Array:
        """The texts that follow a key, which must stand exactly `count` times; refuses what is no text or not UTF-8.

        Where each of `count` objects is known to hold the key, none can hold it twice, and nothing else holds it.
        """
        name = np.frombuffer(key.encode(), np.uint8)
        found = np.flatnonzero(self._sizes == len(name) + 1)
        for at, letter in enumerate(name, 1):
            found = found[self._letters[self._opens[found] + at] == letter]
        if len(found) != count or not count or found[-1] + 1 >= len(self._opens):
            raise _Odd
        ends, opens = self._ends[found], self._opens[found + 1]
        between = opens - ends
        spaced = (between == 3) & (self._letters[ends + 2] == SPACE)
        if not ((self._letters[ends + 1] == COLON) & ((between == 2) | spaced)).all():
            raise _Odd
        texts = self._pieces.take(pa.array(2 * (found + 1)))
        return self._unescaped(texts, opens, self._ends[found + 1]).cast(pa.string())

    def _unescaped(self, texts: pa.Array, opens: Places, ends: Places) -> pa.Array:
        """The same texts with their escapes resolved."""
        rows = np.searchsorted(opens, self._slashes) - 1
        rows = np.unique(rows[(rows >= 0) & (self._slashes < ends[rows])])
        if not len(rows):
            return texts
        mask = np.zeros(len(texts), bool)
        mask[rows] = True
        decoded = [_decode_text(self._data[opens[row] : ends[row] + 1]).encode() for row in rows.tolist()]
        return pc.replace_with_mask(texts, pa.array(mask), pa.array(decoded, pa.binary()))


def _spread(values: Sequence[Any], sizes: Places) -> pa.Array:
    """One text per record as one text per row."""
    if set(map(type, values)) - {str}:
        raise _Odd
    return pa.array(values, pa.string()).take(pa.array(np.repeat(np.arange(len(values)), sizes)))
