"""A small law memory of made-up statutes and decisions, built once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mnatune.law.building import build
from mnatune.pack import Pack

OLD = """---
제목: 보기회사법
공포일자: 2019-06-01
시행일자: 2020-01-01
---

# 보기회사법

## 제1장 총칙

##### 제1조 (목적)

이 법은 \uf90a융회사의 합병을 정한다.

##### 제2조 (매수청구)

**①** 합병에 반대하는 주주는 10일 이내에 주식의 매수를 청구할 수 있다.
**②** 회사는 그 청구를 받아들여야 한다.

##### 제3조 (폐지될 조문)

스키장의 영업을 정한다.
"""
NEW = """---
제목: 보기회사법
공포일자: 2023-05-01
시행일자: 2024-01-01
---

##### 제1조 (목적)

이 법은 \uf90a융회사의 합병을 정한다.

##### 제2조 (매수청구)

**①** 합병에 반대하는 주주는 20일 이내에 주식의 매수를 청구할 수 있다. <개정 2023.5.1>
**②** 회사는 그 청구를 받아들여야 한다.

##### 제2조의2 (전자공고)

회사는 신문 대신 누리집에 공고할 수 있다.

##### 제3조

삭제 <2023.5.1>

# 부칙

##### 제1조 (시행일)
이 법은 2024년부터 시행한다.
"""
SOON = """---
제목: 보기미래법
공포일자: 2019-05-01
시행일자: 2020-01-01
---

##### 제1조 (목적)

우주여행의 안전을 정한다.
"""
FUTURE = SOON.replace("2020-01-01", "2999-01-01") + "\n##### 제2조 (환급)\n\n우주여행의 환급을 정한다.\n"
TWICE = "---\n제목: 두번법\n시행일자: 2024-01-01\n---\n\n##### 제52조 (등기)\n\n하나\n\n##### 제52조 (공고)\n\n둘\n"
NO_ARTICLE = "---\n제목: 빈법\n시행일자: 2020-01-01\n---\n\n머리뿐이다.\n"
NO_DAY = "---\n제목: 날없는법\n시행일자: 2020-02-30\n---\n\n##### 제1조 (목적)\n\n하나\n"
DECISION = """---
사건번호: 2021다12345
사건명: 주식매수가격결정
법원명: 대법원
선고일자: 2022-03-04
---

## 판시사항

[1] 소수주주가 축출될 때 누리는 지위의 성질 [2] 이사의 겸직이 허용되는지 여부

## 판결요지

[1] 소수주주의 지위는 형성권의 성질을 가진다. [2] 겸직은 허용되지 아니한다.

## 참조조문

[1] 보기회사법 제2조 / [2] 보기회사법 제1조
"""
FILES = {
    "kr/보기회사법/법률-2020.md": OLD,
    "kr/보기회사법/법률.md": NEW,
    "kr/보기미래법/법률-2020.md": SOON,
    "kr/보기미래법/법률.md": FUTURE,
    "kr/두번법/법률.md": TWICE,
    "kr/날없는법/법률.md": NO_DAY,
    "kr/빈법/법률.md": NO_ARTICLE,
    "판례/2021다12345.md": DECISION,
    "README.md": "# 머리 없는 글",
}


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Markdown files."""
    root = tmp_path_factory.mktemp("sources")
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (root / "깨진글.md").write_bytes(b"---\n\xff\xfe\n---\n")
    return root


@pytest.fixture(scope="session")
def small_pack(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    """A pack with a name, a synonym, a row about the statutes and a question that leads to an article."""
    root = tmp_path_factory.mktemp("pack")
    (root / "citations.yaml").write_text(
        'aliases: {"보기회사법": ["보기법"]}\nunindexed: ["민법"]\ncase_kinds: ["다"]\nanaphora: ["같은법"]\n',
        encoding="utf-8",
    )
    (root / "glossary.jsonl").write_text(
        '{"term": "매수청구", "english": "appraisal right", "aliases": ["바이아웃청구"]}\n', encoding="utf-8"
    )
    (root / "qa.jsonl").write_text(
        '{"question": "홈페이지에 알려도 됩니까?", "answer": "됩니다.", "source": "보기회사법 제2조의2"}\n',
        encoding="utf-8",
    )
    (root / "article_questions.jsonl").write_text(
        '{"law": "보기회사법", "article": "3", "questions": ["눈밭 리프트 장사도 되나요?"]}\n', encoding="utf-8"
    )
    return Pack(root)


@pytest.fixture(scope="session")
def memory_folder(sources: Path, small_pack: Pack) -> Path:
    """The memory, in the pack."""
    build([sources], small_pack.root / "law", small_pack)
    return small_pack.root / "law"


@pytest.fixture
def rebuilt(sources: Path, small_pack: Pack, tmp_path: Path) -> Callable[..., Path]:
    """Builds another memory of the same sources, and more."""

    def make(*more: Path, **options: object) -> Path:
        build([sources, *more], tmp_path / "law", small_pack, **options)
        return tmp_path / "law"

    return make
