"""Documents, tidied and masked like rows."""

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ...runs.job import Job
from ...runs.records import DOCUMENT_SCHEMA, iter_qa
from ...runs.workspace import atomic_path
from ...text.model_marks import without_control
from ...text.normalize import normalize_all
from ...text.personal import Personal
from .clean import BATCH, Cleaner, masked_places
from .parties import Parties


def tidy_documents(job: Job, cleaner: Cleaner) -> None:
    """Write `documents.parquet`: the documents of `read` in NFC, tidy, masked, free of control tokens; their ids stay."""
    personal = Personal(cleaner.personal) if cleaner.personal else None
    masked: Counter[str] = Counter(job.manifest.facts["masked"])
    source = job.run.require("read", "documents.parquet")
    parties = _parties(source) if "parties" in job.recipe.curate.mask else None

    def mask(texts: list[str]) -> list[str]:
        return personal.mask_all(texts, masked) if personal else texts

    with (
        pq.ParquetFile(source) as file,
        atomic_path(job.path("documents.parquet")) as partial,
        pq.ParquetWriter(partial, DOCUMENT_SCHEMA, compression="zstd") as writer,
    ):
        for batch in file.iter_batches(batch_size=BATCH):
            columns = {name: batch.column(name) for name in DOCUMENT_SCHEMA.names}
            groups = columns["group"].to_pylist()  # as the parties were learned, before they are masked
            for name in ("title", "text", "group"):
                texts = _plain(columns[name].to_pylist())
                if parties and name != "group":
                    texts = parties.replace(groups, texts)
                columns[name] = pa.array(mask(texts), pa.string())
            columns["source"] = masked_places(columns["source"], mask)
            writer.write_table(pa.Table.from_pydict(columns, schema=DOCUMENT_SCHEMA))
    job.manifest.facts["masked"] = dict(sorted(masked.items()))


def _plain(texts: list[str]) -> list[str]:
    return [without_control(text) for text in normalize_all(texts)]


def _parties(path: Path) -> Parties:
    """The parties that the documents define, collected before any text is written: a definition may come last."""
    parties = Parties()
    for row in iter_qa(path, columns=["group", "text"]):
        parties.learn(row["group"], *_plain([row["text"]]))
    return parties
