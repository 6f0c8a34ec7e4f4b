"""Every field map of the pack, on a record of its set's shape; and maps of a user's own."""

import json

import pytest
from hub import write_zip

from mnatune.pack import Pack
from mnatune.runs.errors import DataError, UsageError
from mnatune.runs.recipe import bundled
from mnatune.stages.read.fieldmap import JsonLayout, load_map
from mnatune.stages.read.layout import Reader

SQUAD = {"question": "누가 허가하나요?", "answers": [{"text": "금융위원회", "answer_start": 3}]}
SAMPLES = {
    "aihub-71841": (
        {"info": {"caseNum": "2010다1", "caseName": "손해배상"}, "taskinfo": {"instruction": "요약하라.", "input": "판결문", "output": "요약"}},
        [("요약하라.\n\n판결문", "요약", "손해배상", "2010다1")],
    ),
    "aihub-71843": (
        {"info": {"lawId": 17}, "taskinfo": {"instruction": "특허란?", "output": "발명에 주는 권리"}},
        [("특허란?", "발명에 주는 권리", "", "17")],
    ),
    "aihub-569": (
        {"data": [{"doc_id": "D1", "doc_title": "공고", "doc_class": {"class": "행정"}, "paragraphs": [
            {"context": "글", "context_id": 5, "qas": [{"question": "언제?", "answers": {"text": "내일", "answer_start": 1}, "is_impossible": False}]},
            {"context": "글", "context_id": 6, "qas": [SQUAD]}]}]},
        [("언제?", "내일", "행정", "D1"), ("누가 허가하나요?", "금융위원회", "행정", "D1")],
    ),
    "korquad": (
        {"version": "KorQuAD_v1.0_dev", "data": [{"title": "은행", "paragraphs": [{"context": "글", "qas": [SQUAD, {**SQUAD, "question": "또?"}]}]}]},
        [("누가 허가하나요?", "금융위원회", "", "은행"), ("또?", "금융위원회", "", "은행")],
    ),
    "aihub-finance-consulting": (
        [{"consulting": {"id": "C1", "category": "대출"}, "qa_data": [{"question": "금리는?", "answer": "연 3%"}, {"q": "한도는?", "a": "1억 원"}]}],
        [("금리는?", "연 3%", "대출", "C1"), ("한도는?", "1억 원", "대출", "C1")],
    ),
    "aihub-judgment-qa": (
        {"info": {"caseNo": "2000드1", "caseNm": "이혼"}, "jdgmn": "판결", "jdgmnInfo": [{"question": "인정되는가?", "answer": "긍정"}], "Class_info": {"class_name": "가사"}},
        [("인정되는가?", "긍정", "가사", "2000드1")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SAMPLES)
def test_map(name, tmp_path, reading):
    sample, expected = SAMPLES[name]
    hub = tmp_path / "hub/Training"
    write_zip(hub / "TL_set.zip", {"라벨/1.json": json.dumps(sample, ensure_ascii=False).encode()})
    write_zip(hub / "TS_set.zip", {"원천/1.json": b"{}"})
    rows, manifest, _ = reading({"kind": "archive", "path": str(tmp_path / "hub"), "map": name})
    assert [(r.question, r.answer, r.category, r.group) for r in rows] == expected
    assert manifest.per_source[name]["rows"] == len(expected)
    if name != "korquad":
        assert manifest.per_source[name]["archives_skipped"] == {"source side, no labels": 1}
        assert rows[0].source.split == "train"


def test_every_map_of_the_pack_has_a_sample():
    maps = {path.stem for path in (bundled("packs") / "mna_ko/maps").glob("*.yaml")}
    assert maps == {*SAMPLES, "aihub-71748"}


def test_every_map_names_its_licence_and_itself():
    pack = Pack(bundled("packs") / "mna_ko")
    for path in sorted((pack.root / "maps").glob("*.yaml")):
        field_map = load_map(path.stem, pack)
        assert field_map.name == path.stem
        assert field_map.licence
        assert [Reader(layout) for layout in field_map.layouts]


def test_a_map_of_ones_own(tmp_path, reading):
    (tmp_path / "own.yaml").write_text(
        "name: own\ntitle: 사내\nlicence: 사내\nlayouts:\n- {name: x, unit: 'a.b[]', rows: 'c[].d[]', question: 'q.t', answer: ['none', 'r[1]'],"
        " group: '^id', category: /k, only: {kind: [qa]}}\n"
    )
    rows = [
        {"kind": "qa", "q": {"t": "물음"}, "r": ["아님", "대답"]},
        {"kind": "sum", "q": {"t": "요약"}, "r": ["", "x"]},
    ]
    record = {"k": "분야", "c": [{"id": 1, "d": rows}, {"id": 2, "d": rows[:1]}, {"id": 3}]}
    write_zip(tmp_path / "set.zip", {"x.json": json.dumps({"a": {"b": [record]}}).encode()})
    kept, manifest, _ = reading(
        {"kind": "archive", "path": str(tmp_path / "set.zip"), "map": str(tmp_path / "own.yaml")}
    )
    assert [(r.question, r.answer, r.group, r.category) for r in kept] == [
        ("물음", "대답", "1", "분야"),
        ("물음", "대답", "2", "분야"),
    ]
    assert manifest.dropped == {"other-task": 1}


def test_wrong_maps_are_clear_errors(tmp_path, reading):
    with pytest.raises(UsageError, match="no field map 'nine'"):
        reading({"kind": "archive", "path": str(tmp_path), "map": "nine"})
    (tmp_path / "bad.yaml").write_text(
        "name: x\ntitle: x\nlicence: x\nlayouts: [{name: a, question: q, colour: red}]\n"
    )
    with pytest.raises(DataError, match="colour"):
        reading({"kind": "archive", "path": str(tmp_path), "map": str(tmp_path / "bad.yaml")})
    with pytest.raises(ValueError, match="climbs higher"):
        Reader(JsonLayout(name="x", rows="a[]", question="^^q", answer="a"))
