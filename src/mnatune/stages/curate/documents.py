"""Documents, tidied and masked like the rows, for the stages that write questions from them."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ...runs.job import Job
from ...runs.records import DOCUMENT_SCHEMA, iter_qa
from ...runs.workspace import atomic_path
from ...text.normalize import normalize
from ...text.personal import Personal
from .clean import BATCH, Cleaner
from .parties import Parties


def tidy_documents(job: Job, cleaner: Cleaner) -> None:
    """Write `documents.parquet`: the documents of `read` in NFC, tidy and masked; ids and places stay."""
    personal = Personal(cleaner.personal) if cleaner.personal else None
    source = job.run.require("read", "documents.parquet")
    parties = _parties(source) if "parties" in job.recipe.curate.mask else None
    with (
        pq.ParquetFile(source) as file,
        atomic_path(job.path("documents.parquet")) as partial,
        pq.ParquetWriter(partial, DOCUMENT_SCHEMA, compression="zstd") as writer,
    ):
        for batch in file.iter_batches(batch_size=BATCH):
            table = pa.Table.from_batches([batch], schema=DOCUMENT_SCHEMA)
            for name in ("title", "text"):
                texts = [normalize(text) for text in table[name].to_pylist()]
                texts = parties.replace(table["group"].to_pylist(), texts) if parties else texts
                texts = [personal.mask(text) for text in texts] if personal else texts
                table = table.set_column(DOCUMENT_SCHEMA.get_field_index(name), name, pa.array(texts, pa.string()))
            writer.write_table(table)


def _parties(path: Path) -> Parties:
    """The parties that the documents define, collected before any text is written: a definition may come last."""
    parties = Parties()
    for row in iter_qa(path, columns=["group", "text"]):
        parties.learn(row["group"], normalize(row["text"]))
    return parties
