"""`read`: sources → `QA` and `Document` records in Parquet, with the place of every row and a reason for every loss."""

import zipfile
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow.parquet as pq

from ...errors import DataError
from ...job import Job
from ...recipe import SourceSection
from ...records import DOCUMENT_SCHEMA
from ...workspace import atomic_path
from .archive import find_archives, member_name
from .fieldmap import FieldMap, Reader, load_map
from .members import read_member
from .shards import Origin, ShardWriter, write_dropped
from .tables import read_tables
from .tally import Tally


def read(job: Job) -> None:
    """Read every source of the recipe into `qa/*.parquet`, `documents.parquet` and `dropped.parquet`.

    Raises:
        DataError: a source holds nothing that its map or kind describes.
    """
    drops: list[dict[str, Any]] = []
    job.path("qa").mkdir(parents=True, exist_ok=True)
    for old in job.path("qa").glob("*.parquet"):
        old.unlink()
    for number, source in enumerate(job.recipe.read.sources):
        tally = _read_source(job, source, f"{number:02d}", drops)
        name = source_name(job, source)
        job.manifest.per_source[name] = tally.facts()
        job.manifest.rows_out += tally.rows
        job.manifest.rows_in += tally.rows + sum(tally.dropped.values())
        for reason, count in tally.dropped.items():
            job.manifest.drop(reason, count)
    write_dropped(job.path("dropped.parquet"), drops)
    with atomic_path(job.path("documents.parquet")) as partial:
        pq.write_table(DOCUMENT_SCHEMA.empty_table(), partial)


def source_name(job: Job, source: SourceSection) -> str:
    """The source's name in manifests: the recipe's, else the map's, else the file's."""
    if source.name:
        return source.name
    return load_map(source.map, job.pack).name if source.kind == "archive" else Path(source.path).stem


def _read_source(job: Job, source: SourceSection, number: str, drops: list[dict[str, Any]]) -> Tally:
    path = Path(source.path)
    if source.kind == "qa":
        origin = Origin(source_name(job, source), path.name, source.licence, "")
        with ShardWriter(job.path(f"qa/{number}-00000.parquet"), origin) as writer:
            read_tables(path, writer)
        drops += writer.columns.drops
        return writer.columns.tally
    return _read_archives(job, source, number, drops)


def _read_archives(job: Job, source: SourceSection, number: str, drops: list[dict[str, Any]]) -> Tally:
    field_map = load_map(source.map, job.pack)
    tally = Tally()
    archives, others = find_archives(Path(source.path))
    for _, reason in others:
        tally.archives_skipped[reason] += 1
    for order, archive in enumerate(archives):
        rule = field_map.rule_for(archive.name)
        if rule.skip:
            tally.archives_skipped[rule.skip] += 1
            continue
        origin = Origin(source_name(job, source), archive.name, source.licence or field_map.licence, rule.split)
        with archive.open() as stream, ShardWriter(job.path(f"qa/{number}-{order:05d}.parquet"), origin) as writer:
            _read_zip(job, stream, field_map, writer)
        drops += writer.columns.drops
        tally.add(writer.columns.tally)
    if not tally.rows:
        raise DataError("the source holds no row that its field map describes", where=source.path)
    return tally


def _read_zip(job: Job, stream: Any, field_map: FieldMap, writer: ShardWriter) -> None:
    readers = [Reader(layout) for layout in field_map.layouts]
    tally = writer.columns.tally
    with zipfile.ZipFile(stream) as archive:
        for info in job.track(archive.infolist(), "members"):
            name = member_name(info)
            if info.is_dir():
                continue
            if not fnmatchcase(PurePosixPath(name).name, field_map.members):
                tally.members_skipped["not a JSON member"] += 1
                continue
            with archive.open(info) as member:
                reason = read_member(member, name, readers, writer)
            if reason:
                tally.members_skipped[reason] += 1
            else:
                tally.members += 1
