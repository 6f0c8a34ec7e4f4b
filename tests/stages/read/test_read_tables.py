"""A team's own question–answer files."""

import csv
import io
import json
import shlex

import pytest

from mnatune.runs.errors import DataError, UsageError
from mnatune.runs.recipe import load_recipe
from mnatune.stages.read.preview import preview_text

ROWS = [
    {
        "question": "합병이란 무엇인가요?",
        "answer": "둘 이상의 회사가 하나로 되는 것입니다.",
        "source": "상법 제522조",
        "topic": "합병",
    },
    {"question": "공개매수란?", "answer": "장외에서 주식을 사들이는 것입니다.", "source": "", "topic": ""},
    {
        "question": "영업양도란?",
        "answer": "영업을 넘기는 것입니다.\n경업금지 의무가 따릅니다.",
        "source": "상법 제522조",
        "topic": "양도",
    },
]
KOREAN = {"question": "질문", "answer": "답변", "source": "출처", "topic": "분야"}


def as_csv(rows, delimiter=","):
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, rows[0], delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def korean(rows):
    return [{KOREAN[key]: value for key, value in row.items()} for row in rows]


FORMS = {
    "array.json": json.dumps(ROWS, ensure_ascii=False).encode(),
    "lines.jsonl": "\n".join(json.dumps(row) for row in ROWS).encode(),
    "bom.jsonl": "\n\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS).encode("utf-8-sig"),
    "excel.csv": as_csv(ROWS).encode("utf-8-sig"),
    "korean.csv": as_csv(korean(ROWS)).encode("utf-8-sig"),
    "cp949.csv": as_csv(korean(ROWS)).encode("cp949"),
    "semicolons.csv": as_csv(ROWS, ";").encode(),
    "tabs.tsv": as_csv(ROWS, "\t").encode("utf-16"),
    "korean.json": json.dumps(korean(ROWS), ensure_ascii=False).encode(),
}


@pytest.mark.parametrize("name", FORMS)
def test_forms(name, tmp_path, reading):
    (tmp_path / name).write_bytes(FORMS[name])
    rows, manifest, _ = reading({"kind": "qa", "path": str(tmp_path / name), "name": "team", "licence": "사내"})
    assert [(r.question, r.answer, r.reference, r.category) for r in rows] == [
        (r["question"], r["answer"], r["source"], r["topic"]) for r in ROWS
    ]
    assert rows[0].group == rows[2].group != rows[1].group == rows[1].id
    assert [r.source.index for r in rows] == [0, 1, 2]
    assert {(r.source.name, r.source.licence, r.source.archive) for r in rows} == {("team", "사내", name)}
    assert manifest.per_source["team"]["rows"] == manifest.rows_out == 3


def test_a_folder_of_files(tmp_path, reading):
    (tmp_path / "qa").mkdir()
    (tmp_path / "qa/b.jsonl").write_bytes(FORMS["lines.jsonl"])
    (tmp_path / "qa/a.csv").write_bytes(FORMS["excel.csv"])
    rows, *_ = reading({"kind": "qa", "path": str(tmp_path / "qa")})
    assert [r.source.member for r in rows] == ["a.csv"] * 3 + ["b.jsonl"] * 3


def test_bad_rows_are_dropped_with_a_reason(tmp_path, reading):
    lines = [
        json.dumps(ROWS[0]), "{broken", '["list"]', '{"question": "q"}', '{"question": "q", "answer": 3}',
        '{"question": "q", "answer": NaN}', '{"question": "q", "answer": "a", "question_type": "x"}',
    ]  # fmt: skip
    (tmp_path / "x.jsonl").write_text("\n".join(lines))
    rows, manifest, _ = reading({"kind": "qa", "path": str(tmp_path / "x.jsonl")})
    assert len(rows) == 2
    assert manifest.dropped == {"invalid-json": 2, "wrong-type": 2, "missing-answer": 1}
    assert manifest.rows_in == len(lines)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("x.csv", "질문,메모\nq,m\n", "no column is the answer; the columns are: 질문, 메모"),
        ("x.json", '{"question": "q"', "holds no row"),
        ("x.json", '[{"question": "q"', "not a JSON array"),
        ("x.jsonl", "", "holds no row"),
        ("x.jsonl", '{"prompt": "q"}', "no column is the answer"),
        ("x.csv", "question,answer\n", "holds no row"),
    ],
)
def test_clear_errors(name, text, told, tmp_path, reading):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=told) as caught:
        reading({"kind": "qa", "path": str(tmp_path / name)})
    assert name in caught.value.where


def test_rows_of_one_file_may_differ_in_their_columns(tmp_path, reading):
    lines = [{"question": "q1", "answer": "a1"}, {"질문": "q2", "답변": "a2", "분야": "합병"}, ROWS[0]]
    (tmp_path / "x.json").write_text(json.dumps(lines, ensure_ascii=False))
    rows, *_ = reading({"kind": "qa", "path": str(tmp_path / "x.json")})
    assert [(r.question, r.category) for r in rows] == [("q1", ""), ("q2", "합병"), (ROWS[0]["question"], "합병")]


def test_a_missing_source(tmp_path, reading):
    with pytest.raises(UsageError, match="does not exist"):
        reading({"kind": "qa", "path": str(tmp_path / "none.jsonl")})


@pytest.mark.parametrize("sign", ["\u2028", "\u2029", "\x85"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_line_of_json_lines_ends_at_a_newline_alone(tmp_path, reading, sign, end):
    wanted = [
        {"question": f"{n}. 합병이란{sign}무엇인가요?", "answer": "회사가 하나로 되는 것입니다."} for n in range(2)
    ]
    (tmp_path / "x.jsonl").write_bytes(end.join(json.dumps(row, ensure_ascii=False) for row in wanted).encode())
    rows, manifest, _ = reading({"kind": "qa", "path": str(tmp_path / "x.jsonl")})
    assert [row.question for row in rows] == [row["question"] for row in wanted]
    assert not manifest.dropped


def test_a_recipe_without_a_source_says_so(reading):
    with pytest.raises(UsageError, match="names nothing to read"):
        reading()


def test_the_preview_of_an_own_workbook_gives_rows_and_the_command(tmp_path, office, monkeypatch):
    """A file of questions and answers is shown as such, with what is not used, in one language."""
    file = tmp_path / "우리 팀 QA.xlsx"
    sheet = [["질문", "답변", "비고"], *([row["question"], row["answer"], "내부"] for row in ROWS)]
    file.write_bytes(office.workbook({"자료": office.Grid(sheet)}))
    told = preview_text(file)
    assert told.startswith("questions and answers: 3 rows")
    assert "'비고' is not used (3 rows)" in told
    assert "question  합병이란 무엇인가요?" in told
    words = shlex.split(told.splitlines()[-1].removeprefix("next: mnatune "))
    assert load_recipe("quickstart", [words[-1]]).read.sources[0].path == file.as_posix()
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    monkeypatch.setenv("MNATUNE_LANG", "ko")
    assert preview_text(file).startswith("질문·답변 3행")


def test_the_preview_says_why_a_file_gives_no_rows(tmp_path):
    (tmp_path / "열림.csv").write_text('질문,답변\n"합병?,둘이 하나로\n', encoding="utf-8")
    told = preview_text(tmp_path / "열림.csv")
    assert told.startswith("no questions and answers: ")
    assert "열림.csv" in told
