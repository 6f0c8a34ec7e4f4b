"""The files within a tar, where they lie, and what of the tar cannot be read.

`tarfile` takes a damaged header for the end of the archive and says nothing. Here every stretch of bytes that belongs to
no file is looked at: the search goes on at the next header, and what was passed over is told.
"""

import tarfile
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ...text.normalize import decoded

BLOCK = tarfile.BLOCKSIZE
MAGIC, MAGIC_AT = b"ustar", 257
WINDOW = 1 << 20


@dataclass(frozen=True, slots=True)
class ByteSpan:
    """A stretch of a file, in bytes."""

    file: Path
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class TarPart:
    """A file in a tar, or, with a reason instead of a span, something skipped."""

    name: str
    span: ByteSpan | None
    reason: str = ""
    damage: bool = False


def tar_parts(file: Path) -> Iterator[TarPart]:
    """The parts of a tar in order. Hard links resolve to their target."""
    size = file.stat().st_size
    spans: dict[str, ByteSpan] = {}
    at: int | None = 0
    with file.open("rb") as stream:
        while at is not None:
            stream.seek(at)
            end, cut = at, False
            try:
                with tarfile.open(fileobj=stream, mode="r:") as tar:
                    while (member := tar.next()) is not None:
                        tar.members.clear()  # type: ignore[attr-defined]  # else it keeps every header
                        yield _part_of(member, file, size, spans)
                        end = max(end, tar.offset)
                    end = max(end, tar.offset)
            except tarfile.TarError:
                cut = end > size
            at, unread = _next_header(stream, end, size)
            if unread:
                yield TarPart(f"{unread:,} bytes at offset {end:,}", None, "damaged header in a tar", damage=True)
            if at is None and (cut or size - end < BLOCK):
                yield TarPart(f"after {size:,} bytes", None, "cut: the tar's end mark is missing", damage=True)


def _part_of(member: tarfile.TarInfo, file: Path, size: int, spans: dict[str, ByteSpan]) -> TarPart:
    raw = member.name.encode("utf-8", "surrogateescape")
    text = decoded(raw)
    name = unicodedata.normalize("NFC", raw.decode("cp949", "backslashreplace") if text is None else text).lstrip("./")
    if member.islnk() and member.linkname in spans:
        return TarPart(name, spans[member.linkname])
    if member.isdir():
        return TarPart(name, None)
    if member.issparse():
        return TarPart(name, None, "sparse file in a tar: unpack it first")
    if not member.isreg():
        return TarPart(name, None, "link or device in a tar")
    span = ByteSpan(file, member.offset_data, max(0, min(member.size, size - member.offset_data)))
    spans[member.name] = span
    return TarPart(name, span)


def _next_header(stream: IO[bytes], start: int, size: int) -> tuple[int | None, int]:
    """Where the next valid header stands, and how many bytes before it (or before the end) are not mere padding."""
    at, written = start, False
    while at < size:
        stream.seek(at)
        window = stream.read(WINDOW)
        found = window.find(MAGIC)
        while found >= 0:
            begin = found - MAGIC_AT
            if begin >= 0 and begin % BLOCK == 0 and at + begin > start and _is_header(window[begin : begin + BLOCK]):
                written |= any(window[:begin])
                return at + begin, at + begin - start if written else 0
            found = window.find(MAGIC, found + 1)
        written |= any(window)
        at += WINDOW
    return None, size - start if written and start < size else 0


def _is_header(block: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.TarError:
        return False
    return True
