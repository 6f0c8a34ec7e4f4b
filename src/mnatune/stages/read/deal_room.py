"""A folder or archive of office files → one `Document` per section, with its file and place."""

import hashlib
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TypeVar

from ...documents import Lost, ReadFile, attempt, read_file
from ...runs.records import Document, Source, content_id
from ...runs.workers import cores
from .archive import Archive, find_archives
from .counts import ReadTally
from .paths import name_of
from .zips import Limits, MemberFault, ZipEntry, chunks_of, entries_of

SYSTEM = ("~$", "._", ".~", ".DS_Store", "Thumbs.db", "desktop.ini")  # prefixes of system and lock files
PACKED = (".zip", ".tar")
AT_ONCE = 100  # members unpacked at a time
MEMBER = Limits(member_bytes=200 << 20)

T = TypeVar("T")
Named = tuple[str, Path]  # name within the source, and path on disk


def read_documents(
    root: Path, name: str, licence: str, tally: ReadTally, most: int | None = None
) -> Iterator[Document]:
    """The sections of every file below `root`; a file is read, or skipped for one counted reason.

    Args:
        most: files to read of the folder, and of each archive, evenly spread; None reads all.
    """
    for archive, files in _batches(root, tally, most):
        results = attempt(read_file, [(path, member) for member, path in files], cores())
        for (member, _), found in zip(files, results, strict=True):
            if isinstance(found, Lost):
                tally.skip(member, found.reason, found.detail)
            else:
                _count(tally, found)
                yield from _documents(found, Source(name, archive, member, licence=licence))


def _documents(file: ReadFile, source: Source) -> Iterator[Document]:
    """The sections of a file, all in one group: a split keeps them together."""
    group = f"{source.name}/{source.archive}/{source.member}"
    for index, section in enumerate(file.sections):
        title = f"{file.title} {section.heading}".strip()
        place = Source(source.name, source.archive, source.member, index, source.licence, place=section.place)
        yield Document(content_id(title, section.text), title, section.text, group, place, flags=list(file.flags))


def _count(tally: ReadTally, file: ReadFile) -> None:
    tally.members += 1
    tally.layouts[file.kind] += 1
    tally.contents.update(file.left_out)
    tally.contents["pages"] += file.pages
    tally.contents["tables"] += sum(section.tables for section in file.sections)
    for flag in file.flags:
        tally.contents[f"files {flag}"] += 1


def _spread(items: list[T], most: int | None) -> list[T]:
    step = max(1, -(-len(items) // most)) if most else 1
    return items[::step]


def _batches(root: Path, tally: ReadTally, most: int | None) -> Iterator[tuple[str, list[Named]]]:
    """(archive, files): the loose files of a folder, then the members of each archive in batches."""
    loose, packed = _listed(root, tally)
    if loose:
        yield root.name, _distinct(_spread(loose, most), tally)
    for name, path in packed:
        found = find_archives(path, "")
        for member, reason in found.skipped:
            tally.skip(f"{name}/{member}", reason)
        for member, reason in found.damaged:
            tally.fail(f"{name}/{member}", reason)
        for archive in found.archives:
            yield from _unpacked(archive, name, tally, most)


def _listed(root: Path, tally: ReadTally) -> tuple[list[Named], list[Named]]:
    """The loose files of a folder, and its archives."""
    loose: list[Named] = []
    packed: list[Named] = []
    for path in sorted(root.rglob("*")) if root.is_dir() else [root]:
        name = name_of(path, root)
        if path.is_symlink():
            tally.skip(name, "symbolic link")
        elif not path.is_file():
            continue
        elif path.name.startswith(SYSTEM):
            tally.skip(name, "file of the system")
        elif path.suffix.lower() in PACKED:
            packed.append((name, path))
        else:
            loose.append((name, path))
    return loose, packed


def _distinct(files: Sequence[Named], tally: ReadTally) -> list[Named]:
    """The files without byte-for-byte copies."""
    by_size: dict[int, list[Named]] = defaultdict(list)
    for file in files:
        by_size[file[1].stat().st_size].append(file)
    repeated = set()
    for alike in (group for size, group in by_size.items() if size and len(group) > 1):
        seen: dict[str, str] = {}
        for member, path in alike:
            with path.open("rb") as handle:
                first = seen.setdefault(hashlib.file_digest(handle, "sha256").hexdigest(), member)
            if first != member:
                repeated.add(member)
                tally.skip(member, "same content as another file", first)
    return [file for file in files if file[0] not in repeated]


def _unpacked(archive: Archive, name: str, tally: ReadTally, most: int | None) -> Iterator[tuple[str, list[Named]]]:
    """The members of an archive, unpacked into a temporary folder batch by batch."""
    entries, fault = entries_of(archive)
    if fault:
        tally.fail(archive.name, fault, whole=not entries)
    entries = _spread(entries, most)
    for start in range(0, len(entries), AT_ONCE):
        with tempfile.TemporaryDirectory() as folder:
            batch = enumerate(entries[start : start + AT_ONCE])
            files = [_unpack(archive, entry, Path(folder) / str(n), tally) for n, entry in batch]
            yield name, [file for file in files if file]


def _unpack(archive: Archive, entry: ZipEntry, path: Path, tally: ReadTally) -> Named | None:
    name = f"{archive.name}/{entry.name}" if archive.members else entry.name  # files of a tar lie in folders
    if PurePosixPath(entry.name).name.startswith(SYSTEM) or entry.name.startswith("__MACOSX/"):
        tally.skip(name, "file of the system")
        return None
    try:
        with archive.open() as stream, path.open("wb") as handle:
            for piece in chunks_of(stream, entry, MEMBER):
                handle.write(piece)
    except MemberFault as fault:
        tally.skip(name, str(fault))
        return None
    return name, path
