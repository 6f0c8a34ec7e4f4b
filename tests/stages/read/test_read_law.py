"""Statutes and decisions in the public Markdown layouts."""

from pathlib import Path

import pytest

from mnatune.runs.errors import DataError
from mnatune.runs.records import DOCUMENT_SCHEMA, Document, iter_qa
from mnatune.stages.read.precedent import is_echo, numbered, pairs

LAW = """---
제목: 가상회사법
시행일자: 2024-01-16
상태: 시행
---

# 가상회사법

## 제1장 총칙

##### 제1조 (목적)

이 법은 회사를 **널리** 이롭게 한다.

##### 제2조

삭제 <2001.1.1>

##### 제3조의2 (합병(흡수))

**①** 회사는 합병할 수 있다.

  1\\. 흡수합병
  2\\. 신설합병

## 제2장 삭제 <2005.1.1>

##### 제4조 (벌칙)

벌금에 처한다.

## 부칙

##### 제1조 (시행일)

공포한 날부터 시행한다.
"""
HEAD = "---\n사건번호: {0}\n법원명: 대법원\n사건종류: 민사\n선고일자: 2006-05-01\n---\n\n# 사건\n\n"


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_articles_in_force(tmp_path, reading):
    root = write(tmp_path / "laws", {"kr/가상회사법/법률.md": LAW, "README.md": "no head\n"})
    _, manifest, run = reading({"kind": "law", "path": str(root), "name": "laws"})
    found = [Document.from_row(row) for row in iter_qa(run.folder("read") / "documents.parquet")]
    assert [d.title for d in found] == [
        "가상회사법 제1조 (목적)",
        "가상회사법 제3조의2 (합병(흡수))",
        "가상회사법 제4조 (벌칙)",
    ]
    assert [d.group for d in found] == ["가상회사법 제1조", "가상회사법 제3조의2", "가상회사법 제4조"]
    assert found[0].text == "이 법은 회사를 널리 이롭게 한다."
    assert found[1].text == "① 회사는 합병할 수 있다.\n\n1. 흡수합병\n2. 신설합병"
    assert {d.in_force for d in found} == {"2024-01-16"}
    assert found[0].source.licence.startswith("저작권법 제7조")
    facts = manifest.per_source["laws"]
    assert facts["documents"] == 3
    assert facts["articles"] == {"가상회사법": 3}
    assert facts["dropped"] == {"deleted-article": 1}
    assert facts["members_skipped"] == {"not a law": 1}


def test_documents_parquet_is_written_without_documents(tmp_path, reading):
    (tmp_path / "a.jsonl").write_text('{"question": "q", "answer": "a"}')
    *_, run = reading({"kind": "qa", "path": str(tmp_path / "a.jsonl")})
    import pyarrow.parquet as pq

    table = pq.read_table(run.folder("read") / "documents.parquet")
    assert (len(table), table.schema) == (0, DOCUMENT_SCHEMA)


def test_decisions(tmp_path, reading):
    files = {
        "민사/2006다1.md": HEAD.format("2006다1") + "## 판시사항\n\n[1] 갑인지 여부\n\n[2] 을인지 여부(소극)\n\n## 판결요지\n\n[1] 갑이다.\n[2] 을이 아니다.\n둘째 줄.\n\n## 참조조문\n\n상법 제1조\n",
        "민사/2006다2.md": HEAD.format("2006다2") + "## 판시사항\n\n병인지 여부\n\n## 판결요지\n\n병이다.\n",
        "민사/2006다3.md": HEAD.format("2006다3") + "## 판시사항\n\n[1] 갑\n[2] 을\n\n## 판결요지\n\n[1] 갑이다.\n",
        "민사/2006다4.md": HEAD.format("2006다4") + "## 판시사항\n\n합병무효로 본 사례\n\n## 판결요지\n\n합병무효로 본 사례.\n",
        "민사/2006다5.md": HEAD.format("2006다5") + "## 판시사항\n\n정인지 여부\n\n## 판례내용\n\n【주문】\n",
    }  # fmt: skip
    rows, manifest, _ = reading({"kind": "precedent", "path": str(write(tmp_path / "cases", files))})
    assert [(r.group, r.question, r.answer) for r in rows] == [
        ("2006다1", "갑인지 여부", "갑이다."), ("2006다1", "을인지 여부(소극)", "을이 아니다.\n둘째 줄."),
        ("2006다2", "병인지 여부", "병이다."), ("2006다3", "[1] 갑\n[2] 을", "[1] 갑이다."),
    ]  # fmt: skip
    assert [r.flags for r in rows] == [[], [], [], ["unpaired-numbering"]]
    assert rows[0].reference == "대법원 2006. 5. 1. 선고 2006다1 / 상법 제1조"
    assert rows[0].category == "민사"
    facts = manifest.per_source["cases"]
    assert facts["dropped"] == {"echo": 1}
    assert facts["members_skipped"] == {"no 판결요지": 1}
    assert facts["layout/numbered"], facts["layout/unpaired-numbering"] == (1, 1)


def test_numbering():
    assert numbered("[1] 가\n[2] 나") == {1: "가", 2: "나"}
    assert numbered("머리말 [1] 가") is None
    assert numbered("가\n[1] 나") is None
    assert numbered("[1] 가\n[1] 나") is None
    assert pairs("[2] 나\n[1] 가", "[1] ㄱ\n[2] ㄴ") == ([("가", "ㄱ"), ("나", "ㄴ")], True)
    assert pairs("[1] 가", "ㄱ") == ([("[1] 가", "ㄱ")], False)


@pytest.mark.parametrize(
    ("question", "answer", "echo"),
    [
        ("합병으로 본 사례", "합병으로 본 사례.", True),
        ("합병인지 여부(적극)", "합병인지 여부", True),
        ("합병인지 여부(원칙적 소극)", "합병인지  여부.", True),
        ("합병인지 여부(적극)", "합병이다.", False),
    ],
)
def test_echo(question, answer, echo):
    assert is_echo(question, answer) is echo


def test_a_folder_without_laws_is_an_error(tmp_path, reading):
    with pytest.raises(DataError, match="nothing was read"):
        reading({"kind": "law", "path": str(write(tmp_path / "x", {"a.md": "text"}))})
