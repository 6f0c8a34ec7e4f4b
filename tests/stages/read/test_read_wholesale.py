"""Members that are taken as a whole give the rows that they give one by one."""

import json
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hub import document, member
from hypothesis import given, settings
from hypothesis import strategies as st

from mnatune.pack import Pack
from mnatune.runs.recipe import bundled
from mnatune.runs.records import content_id
from mnatune.stages.read import members, wholesale
from mnatune.stages.read.fieldmap import load_map
from mnatune.stages.read.layout import Reader
from mnatune.stages.read.shards import Origin, ShardWriter

TEXTS_OF_ALL_KINDS = st.text(st.sampled_from('가나다 "\\\n/제123조\u2028\U0001f600a'), max_size=12)
FIELDS = st.one_of(TEXTS_OF_ALL_KINDS, st.sampled_from([None, 3, ["목록"], {"깊은": "것"}]))


def documents_of(pairs, value):
    """Documents whose rows and fields are drawn from the two strategies."""
    content = st.fixed_dictionaries({"text": st.text(max_size=5), "QA": st.lists(pairs, max_size=4)})
    category = st.fixed_dictionaries({"middle": value})
    return st.fixed_dictionaries(
        {"data_id": value, "data_category": category, "contents": st.lists(content, max_size=2)}
    )


PLAIN = documents_of(
    st.fixed_dictionaries({"question": TEXTS_OF_ALL_KINDS, "answer": TEXTS_OF_ALL_KINDS}), TEXTS_OF_ALL_KINDS
)
ODD = documents_of(
    st.one_of(st.fixed_dictionaries({}, optional={"question": FIELDS, "answer": FIELDS, "extra": FIELDS}), st.none()),
    FIELDS,
)
DOCUMENTS = st.one_of(st.lists(PLAIN, max_size=3), st.lists(st.one_of(PLAIN, ODD), max_size=3))


@settings(max_examples=150, deadline=None)
@given(DOCUMENTS, st.booleans(), st.booleans())
def test_rows_taken_together_are_those_taken_one_by_one(documents, escaped, whole):
    data = json.dumps(documents, ensure_ascii=escaped).encode("utf-8", "surrogatepass")
    layout = load_map("aihub-71748", Pack(bundled("packs") / "mna_ko")).layouts[0]
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        found = []
        for name, one_by_one in (("together", False), ("singly", True)):
            if one_by_one:
                patch.setattr(members, "take", lambda *_: None)
            patch.setattr(members, "WHOLE", 1 << 20 if whole else 0)
            reader = Reader(layout)
            with ShardWriter(Path(folder) / name, Origin("set", "a.zip", "", "train")) as writer:
                reason = members.read_member(iter([data]), "m.json", [reader], writer)
            found.append((reason, pq.read_table(Path(folder) / name).to_pylist(), writer.columns.drops))
    assert reader.simple
    assert found[0] == found[1]


def test_a_plain_member_is_taken_together(tmp_path):
    """Else the property above would compare the slow way with itself."""
    reader = Reader(load_map("aihub-71748", Pack(bundled("packs") / "mna_ko")).layouts[0])
    origin = Origin("set", "a.zip", "", "train")
    table = wholesale.take(member(document(1, [('탭\t과 "따옴표"', "답\n둘")])), reader, origin, "m.json", 7)
    assert table.select(["question", "answer", "category", "group"]).to_pylist() == [
        {"question": '탭\t과 "따옴표"', "answer": "답\n둘", "category": "사회", "group": "doc-1"}
    ]
    assert table["id"].to_pylist() == [content_id('탭\t과 "따옴표"', "답\n둘")]
    assert table["source"][0].as_py()["index"] == 7
    for broken in (b'"answer": 3', b'"answer": null', b'"answer": "a", "answer": "b"', b'"answer": "\xb0\xa1"'):
        text = member(document(1, [("질문", "답변")])).replace('"answer": "답변"'.encode(), broken)
        assert wholesale.take(text, reader, origin, "m.json", 0) is None
    # As many keys as rows, but all of them in one.
    twice = b'{"question": "a", "answer": "b", "question": "c", "answer": "d"}'
    rows = member({**document(1, []), "contents": [{"QA": ["twice", None]}]}).replace(b'"twice"', twice)
    assert wholesale.take(rows, reader, origin, "m.json", 0) is None
