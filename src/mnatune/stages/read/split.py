"""Cutting a JSON byte stream into its records without decoding it: a member of any size needs little memory.

Strings are skipped whole and brackets counted; nothing else is looked at, so a broken record costs only itself. UTF-8
and cp949 are alike to it: no second byte of cp949 is a quote, a backslash or a bracket.
"""

import re
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+("|\\?\Z)|[\[\]{}]', re.DOTALL)
QUOTE, BACKSLASH = b'"\\'
OPEN = frozenset(b"[{")
WINDOW = 1 << 20  # bytes that are looked at together

Places = npt.NDArray[np.int64]


RECORD_BYTES = 32 << 20  # a record may have at most; genuine ones have a few kilobytes


class Broken(bytes):
    """The beginning of a truncated or oversized record, with the reason."""

    reason = "truncated"


class _Oversized(Broken):
    reason = f"larger than {RECORD_BYTES:,} bytes"


def quotes_of(data: bytes, start: int = 0) -> tuple[Places, Places]:
    """Where the quotes stand that begin or end a string, and where the backslashes stand, in JSON from `start` on."""
    letters = np.frombuffer(data, np.uint8)[start:]
    quotes = np.flatnonzero(letters == QUOTE)
    if data.find(b"\\", start) < 0:
        return quotes, np.empty(0, np.int64)
    slashes = np.flatnonzero(letters == BACKSLASH)
    first = np.maximum.accumulate(np.where(np.diff(slashes, prepend=-2) == 1, 0, slashes))  # of its run
    escaped = slashes[(slashes - first) % 2 == 0] + 1
    return np.setdiff1d(quotes, escaped, assume_unique=True), slashes


def split_records(chunks: Iterable[bytes], chain: list[str]) -> Iterator[bytes]:
    """The elements of the list at `chain` (keys from the root) as byte slices; a cut element comes as `Broken`."""
    return _Splitter(chain).run(chunks)


class _Splitter:
    """The state between windows. All before `_at` has been looked at; it never lies within a string or an element."""

    def __init__(self, chain: list[str]) -> None:
        self._chain: list[bytes | None] = [key.encode() for key in chain]
        self._stack: list[bytes | None] = []  # the key under which each open container lies; None within a list
        self._kinds: list[int] = []
        self._key: bytes | None = None
        self._wanted = False  # within the wanted list
        self._at = 0

    def run(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        buffer, waiting, size, least = b"", [], 0, WINDOW
        skip: _Skip | None = None
        for chunk in (piece[at : at + WINDOW] for piece in chunks for at in range(0, len(piece), WINDOW)):
            if skip is not None:
                end = skip.feed(chunk)
                if end < 0:
                    continue
                chunk, skip = chunk[end:], None
            waiting.append(chunk)
            size += len(chunk)
            if size >= least:
                buffer = b"".join([buffer[self._at :], *waiting])
                self._at, waiting, size = 0, [], 0
                yield from self._scan(buffer)
                if len(buffer) - self._at > RECORD_BYTES:
                    yield _Oversized(buffer[self._at : self._at + WINDOW])
                    if not self._wanted:  # one text fills the window, and the list has not begun
                        return
                    skip = _Skip()
                    skip.feed(buffer[self._at :])
                    buffer, self._at = b"", 0
                # An element larger than a window is not cut in vain.
                least = min(max(WINDOW, len(buffer) - self._at), RECORD_BYTES // 4)
        buffer = b"".join([buffer[self._at :], *waiting])
        self._at = 0
        yield from self._scan(buffer)
        if self._kinds and skip is None:
            yield Broken(buffer[self._at :])

    def _scan(self, buffer: bytes) -> Iterator[bytes]:
        while self._wanted or self._seek(buffer):
            yield from self._elements(buffer)
            if self._wanted:
                return

    def _seek(self, buffer: bytes) -> bool:
        """Go on to the beginning of the wanted list, if it is there."""
        for match in TOKEN.finditer(buffer, self._at):
            first = buffer[match.start()]
            if first == QUOTE:
                if match[1] != b'"':  # the window ends within a string
                    self._at = match.start()
                    return False
                self._key = match[0][1:-1]
            elif first in OPEN:
                inside = self._kinds and self._kinds[-1] == 0x7B
                self._stack.append(self._key if inside else None)
                self._kinds.append(first)
                if first == 0x5B and self._stack[1:] == self._chain:
                    self._wanted, self._at = True, match.end()
                    return True
            elif self._kinds:
                self._kinds.pop()
                self._stack.pop()
            self._at = match.end()
        self._at = len(buffer)
        return False

    def _elements(self, buffer: bytes) -> Iterator[bytes]:
        """The elements that end within the buffer; at the list's end the search for another begins."""
        brackets, opening, _ = _brackets(buffer, self._at)
        depth = np.cumsum(np.where(opening, 1, -1))
        end = np.flatnonzero(depth < 0)[:1]  # of the list
        until = int(end[0]) if len(end) else len(brackets)
        depth, opening, places = depth[:until], opening[:until], brackets[:until] + self._at
        begins, ends = places[opening & (depth == 1)].tolist(), (places[~opening & (depth == 0)] + 1).tolist()
        for begin, stop in zip(begins, ends, strict=False):  # the last may not end here
            yield buffer[begin:stop]
        if len(end):
            self._at += int(brackets[until]) + 1
            self._wanted = False
            self._kinds.pop()
            self._stack.pop()
        elif len(begins) > len(ends):
            self._at = begins[-1]
        elif ends:
            self._at = ends[-1]


class _Skip:
    """Skips an element window by window without buffering it."""

    def __init__(self) -> None:
        self._depth = 0
        self._before = b""  # what the next window has to follow to be understood: a quote if it begins within a string

    def feed(self, window: bytes) -> int:
        """Where in the window the element ends, or -1."""
        text = self._before + window
        brackets, opening, strings = _brackets(text)
        depth = self._depth + np.cumsum(np.where(opening, 1, -1))
        end = np.flatnonzero(depth == 0)
        if len(end):
            return int(brackets[end[0]]) + 1 - len(self._before)
        self._depth = int(depth[-1]) if len(depth) else self._depth
        escaped = (len(text) - len(text.rstrip(b"\\"))) % 2
        self._before = (b'"' + b"\\" * escaped) if strings % 2 else b""
        return -1


def _brackets(data: bytes, start: int = 0) -> tuple[Places, npt.NDArray[np.bool_], int]:
    """Where brackets stand outside of strings, counted from `start`, which of them open, and how many quotes there are."""
    letters = np.frombuffer(data, np.uint8)[start:]
    quotes, _ = quotes_of(data, start)
    brackets = np.flatnonzero((letters & 0xD9) == 0x59)  # []{} and four more: Y, y, _ and DEL
    brackets = brackets[np.isin(letters[brackets], np.frombuffer(b"[]{}", np.uint8))]
    brackets = brackets[np.searchsorted(quotes, brackets) % 2 == 0]
    return brackets, (letters[brackets] & 0x06) == 0x02, len(quotes)
