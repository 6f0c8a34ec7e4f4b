"""QA files that lose or swap something where they are read loosely."""

import json

import pytest

from mnatune.runs.errors import DataError
from mnatune.runs.recipe import bundled

Q, A = "합병이란 무엇인가요?", "둘 이상의 회사가 하나로 되는 것입니다."


def written(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    return {"kind": "qa", "path": str(tmp_path / name), "name": "s"}


def test_the_input_stands_below_the_instruction(tmp_path, reading):
    rows = [
        {"instruction": "다음 조항을 설명하라.", "input": "제5조 책임", "output": A},
        {"instruction": Q, "input": "", "output": A},
        {"instruction": Q, "input": "", "output": A, "history": [["앞", "답"]]},
        {"instruction": Q, "input": "", "output": A, "history": []},
    ]
    got, manifest, _ = reading(written(tmp_path, "a.json", json.dumps(rows, ensure_ascii=False)))
    assert [row.question for row in got] == ["다음 조항을 설명하라.\n\n제5조 책임", Q, Q, Q]
    assert [row.history for row in got] == [[], [], ["앞", "답"], []]
    assert manifest.dropped == {}


def test_input_alone_is_the_question(tmp_path, reading):
    got, *_ = reading(written(tmp_path, "a.jsonl", json.dumps({"input": Q, "output": A})))
    assert [(row.question, row.answer) for row in got] == [(Q, A)]


BAD_CSV = {
    "never closed": ('질문,답변\nq1,a1\nq2,"a2\nq3,a3\n', ":3"),
    "closed by the next": ('질문,답변\nq1,"a1\n"q2","a2"\n', ":2"),
    "open, then quoted": ('질문,답변\nq1,a1\nq2,"a2\nq3,"a3"\nq4,a4\n', ":3"),
    "text after a quote": ('질문,답변\n"합병"이란,답\n', ":2"),
    "a column twice": ("질문,질문,답변\nq,r,a\n", ":1"),
    "a column twice below a title": ("법률 상담\n\n질문,출처,답변,출처\nq,r,a,s\n", ":3"),
}


@pytest.mark.parametrize("name", BAD_CSV)
def test_a_csv_that_does_not_add_up_is_refused_with_its_line(name, tmp_path, reading):
    text, line = BAD_CSV[name]
    with pytest.raises(DataError) as caught:
        reading(written(tmp_path, "x.csv", text))
    assert caught.value.where.endswith("x.csv" + line)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ('"\\"합병\\"이란, 것"', '"합병"이란, 것'),
        ('"""합병""이란"', '"합병"이란'),
        ('"가\r\n나"', "가\r\n나"),
        ("가 나", "가 나"),
    ],
)
def test_quotes_as_they_are_meant(field, value, tmp_path, reading):
    got, *_ = reading(written(tmp_path, "x.csv", f'질문,답변\n"{Q}",{field}\n"{Q}2","{A}"\n'))
    assert [row.answer for row in got] == [value, A]


WRAPPED = {
    "under a key": json.dumps({"data": [{"question": Q, "answer": A}] * 2}),
    "deep": json.dumps(
        {"meta": {"n": 2}, "data": {"items": [{"질문": Q, "답변": A}] * 2}}, ensure_ascii=False, indent=2
    ),
    "over several lines": "\n".join([json.dumps({"question": Q, "answer": A}, indent=1)] * 2),
    "one after the other": json.dumps({"question": Q, "answer": A}, indent=1) * 2,
    "lines": "\n".join([json.dumps({"question": Q, "answer": A})] * 2),
    "array": json.dumps([{"question": Q, "answer": A}] * 2, indent=1),
}


@pytest.mark.parametrize("name", WRAPPED)
@pytest.mark.parametrize("suffix", ["json", "jsonl"])
def test_rows_however_they_are_wrapped(name, suffix, tmp_path, reading):
    got, *_ = reading(written(tmp_path, f"x.{suffix}", WRAPPED[name]))
    assert [(row.question, row.answer) for row in got] == [(Q, A)] * 2


def test_two_lists_are_named_and_not_chosen_from(tmp_path, reading):
    both = {"train": [{"question": Q, "answer": A}], "test": [{"question": Q, "answer": A}]}
    with pytest.raises(DataError, match="several lists of rows: train, test"):
        reading(written(tmp_path, "x.json", json.dumps(both)))


@pytest.mark.parametrize("form", ['{"question": "q", "answer": "a", "answer": "b"}', '[{"question": "q", "answer": "a", "answer": "b"}, {"question": "q", "answer": "a"}]'])  # fmt: skip
def test_a_key_that_stands_twice_hides_nothing(form, tmp_path, reading):
    text = form if form[0] == "[" else form + "\n" + json.dumps({"question": Q, "answer": A})
    got, manifest, _ = reading(written(tmp_path, "x.json" if form[0] == "[" else "x.jsonl", text))
    assert len(got) == 1
    assert manifest.dropped == {"duplicate-key": 1}


def test_what_is_not_used_is_told(tmp_path, reading):
    folder = tmp_path / "qa"
    folder.mkdir()
    (folder / "a.csv").write_text(f"질문,답변,담당,빈칸\n{Q},{A},법무팀,\n{Q}2,{A},,\n", encoding="utf-8")
    (folder / "메모.docx").write_bytes(b"PK")
    _, manifest, _ = reading({"kind": "qa", "path": str(folder), "name": "s"})
    warnings = "\n".join(manifest.per_source["s"]["warnings"])
    assert "메모.docx" in warnings
    assert "'담당' is not used (1 rows)" in warnings
    assert "빈칸" not in warnings


def test_the_packs_own_columns_are_no_surprise(reading):
    path = bundled("packs") / "mna_ko" / "qa.jsonl"
    assert '"kind"' in path.read_text(encoding="utf-8")
    _, manifest, _ = reading({"kind": "qa", "path": str(path), "name": "s"})
    assert manifest.per_source["s"].get("warnings", []) == []


def test_one_source_for_most_rows_is_told_at_once(tmp_path, reading):
    rows = [{"질문": f"{n}번 질문은?", "답변": A, "출처": "법무팀 Q&A"} for n in range(12)]
    _, manifest, _ = reading(written(tmp_path, "x.json", json.dumps(rows, ensure_ascii=False)))
    assert "법무팀 Q&A" in manifest.per_source["s"]["warnings"][0]


def test_names_of_files_are_masked_where_they_are_told(tmp_path, reading):
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub/김철수 010-1234-5678.json").write_text(json.dumps([{"question": Q, "answer": A, "담당": "x"}]))
    _, manifest, _ = reading({"kind": "qa", "path": str(tmp_path / "hub")})
    assert "[전화번호]" in str(manifest.per_source)
    assert "1234" not in str(manifest.per_source)
