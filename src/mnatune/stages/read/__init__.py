"""`read`: sources → `QA` and `Document` records in Parquet, with the place of every row and a reason for every loss."""

import shutil
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from ...runs.errors import DataError, UsageError
from ...runs.records import DOCUMENT_SCHEMA, DROPPED_SCHEMA, RowWriter, iter_qa
from ...runs.workers import cores, spread
from ...runs.workspace import atomic_path
from ...text.personal import Personal
from .archive import find_archives
from .counts import ReadTally
from .deal_room import read_documents
from .fieldmap import load_map
from .law import read_law
from .members import shape_of
from .paths import name_of
from .precedent import LICENCE as DECISIONS
from .precedent import read_precedents
from .qa_files import read_tables
from .shards import Origin, ShardWriter
from .tasks import ReadTask, batches_of, cost, read_task
from .zips import entries_of

if TYPE_CHECKING:  # workers import this package, and need not build the recipe's models
    from ...runs.job import Job
    from ...runs.recipe import SourceSection

OF_A_PACK = ("kind",)  # columns of a pack's own rows that `pack check` counts by
PARALLEL_FROM = 48 << 20  # bytes of JSON below which worker processes do not pay


def read(job: "Job") -> None:
    """Read every source of the recipe into `qa/*.parquet`, `documents.parquet` and `dropped.parquet`.

    Raises:
        DataError: a source holds nothing that its map or kind describes.
    """
    for folder in (job.path("qa"), job.path(".work")):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    if not job.recipe.read.sources:
        raise UsageError("the recipe names nothing to read", next_step="put a source under read.sources in the recipe")
    manifest = job.manifest
    personal = Personal(job.pack.yaml("pii.yaml"))  # names of files and members stand in warnings
    with RowWriter(job.path("documents.parquet"), DOCUMENT_SCHEMA) as documents:
        for number, source in enumerate(job.recipe.read.sources):
            tally = _read_source(job, source, f"{number:02d}", documents)
            name = personal.mask(source_name(job, source))
            tally.warnings = [personal.mask(warning) for warning in tally.warnings]
            manifest.per_source[name if name not in manifest.per_source else f"{name}#{number}"] = tally.facts()
            manifest.rows_out += tally.rows + tally.documents
            manifest.rows_in += tally.rows + tally.documents + tally.dropped.total()
            for reason, count in tally.dropped.items():
                manifest.drop(reason, count)
    with atomic_path(job.path("dropped.parquet")) as partial, pq.ParquetWriter(partial, DROPPED_SCHEMA) as writer:
        for file in sorted(job.path(".work").glob("*.parquet")):
            for batch in pq.ParquetFile(file).iter_batches():
                writer.write_batch(batch)
    shutil.rmtree(job.path(".work"))


def source_name(job: "Job", source: "SourceSection") -> str:
    """The source's name in manifests: the recipe's, else the map's, else the file's."""
    if source.name:
        return source.name
    return load_map(source.map, job.pack).name if source.kind == "archive" else Path(source.path).stem


def _read_source(job: "Job", source: "SourceSection", number: str, documents: RowWriter) -> ReadTally:
    path = Path(source.path)
    if source.kind == "archive":
        return _read_archives(job, source, number)
    if source.kind == "pages":
        return _read_pages(job, documents)
    if not path.exists():
        raise UsageError("the source does not exist", where=source.path, next_step="correct read.sources in the recipe")
    name = source_name(job, source)
    if source.kind in ("law", "documents"):
        tally = ReadTally()
        found = (read_law if source.kind == "law" else read_documents)(path, name, source.licence, tally)
        for document in job.track(found, "read"):
            documents.add(asdict(document))
            tally.documents += 1
    else:
        licence = source.licence or (DECISIONS if source.kind == "precedent" else "")
        origin, shard = Origin(name, name_of(path, path.parent), licence, ""), f"{number}-00000.parquet"
        with ShardWriter(job.path(f"qa/{shard}"), origin, job.path(f".work/{shard}")) as writer:
            if source.kind == "precedent":
                read_precedents(path, writer)
            else:
                read_tables(path, writer, OF_A_PACK if path.is_relative_to(job.pack.root) else ())
        tally = writer.columns.tally
    if not tally.rows + tally.documents:
        losses = ", ".join(f"{reason} ({n})" for reason, n in (tally.members_skipped + tally.dropped).items())
        told = f"nothing was read from a source of kind {source.kind!r}: {losses or 'no file'}"
        raise DataError(told, where=source.path)
    return tally


def _read_pages(job: "Job", documents: RowWriter) -> ReadTally:
    """The pages that `collect` fetched."""
    tally = ReadTally(members=1)
    for row in iter_qa(job.run.require("collect", "pages.parquet")):
        documents.add(row)
        tally.documents += 1
    return tally


def _read_archives(job: "Job", source: "SourceSection", number: str) -> ReadTally:
    tally = ReadTally()
    tasks = _plan(job, source, number, tally)
    processes = cores() if sum(map(cost, tasks)) > PARALLEL_FROM else 1
    tasks.sort(key=lambda task: task.archive.size)  # the many even tasks of a big archive end together
    for result in job.track(spread(read_task, [(t,) for t in tasks], processes), "read", total=len(tasks)):
        tally.add(result)
    if not tally.rows:
        shown = f"first member without rows: {tally.unknown[0]} {shape_of(tally.unknown[1])}" if tally.unknown else ""
        losses = {**tally.archives_skipped, **tally.archives_damaged, **tally.members_skipped, **tally.dropped}
        told = ", ".join(f"{reason} ({count})" for reason, count in losses.items())
        raise DataError(
            f"no question-answer row was found: {told or 'there is no archive'}",
            where=f"{source.path}\n  {shown}".rstrip(),
            next_step=f"check the path, or describe the layout in a field map (read.sources.map is {source.map!r})",
        )
    return tally


def _plan(job: "Job", source: "SourceSection", number: str, tally: ReadTally) -> list[ReadTask]:
    """The tasks of a source. Skipped files are counted and listed as warnings."""
    field_map = load_map(source.map, job.pack)
    root = Path(source.path)
    found = find_archives(root, Path(field_map.members).suffix)
    tally.leave_out(found.skipped)
    for name, reason in found.damaged:
        tally.fail(name, reason)
    tasks: list[ReadTask] = []
    zipped: set[tuple[str, int]] = set()
    for archive in found.archives:
        folder = root if root.is_dir() else root.parent
        rule = field_map.rule_for(archive.name, root=folder.resolve().name, folder=bool(archive.members))
        entries, fault = ([], rule.skip) if rule.skip else entries_of(archive)
        if archive.members and zipped.issuperset(archive.members):
            entries, fault = [], "unpacked copy of a zip that is read"
        elif not archive.members:
            zipped.update((PurePosixPath(entry.name).name, entry.size) for entry in entries)
        if fault:
            tally.fail(archive.name, fault, whole=not entries)
        origin = Origin(source_name(job, source), archive.name, source.licence or field_map.licence, rule.split)
        for batch in batches_of(entries):
            shard = f"{number}-{len(tasks):05d}.parquet"
            kept, dropped = job.path(f"qa/{shard}"), job.path(f".work/{shard}")
            tasks.append(ReadTask(archive, tuple(batch), origin, field_map, kept, dropped))
    return tasks
