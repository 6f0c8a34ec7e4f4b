"""Finds archives, without a second copy on disk: zips, zips in parts, both inside a tar, and trees of loose files.

AI Hub delivers a tar of `X.zip.part0`, `X.zip.part1073741824`, …; a part's number is its offset in the whole. A tar's
members lie uncompressed at known offsets, so every archive is a list of (file, offset, size) spans, read as one stream.
"""

import io
import re
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from .paths import files_below, name_of
from .tars import ByteSpan, tar_parts

PART = re.compile(r"^(?P<stem>.+\.zip)\.part(?P<number>\d+)$", re.IGNORECASE)
OPEN_FILES = 32
PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".7z", ".rar", ".egg", ".alz")


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


@dataclass(frozen=True, slots=True)
class ArchiveSearch:
    """Archives below a root in name order, with skipped and damaged files and their reasons."""

    archives: list[Archive]
    skipped: list[tuple[str, str]]
    damaged: list[tuple[str, str]]


def find_archives(root: Path, loose: str) -> ArchiveSearch:
    """All archives of a file or folder, zips first.

    Args:
        loose: suffix of loose files (".json"), which are read as the members of their folder.
    """
    named, skipped, damaged = _files(root)
    whole = {file.name for file in named if file.name.lower().endswith(".zip")}
    zips: dict[str, list[tuple[int, ByteSpan]]] = {}
    others: list[tuple[str, ByteSpan]] = []
    for file in named:
        part = PART.match(file.name)
        if part and part["stem"] in whole:
            skipped.append((file.name, "part of a zip that is there whole"))
        elif part:
            zips.setdefault(part["stem"], []).append((int(part["number"]), file.span))
        elif file.name.lower().endswith(".zip"):
            zips.setdefault(file.name, []).append((0, file.span))
        else:
            others.append((file.name, file.span))
    folders, others = _folders(others, loose)
    archives = [*(_assemble(name, parts) for name, parts in sorted(zips.items())), *folders]
    return ArchiveSearch(archives, [*skipped, *((name, "not an archive") for name, _ in others)], damaged)


class _File(NamedTuple):
    """A file on disk or within a tar; `container` is the tar's name."""

    name: str
    span: ByteSpan
    container: str


def _files(root: Path) -> tuple[list[_File], list[tuple[str, str]], list[tuple[str, str]]]:
    """Every file below the root and inside its tars. Clashing names inside tars are prefixed with the tar's name."""
    found: list[_File] = []
    skipped: list[tuple[str, str]] = []
    damaged: list[tuple[str, str]] = []
    for file in files_below(root):
        name = name_of(file, root)
        lower = name.lower()
        if lower.endswith(".tar"):
            for part in tar_parts(file):
                if part.span:
                    found.append(_File(part.name, part.span, name))
                elif part.reason:
                    (damaged if part.damage else skipped).append((f"{name}: {part.name}", part.reason))
        elif lower.endswith(PACKED):
            skipped.append((name, "compressed archive of another kind: unpack it first"))
        else:
            found.append(_File(name, ByteSpan(file, 0, file.stat().st_size), ""))
    again = {name for name, count in Counter(file.name for file in found).items() if count > 1}
    clear = [f._replace(name=f"{f.container}/{f.name}") if f.container and f.name in again else f for f in found]
    return clear, skipped, damaged


def _assemble(name: str, parts: list[tuple[int, ByteSpan]]) -> Archive:
    """A zip assembled from its parts, up to the first missing one, which becomes its fault."""
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
    found = []
    for folder, files in sorted(folders.items()):
        members = tuple((PurePosixPath(name).name, span.size) for name, span in files)
        found.append(Archive(folder, tuple(span for _, span in files), members))
    return found, left
