"""Finding and opening archives: plain zips, zips in parts, and both inside a tar, without a second copy on disk.

AI Hub delivers a tar of `X.zip.part0`, `X.zip.part1073741824`, …; a part's number is its offset in the whole. A tar's members lie
uncompressed at known offsets, so every archive is a list of (file, offset, size) spans that read as one seekable stream.
"""

import io
import re
import tarfile
import unicodedata
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...errors import DataError

PART = re.compile(r"^(?P<stem>.+\.zip)\.part(?P<number>\d+)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a file, in bytes."""

    file: Path
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Archive:
    """A zip, wherever its bytes lie. `name` is its path from the source's root."""

    name: str
    spans: tuple[Span, ...]

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(s.size for s in self.spans)

    def open(self) -> io.BufferedReader:
        """The archive's bytes as one seekable stream."""
        return io.BufferedReader(_Joined(self.spans), buffer_size=1 << 18)


class _Joined(io.RawIOBase):
    """Spans of files read as one stream."""

    def __init__(self, spans: tuple[Span, ...]) -> None:
        self._spans = spans
        self._starts = [sum(s.size for s in spans[:i]) for i in range(len(spans))]
        self._size = sum(s.size for s in spans)
        self._at = 0
        self._handles: dict[Path, io.BufferedReader] = {}

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError("seek before the start")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        for start, span in zip(self._starts, self._spans, strict=True):
            if start <= self._at < start + span.size:
                wanted = min(len(buffer), start + span.size - self._at)
                handle = self._handles.get(span.file)
                if handle is None:
                    handle = self._handles[span.file] = span.file.open("rb", buffering=0)  # type: ignore[assignment]
                handle.seek(span.offset + self._at - start)
                data = handle.read(wanted)
                buffer[: len(data)] = data
                self._at += len(data)
                return len(data)
        return 0

    def close(self) -> None:
        for handle in self._handles.values():
            handle.close()
        super().close()


def find_archives(root: Path) -> tuple[list[Archive], list[tuple[str, str]]]:
    """All zips of a file or folder, in name order, and the files that are none, each with the reason."""
    files = sorted(p for p in root.rglob("*") if p.is_file()) if root.is_dir() else [root]
    base = root if root.is_dir() else root.parent
    named: list[tuple[str, Span]] = []
    skipped: list[tuple[str, str]] = []
    for file in files:
        name = unicodedata.normalize("NFC", file.relative_to(base).as_posix())
        if file.suffix.lower() == ".tar":
            named += _tar_members(name, file)
        else:
            named.append((name, Span(file, 0, file.stat().st_size)))
    whole: dict[str, list[tuple[int, Span]]] = {}
    for name, span in named:
        part = PART.match(name)
        if part:
            whole.setdefault(part["stem"], []).append((int(part["number"]), span))
        elif name.lower().endswith(".zip"):
            whole.setdefault(name, []).append((0, span))
        else:
            skipped.append((name, "not an archive"))
    archives = []
    for name, parts in sorted(whole.items()):
        parts.sort(key=lambda p: p[0])
        archives.append(Archive(name, tuple(span for _, span in parts)))
    return archives, skipped


def _tar_members(name: str, file: Path) -> Iterator[tuple[str, Span]]:
    try:
        with tarfile.open(file, "r:") as tar:
            for member in tar:
                if member.isfile():
                    inner = unicodedata.normalize("NFC", member.name.lstrip("./"))
                    yield inner, Span(file, member.offset_data, member.size)
    except tarfile.TarError as error:
        raise DataError(f"the tar cannot be read: {error}", where=name) from error


def member_name(info: zipfile.ZipInfo) -> str:
    """A member's name in NFC without AI Hub's leading "/"; names without the UTF-8 flag are tried as UTF-8, then cp949."""
    name = info.filename
    if not info.flag_bits & 0x800:
        raw = name.encode("cp437", "replace")
        for encoding in ("utf-8", "cp949"):
            try:
                name = raw.decode(encoding)
                break
            except UnicodeDecodeError:
                continue
    return unicodedata.normalize("NFC", name).lstrip("/")
