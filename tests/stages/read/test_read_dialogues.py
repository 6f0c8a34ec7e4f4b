"""Rows as people have them: workbooks, headers below titles, dialogues of several turns, several answers."""

import json

import pytest

from mnatune.runs.errors import DataError
from mnatune.runs.records import content_id


@pytest.fixture
def read_lines(tmp_path, reading):
    """Read dicts as JSON Lines; returns rows and manifest."""

    def go(*rows):
        (tmp_path / "x.jsonl").write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
        return reading({"kind": "qa", "path": str(tmp_path / "x.jsonl"), "name": "x"})[:2]

    return go


def turns(*texts, roles=("user", "assistant"), keys=("role", "content")):
    return [{keys[0]: roles[n % 2], keys[1]: text} for n, text in enumerate(texts)]


FOUR = ("합병이란?", "둘 이상의 회사가 하나로 되는 것입니다.", "절차는?", "주주총회 승인을 거칩니다.")


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{"role": "system", "content": "변호사로서 답하라."}, *turns(*FOUR)]},
        {"conversations": turns(*FOUR, roles=("human", "gpt"), keys=("from", "value")), "system": "변호사로서 답하라."},
        {"대화": turns(*FOUR, roles=("사용자", "상담사"), keys=("화자", "발화")), "system": "변호사로서 답하라."},
        {
            "messages": [
                {"role": "system", "content": "변호사로서 답하라."},
                *({**turn, "content": [{"type": "text", "text": turn["content"]}]} for turn in turns(*FOUR)),
            ]
        },
        {"instruction": FOUR[2], "output": FOUR[3], "history": [list(FOUR[:2])], "system": "변호사로서 답하라."},
    ],
    ids=["messages", "sharegpt", "korean", "parts", "alpaca"],
)
def test_dialogues(row, read_lines):
    (found,), manifest = read_lines(row)
    assert (found.question, found.answer, found.history) == (FOUR[2], FOUR[3], list(FOUR[:2]))
    assert found.system == "변호사로서 답하라."
    assert found.id == content_id(*FOUR)
    assert manifest.dropped == {}


def test_a_single_turn_has_the_id_of_a_plain_row(read_lines):
    (spoken, plain), _ = read_lines({"messages": turns(*FOUR[:2])}, {"question": FOUR[0], "answer": FOUR[1]})
    assert spoken.id == plain.id
    assert spoken.history == plain.history == []


def test_what_one_side_says_in_a_row_is_one_turn(read_lines):
    said = [*turns("첫째 질문", "답"), {"role": "user", "content": "둘째"}, {"role": "user", "content": "셋째"}]
    (found,), _ = read_lines({"messages": [*said, {"role": "assistant", "content": "답변"}]})
    assert found.question == "둘째\n\n셋째"


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        (turns("질문"), "missing-answer"),
        (turns("질문", "답", "또 질문"), "ends-with-question"),
        (turns("인사", "질문", "답", roles=("assistant", "user")), "begins-with-answer"),
        ([{"role": "moderator", "content": "x"}], "unknown-role"),
        ([*turns("질문"), {"role": "tool", "content": "x"}], "tool-turn"),
        (turns("질문", None), "wrong-type"),
        (turns("질문", "  "), "empty-turn"),
        (["질문", "답"], "wrong-type"),
        ([*turns("질문", "답"), {"role": "system", "content": "x"}], "turns-out-of-order"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "wrong-type"),
    ],
)
def test_malformed_dialogues_are_told(messages, reason, read_lines):
    rows, manifest = read_lines({"messages": turns(*FOUR)}, {"messages": messages})
    assert len(rows) == 1
    assert manifest.dropped == {reason: 1}


def test_a_history_that_is_no_list_of_pairs(read_lines):
    rows, manifest = read_lines(
        {"instruction": "q", "output": "a"}, {"instruction": "q", "output": "a", "history": ["x"]}
    )
    assert (len(rows), manifest.dropped) == (1, {"history-not-pairs": 1})


def test_a_history_may_be_messages(read_lines):
    said = [{"role": "user", "content": "합병 비율은요?"}, {"role": "assistant", "content": "1 대 0.5입니다."}]
    row = {"question": "왜 그런가요?", "answer": "주가를 따릅니다."}
    rows, manifest = read_lines({**row, "history": said}, {**row, "history": said[:1]}, {**row, "history": said[::-1]})
    assert [r.history for r in rows] == [["합병 비율은요?", "1 대 0.5입니다."]]
    assert manifest.dropped == {"history-not-pairs": 2}


