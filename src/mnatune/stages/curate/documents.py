"""Documents, tidied and masked like rows."""

from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq

from ...runs.job import Job
from ...runs.records import DOCUMENT_SCHEMA
from ...runs.workspace import atomic_path
from ...text.model_marks import without_control
from ...text.normalize import normalize_all
from ...text.personal import Personal
from .clean import BATCH, Cleaner


def tidy_documents(job: Job, cleaner: Cleaner) -> None:
    """Write `documents.parquet`: the documents of `read` in NFC, tidy, masked, free of control tokens; their ids stay."""
    personal = Personal(cleaner.personal) if cleaner.personal else None
    masked: Counter[str] = Counter(job.manifest.facts["masked"])
    with (
        pq.ParquetFile(job.run.require("read", "documents.parquet")) as file,
        atomic_path(job.path("documents.parquet")) as partial,
        pq.ParquetWriter(partial, DOCUMENT_SCHEMA, compression="zstd") as writer,
    ):
        for batch in file.iter_batches(batch_size=BATCH):
            table = pa.Table.from_batches([batch], schema=DOCUMENT_SCHEMA)
            for name in ("title", "text", "group"):
                texts = [without_control(text) for text in normalize_all(table[name].to_pylist())]
                texts = personal.mask_all(texts, masked) if personal else texts
                table = table.set_column(DOCUMENT_SCHEMA.get_field_index(name), name, pa.array(texts, pa.string()))
            writer.write_table(table)
    job.manifest.facts["masked"] = dict(sorted(masked.items()))
