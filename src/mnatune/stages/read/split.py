"""Cutting a JSON byte stream into its records without decoding it: a member of any size needs little memory.

Strings are skipped whole and brackets counted; nothing else is looked at, so a broken record costs only itself. UTF-8
and cp949 are alike to it: no second byte of cp949 is a quote, a backslash or a bracket.
"""

import re
from collections.abc import Iterable, Iterator

TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+("|\\?\Z)|[\[\]{}]', re.DOTALL)
OPEN = frozenset(b"[{")


class Broken(bytes):
    """A piece between or after the records that is none: what follows a cut, or a bare value."""


def split_records(chunks: Iterable[bytes], chain: list[str]) -> Iterator[bytes]:
    """The elements of the list at `chain` (keys from the root) as byte slices; a cut element comes as `Broken`."""
    return _Splitter(chain).run(chunks)


class _Splitter:
    def __init__(self, chain: list[str]) -> None:
        self._chain: list[bytes | None] = [key.encode() for key in chain]
        self._stack: list[bytes | None] = []  # the key under which each open container lies; None within a list
        self._kinds: list[int] = []
        self._key: bytes | None = None
        self._target = -1  # depth of the wanted list once it is open
        self._buffer = b""
        self._at = 0
        self._start = -1  # where the open element began

    def run(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            keep = self._start if self._start >= 0 else self._at
            self._buffer = self._buffer[keep:] + chunk
            self._at -= keep
            if self._start >= 0:
                self._start = 0
            yield from self._scan()
        rest = self._buffer[self._start if self._start >= 0 else self._at :]
        if self._start >= 0 or self._target >= 0 or self._kinds:
            yield Broken(rest)

    def _scan(self) -> Iterator[bytes]:
        buffer = self._buffer
        gap = self._at
        for match in TOKEN.finditer(buffer, self._at):
            first = buffer[match.start()]
            if first == 0x22:
                if match[1] != b'"':  # the chunk ends within a string
                    self._at = match.start()
                    return
                if self._target < 0:
                    self._key = match[0][1:-1]
            elif first in OPEN:
                if len(self._kinds) == self._target:
                    self._start = match.start()
                self._open(first)
            else:
                self._close()
                if self._start >= 0 and len(self._kinds) == self._target:
                    yield buffer[self._start : match.end()]
                    self._start = -1
            self._at = gap = match.end()
        self._at = gap

    def _open(self, kind: int) -> None:
        if self._target < 0:
            inside = self._kinds and self._kinds[-1] == 0x7B
            self._stack.append(self._key if inside else None)
            if kind == 0x5B and self._stack[1:] == self._chain:
                self._target = len(self._kinds) + 1
        self._kinds.append(kind)

    def _close(self) -> None:
        if self._kinds:
            self._kinds.pop()
            if self._target < 0:
                self._stack.pop()
            elif len(self._kinds) < self._target:
                self._target = -1
                self._stack = self._stack[: len(self._kinds)]
