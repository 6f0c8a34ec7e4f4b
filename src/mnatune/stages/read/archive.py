"""Finding archives, without a second copy on disk: zips, zips in parts, both inside a tar, and trees of loose files.

AI Hub delivers a tar of `X.zip.part0`, `X.zip.part1073741824`, …; a part's number is its offset in the whole. A tar's
members lie uncompressed at known offsets, so every archive is a list of (file, offset, size) spans, read as one stream.
"""

import io
import re
import tarfile
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path, PurePosixPath

from ...runs.errors import DataError

PART = re.compile(r"^(?P<stem>.+\.zip)\.part(?P<number>\d+)$", re.IGNORECASE)
OPEN_FILES = 32


@dataclass(frozen=True, slots=True)
class ByteSpan:
    """A stretch of a file, in bytes."""

    file: Path
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Archive:
    """A zip, or a folder of loose files, wherever its bytes lie.

    Attributes:
        name: its path from the source's root.
        members: names and sizes of loose files that lie end to end; empty for a zip.
        fault: what is known to be wrong with it, such as a missing part.
    """

    name: str
    spans: tuple[ByteSpan, ...]
    members: tuple[tuple[str, int], ...] = ()
    fault: str = ""

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(span.size for span in self.spans)

    def open(self) -> io.BufferedReader:
        """The archive's bytes as one seekable stream."""
        return io.BufferedReader(_Joined(self.spans), buffer_size=1 << 18)


class _Joined(io.RawIOBase):
    """Spans of files read as one stream."""

    def __init__(self, spans: tuple[ByteSpan, ...]) -> None:
        self._spans = spans
        self._starts = [0, *accumulate(span.size for span in spans)]
        self._at = 0
        self._handles: dict[Path, io.FileIO] = {}

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._starts[-1]}[whence]
        if base + offset < 0:
            raise OSError("seek before the start")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if self._at >= self._starts[-1]:
            return 0
        number = bisect_right(self._starts, self._at) - 1
        span, within = self._spans[number], self._at - self._starts[number]
        handle = self._handle(span.file)
        handle.seek(span.offset + within)
        data = handle.read(min(len(buffer), span.size - within))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def _handle(self, file: Path) -> io.FileIO:
        if file not in self._handles:
            if len(self._handles) >= OPEN_FILES:
                self._handles.pop(next(iter(self._handles))).close()
            self._handles[file] = io.FileIO(file)
        return self._handles[file]

    def close(self) -> None:
        for handle in self._handles.values():
            handle.close()
        super().close()


def find_archives(root: Path, loose: str) -> tuple[list[Archive], list[tuple[str, str]]]:
    """All archives of a file or folder, in name order, and the other files, each with the reason why it is none.

    Args:
        loose: suffix of loose files (".json") that are read as members where the tree has no zip at all.
    """
    named, skipped = _files(root)
    whole = {name for name, _ in named if name.lower().endswith(".zip")}
    zips: dict[str, list[tuple[int, ByteSpan]]] = {}
    others: list[tuple[str, ByteSpan]] = []
    for name, span in named:
        part = PART.match(name)
        if part and part["stem"] in whole:
            skipped.append((name, "part of a zip that is there whole"))
        elif part:
            zips.setdefault(part["stem"], []).append((int(part["number"]), span))
        elif name.lower().endswith(".zip"):
            zips.setdefault(name, []).append((0, span))
        else:
            others.append((name, span))
    archives = [_assemble(name, parts) for name, parts in sorted(zips.items())]
    if not archives:
        archives, others = _folders(others, loose)
    return archives, [*skipped, *((name, "not an archive") for name, _ in others)]


def _files(root: Path) -> tuple[list[tuple[str, ByteSpan]], list[tuple[str, str]]]:
    """Every file below the root and within its tars."""
    files = sorted(p for p in root.rglob("*") if p.is_file()) if root.is_dir() else [root]
    base = root if root.is_dir() else root.parent
    named: list[tuple[str, ByteSpan]] = []
    skipped: list[tuple[str, str]] = []
    for file in files:
        name = unicodedata.normalize("NFC", file.relative_to(base).as_posix())
        lower = name.lower()
        if lower.endswith(".tar"):
            named += _tar_members(name, file)
        elif lower.endswith((".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".7z", ".rar", ".egg", ".alz")):
            skipped.append((name, "compressed archive of another kind: unpack it first"))
        else:
            named.append((name, ByteSpan(file, 0, file.stat().st_size)))
    return named, skipped


def _tar_members(name: str, file: Path) -> Iterator[tuple[str, ByteSpan]]:
    size = file.stat().st_size
    try:
        with tarfile.open(file, "r:") as tar:
            for member in tar:
                if member.isreg() and not member.issparse():
                    inner = unicodedata.normalize("NFC", member.name.lstrip("./"))
                    yield inner, ByteSpan(file, member.offset_data, max(0, min(member.size, size - member.offset_data)))
    except tarfile.TarError as error:
        raise DataError(f"the tar cannot be read: {error}", where=name, next_step="download the file again") from error


def _assemble(name: str, parts: list[tuple[int, ByteSpan]]) -> Archive:
    """A zip from its parts; what follows a gap is left out and named as a fault."""
    parts.sort(key=lambda part: part[0])
    numbers = [number for number, _ in parts]
    starts = [0, *accumulate(span.size for _, span in parts)][:-1]
    if numbers in (starts, list(range(len(parts))), list(range(1, len(parts) + 1))):
        return Archive(name, tuple(span for _, span in parts))
    whole = next((n for n, (number, start) in enumerate(zip(numbers, starts, strict=True)) if number != start), 0)
    fault = f"part {starts[whole]} is missing"
    return Archive(name, tuple(span for _, span in parts[:whole]), fault=fault)


def _folders(others: list[tuple[str, ByteSpan]], loose: str) -> tuple[list[Archive], list[tuple[str, ByteSpan]]]:
    folders: dict[str, list[tuple[str, ByteSpan]]] = {}
    left = []
    for name, span in others:
        if name.lower().endswith(loose):
            folders.setdefault(str(PurePosixPath(name).parent), []).append((name, span))
        else:
            left.append((name, span))
    found = [
        Archive(
            folder,
            tuple(span for _, span in files),
            tuple((PurePosixPath(name).name, span.size) for name, span in files),
        )
        for folder, files in sorted(folders.items())
    ]
    return found, left
