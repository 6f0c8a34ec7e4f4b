"""An archive cut into tasks of similar size, each of which makes one shard; a task runs in any process."""

import gc
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import IO

from .archive import Archive
from .counts import ReadTally
from .fieldmap import FieldMap
from .layout import Reader
from .members import WHOLE, read_member
from .shards import Origin, ShardWriter
from .zips import MemberFault, ZipEntry, chunks_of

TASK_BYTES = 32 << 20
TASK_MEMBERS = 5000


@dataclass(frozen=True)
class ReadTask:
    """Members of one archive to read into `shard`; rows that cannot be read go to `dropped`."""

    archive: Archive
    entries: tuple[ZipEntry, ...]
    origin: Origin
    field_map: FieldMap
    shard: Path
    dropped: Path


def batches_of(entries: list[ZipEntry]) -> Iterator[list[ZipEntry]]:
    """The entries in order, in batches; a member too big to be read whole is a batch of its own."""
    batch: list[ZipEntry] = []
    size = 0
    for entry in entries:
        big = entry.size > WHOLE
        if batch and (big or size + entry.size > TASK_BYTES or len(batch) >= TASK_MEMBERS):
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += max(0, entry.size)
        if big:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def read_task(task: ReadTask) -> ReadTally:
    """Read the task's members into its shard; a member that fails leaves no row behind."""
    gc.disable()  # what is made here holds no cycles, and the collector would walk through millions of rows
    try:
        return _read_members(task)
    finally:
        gc.enable()


def _read_members(task: ReadTask) -> ReadTally:
    readers = [Reader(layout) for layout in task.field_map.layouts]
    with task.archive.open() as stream:
        alone = len(task.entries) == 1 and task.entries[0].size > WHOLE
        try:
            with ShardWriter(task.shard, task.origin, task.dropped) as writer:
                for entry in task.entries:
                    _read_entry(stream, entry, task.field_map, readers, writer, alone=alone)
        except MemberFault as fault:  # only of a member alone in its shard, which is then not written at all
            return ReadTally(members_skipped=Counter({str(fault): 1}), warnings=[f"{task.entries[0].name}: {fault}"])
    return writer.columns.tally


def _read_entry(
    stream: IO[bytes], entry: ZipEntry, field_map: FieldMap, readers: list[Reader], writer: ShardWriter, *, alone: bool
) -> None:
    reason = entry.fault
    if not reason and not fnmatchcase(PurePosixPath(entry.name).name, field_map.members):
        reason = "not a JSON member"
    if not reason:
        try:
            reason = read_member(chunks_of(stream, entry), entry.name, readers, writer)
        except MemberFault as fault:
            if alone:
                raise
            reason = str(fault)
    if reason:
        writer.columns.tally.skip(entry.name, reason)
    else:
        writer.columns.tally.members += 1


def cost(task: ReadTask) -> int:
    """Bytes that the task inflates to, for deciding whether processes pay."""
    return sum(max(0, entry.size) for entry in task.entries)