def test_several_answers_are_several_rows(read_lines):
    listed = {"question": "q", "answers": ["a1", "a2"]}
    numbered = {"질문": "q3", "답변1": "a3", "답변2": "", "답변3": "a4"}
    rows, manifest = read_lines(listed, numbered, {"question": "q", "answer": ["a5", 6]})
    assert [(r.question, r.answer) for r in rows] == [("q", "a1"), ("q", "a2"), ("q3", "a3"), ("q3", "a4")]
    assert [r.alternatives for r in rows] == [[]] * 4
    assert manifest.dropped == {"wrong-type": 1}


TABLE = [
    ["2026년 법률 상담 목록"],
    ["작성: 법무팀", "", "대외비"],
    [],
    ["번호", "질의 사항", "회신 (확정)", "근거"],
    ["1", "합병이란 무엇인가요?", "회사가 하나로 되는 것입니다.", "상법 제522조"],
    ["2", "공개매수란?", "", ""],
    [],
    ["3", "영업양도란?", "영업을 넘기는 것입니다.", ""],
]
WANTED = [
    ("합병이란 무엇인가요?", "회사가 하나로 되는 것입니다.", "상법 제522조"),
    ("영업양도란?", "영업을 넘기는 것입니다.", ""),
]


def test_a_workbook_whose_header_stands_below_titles(office, tmp_path, reading):
    data = office.workbook({"안내": office.Grid([["이 파일은 상담 목록입니다"]]), "상담": office.Grid(TABLE)})
    (tmp_path / "상담.xlsx").write_bytes(data)
    rows, manifest, _ = reading({"kind": "qa", "path": str(tmp_path / "상담.xlsx"), "name": "x"})
    kept = [row for row in rows if row.answer]
    assert [(r.question, r.answer, r.reference) for r in kept] == WANTED
    assert [r.source.place for r in kept] == ["상담!A5", "상담!A8"]
    assert manifest.rows_in == 3


def test_a_csv_whose_header_stands_below_notes(tmp_path, reading):
    text = "\r\n".join(",".join(row) for row in TABLE)
    (tmp_path / "상담.csv").write_bytes(text.encode("cp949"))
    rows, *_ = reading({"kind": "qa", "path": str(tmp_path / "상담.csv"), "name": "x"})
    assert [(r.question, r.answer, r.reference) for r in rows if r.answer] == WANTED


def test_a_header_that_names_the_answer_twice(tmp_path, reading):
    (tmp_path / "x.csv").write_text("질문,답변,답변\nq,a,b\nr,c,\n")
    rows, *_ = reading({"kind": "qa", "path": str(tmp_path / "x.csv")})
    assert [(r.question, r.answer) for r in rows] == [("q", "a"), ("q", "b"), ("r", "c")]


def test_a_folder_counts_what_it_does_not_read(office, tmp_path, reading):
    folder = tmp_path / "team"
    folder.mkdir()
    (folder / "a.jsonl").write_text('{"question": "q", "answer": "a"}')
    (folder / "b.xlsx").write_bytes(office.workbook({"S": office.Grid([["질문", "답변"], ["q2", "a2"]])}))
    (folder / "메모.hwp").write_bytes(b"x")
    rows, manifest, _ = reading({"kind": "qa", "path": str(folder), "name": "team"})
    assert [(r.question, r.source.member) for r in rows] == [("q", "a.jsonl"), ("q2", "b.xlsx")]
    facts = manifest.per_source["team"]
    assert facts["members_skipped"] == {"not a JSON, JSONL, CSV or Excel file": 1}
    assert facts["warnings"] == ["메모.hwp: not a JSON, JSONL, CSV or Excel file"]


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("x.xls", b"\xd0\xcf\x11\xe0", "an old Excel file"),
        ("x.xlsx", b"PK\3\4 no", "the workbook cannot be read: damaged file"),
        ("y.xlsx", None, "no column is the answer; the columns are: 질문, 메모"),
    ],
)
def test_workbooks_that_cannot_be_read(name, data, told, office, tmp_path, reading):
    data = data or office.workbook({"S": office.Grid([["질문", "메모"], ["q", "m"]])})
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=told):
        reading({"kind": "qa", "path": str(tmp_path / name)})
