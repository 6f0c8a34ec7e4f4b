"""`curate`: records → clean, unique records. What does not come out is in `dropped.parquet` with its reason."""

import shutil

from ...runs.job import Job
from ...runs.records import shards
from ...runs.workers import cores, spread
from .clean import Cleaner, clean_shard
from .documents import tidy_documents
from .result import Fate, report, write
from .rules import Drops
from .unique import exact, near

SMALL = 64 << 20  # bytes of Parquet below which worker processes do not pay


def curate(job: Job) -> None:
    """Tidy, mask and judge every row, and remove exact and near-duplicates.

    Writes `qa.parquet`, `dropped.parquet` (record and `drop_reason`), `clusters.parquet` (id and cluster of every
    row with a near relative, dropped or not) and `documents.parquet` (the documents of `read`, tidied and masked).
    """
    work = job.path(".work")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    files = shards(job.run.require("read", "qa"))
    personal = job.pack.yaml("pii.yaml") if "personal-data" in job.recipe.curate.mask else None
    cleaner = Cleaner(Drops.of(job.pack), personal, job.pack.exam_questions)
    kept, lost = ([work / f"{name}-{n:05d}.parquet" for n in range(len(files))] for name in ("kept", "lost"))
    tasks = [(cleaner, file, n, kept[n], lost[n]) for n, file in enumerate(files)]
    processes = cores() if sum(f.stat().st_size for f in files) > SMALL else 1
    cleaned = list(job.track(spread(clean_shard, tasks, processes), "clean", total=len(tasks)))
    fate = Fate([len(c.ids) for c in cleaned])
    exact(cleaned, cleaner.drops.licences, fate)
    if job.recipe.curate.near_duplicates > 0:
        near(job.recipe.curate, kept, cleaned, cleaner.drops.licences, fate)
    counts = write(job, kept, lost, fate)
    report(job, cleaned, counts)
    tidy_documents(job, cleaner)
    shutil.rmtree(work)
