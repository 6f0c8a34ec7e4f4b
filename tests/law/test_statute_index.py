"""The statute index: built from a history or a checkout, compact, and read back."""

import json
from pathlib import Path

import pytest

from mnatune.law.statute_index import Article, StatuteIndex, build, dump
from mnatune.runs.errors import DataError

LAW = """---
제목: 시험법
시행일자: 2025-01-01
---

# 시험법

##### 제1조 (목적)

목적이다.

##### 제2조의3 (정의)

**①** 뜻은 다음과 같다.
**②** 제1조를 준용한다.

# 부칙

##### 제9조 (시행일)
"""


def history(tmp_path: Path) -> Path:
    rows = [
        {
            "article": "1",
            "title": "목적",
            "paragraphs": 1,
            "first": "1990-01-01",
            "last": "2025-01-01",
            "current": True,
        },
        {"article": "2", "title": None, "paragraphs": 3, "first": "1990-01-01", "last": "2001-12-31", "current": False},
    ]
    path = tmp_path / "history.jsonl"
    path.write_text(json.dumps({"law": "시험법", "articles": rows}) + "\n", encoding="utf-8")
    return path


def test_from_a_history(tmp_path: Path) -> None:
    path = tmp_path / "statutes.json"
    path.write_text(dump(build(history(tmp_path))), encoding="utf-8")
    index = StatuteIndex.load(path)
    assert index.article("시험법", "1") == Article("목적", 1, "1990-01-01", "")
    repealed = index.article("시험법", "2")
    assert repealed == Article("", 3, "1990-01-01", "2001-12-31")
    assert not repealed.in_force
    assert index.article("시험법", "3") is None
    assert index.since == {"시험법": "1990-01-01"}


def test_from_a_checkout(tmp_path: Path) -> None:
    (tmp_path / "kr" / "시험법").mkdir(parents=True)
    (tmp_path / "kr" / "시험법" / "법률.md").write_text(LAW, encoding="utf-8")
    built = build(tmp_path)
    assert built["laws"]["시험법"]["articles"] == {
        "1": ["목적", 1, "2025-01-01", ""],
        "2의3": ["정의", 2, "2025-01-01", ""],
    }
    assert built["as_of"] == "2025-01-01"


def test_equal_sources_give_equal_bytes(tmp_path: Path) -> None:
    assert dump(build(history(tmp_path))) == dump(build(history(tmp_path)))


def test_faults_are_told_with_their_place(tmp_path: Path) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"law": "시험법", "articles": []}\n{"law": "시', encoding="utf-8")
    with pytest.raises(DataError) as fault:
        build(broken)
    assert fault.value.where.endswith("broken.jsonl:2")
    with pytest.raises(DataError, match="no such file"):
        build(tmp_path / "nothing")
    (tmp_path / "kr").mkdir()
    with pytest.raises(DataError, match="no law"):
        build(tmp_path)
    (tmp_path / "kr" / "시험법").mkdir()
    law = tmp_path / "kr" / "시험법" / "법률.md"
    for head in ("제목: 가\n제목: 나", "a: &a [*a]", "제목: ["):
        law.write_text(f"---\n{head}\n---\n##### 제1조 (목적)\n본문\n", encoding="utf-8")
        with pytest.raises(DataError, match="not valid YAML") as fault:
            build(tmp_path)
        assert fault.value.where == str(law)
    old = tmp_path / "old.json"
    old.write_text('{"version": 0}', encoding="utf-8")
    with pytest.raises(DataError, match="version"):
        StatuteIndex.load(old)


def test_the_bundled_index_is_small_and_current(pack) -> None:
    path = pack.path("statutes.json")
    assert path.stat().st_size < 1_500_000
    index = StatuteIndex.load(path)
    assert len(index.laws) > 50
    article = index.article("상법", "522의3")
    assert article is not None
    assert article.title == "합병반대주주의 주식매수청구권"
    assert article.in_force
