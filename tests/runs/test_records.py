"""Records of earlier versions are still read."""

import pyarrow as pa
import pyarrow.parquet as pq

from mnatune.runs.records import (
    DOCUMENT_SCHEMA,
    QA,
    QA_SCHEMA,
    SOURCE_TYPE,
    Document,
    Source,
    asked,
    content_id,
    content_ids,
    iter_qa,
    read_qa,
    to_table,
    write_table,
)


def test_rows_without_history_system_and_place(tmp_path):
    row = QA("1", "q", "a", "", "g", Source("n"), alternatives=["b"])
    page = Document("2", "t", "x", "g", Source("n"))
    table = to_table([row], QA_SCHEMA).drop_columns(["history", "system"])
    old = pa.struct([field for field in SOURCE_TYPE if field.name != "place"])
    for records, name in ((table, "qa"), (to_table([page], DOCUMENT_SCHEMA), "pages")):
        sources = [{k: v for k, v in source.items() if k != "place"} for source in records["source"].to_pylist()]
        at = records.schema.get_field_index("source")
        pq.write_table(records.set_column(at, "source", pa.array(sources, old)), tmp_path / f"{name}.parquet")
    assert read_qa(tmp_path / "qa.parquet") == [row]
    assert [Document.from_row(r) for r in iter_qa(tmp_path / "pages.parquet")] == [page]


def test_a_history_is_part_of_the_identity(tmp_path):
    rows = [["q1", "a1"], [], ["q1", "a1", "q2", "a2"]]
    ids = content_ids(pa.array(["q"] * 3), pa.array(["a"] * 3), pa.array(rows, pa.list_(pa.string()))).to_pylist()
    assert ids == [content_id(*row, "q", "a") for row in rows]
    assert asked([], "q") == "q"
    assert asked(["q1", "a1"], "q") == "q1\na1\nq"


def test_rows_with_history_come_back(tmp_path):
    row = QA("1", "q", "a", "", "g", Source("n", place="3쪽"), history=["q1", "a1"], system="s")
    write_table(to_table([row], QA_SCHEMA), tmp_path / "x.parquet")
    assert read_qa(tmp_path / "x.parquet") == [row]
