"""The forms in which laws are cited; `test_planted.py` has citations with known truth."""

import pytest

from mnatune.law.citations import Citation, CitationChecker
from mnatune.pack import Pack


@pytest.fixture(scope="module")
def checker(pack: Pack) -> CitationChecker:
    return CitationChecker(pack)


def written(number: str) -> str:
    main, _, branch = number.partition("의")
    return f"{main}조의{branch}" if branch else f"{main}조"


def facts(citations: list[Citation]) -> list[tuple[str, str, str]]:
    return [(c.law, c.article, c.verdict) for c in citations]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "상법 제522조, 제530조 및 제999조",
            [("상법", "522", "valid"), ("상법", "530", "valid"), ("상법", "999", "invalid")],
        ),
        ("상법 제374조의2 제1항ㆍ제2항, 제530조", [("상법", "374의2", "valid"), ("상법", "530", "valid")]),
        ("상법 제522조(합병계약서와 그 승인결의), 제523조", [("상법", "522", "valid"), ("상법", "523", "valid")]),
        ("민법 제3조 및 같은 법 제4조", [("민법", "3", "valid"), ("민법", "4", "valid")]),
        ("상법 제1조. 동법 시행령 제2조", [("상법", "1", "valid"), ("상법 시행령", "2", "valid")]),
        ("산재보상법 제3조", [("산재보상법", "3", "unresolved")]),
        ("일본 상법 제9999조", [("상법", "9999", "unresolved")]),
        ("구 상법(2011. 4. 14. 개정되기 전의 것) 제9999조", [("상법", "9999", "unresolved")]),
        ("상법 부칙 제3조", [("", "3", "unresolved")]),
        ("제10조에 따라", [("", "10", "unresolved")]),
        ("정관 제10조, 제11조", []),
        ("계약서 제3조 제2항", []),
        ("매수대금은 제3조원을 넘지 않는다", []),
        ("이 방법 제3조", [("", "3", "unresolved")]),
        (
            "민법 제1조. 노인복지법에 의하면 동법 제38조 제2항",
            [("민법", "1", "valid"), ("노인복지법", "38", "unresolved")],
        ),
        ("및 상법 제3조", [("상법", "3", "valid")]),
        ("상  법 제 522 조의 3 제 1 항", [("상법", "522의3", "valid")]),
        ("상법 제434조의 3분의 2 이상", [("상법", "434", "valid")]),
        ("상법 제363조의 10일 전, 상법 제383조의 1인 이사", [("상법", "363", "valid"), ("상법", "383", "valid")]),
        ("상법 제434조의 2/3", [("상법", "434", "valid")]),
        ("상법 제527조의5의 1월 이상", [("상법", "527의5", "valid")]),
        ("상법 999조, 360조의3", [("상법", "999", "invalid"), ("상법", "360의3", "valid")]),
        ("상법 §360의3, 상법 §999", [("상법", "360의3", "valid"), ("상법", "999", "invalid")]),
        ("매매대금 3조, 자본금 10조 원", []),
        ("**상법** 제999조", [("상법", "999", "invalid")]),
        ("【상법】 제999조", [("상법", "999", "invalid")]),
        ("상법상 제999조", [("상법", "999", "invalid")]),
        ("상법: 제522조∼제999조", [("상법", "522", "valid"), ("상법", "999", "invalid")]),
        ("상법 제522조 그리고 제999조", [("상법", "522", "valid"), ("상법", "999", "invalid")]),
    ],
)
def test_forms(checker: CitationChecker, text: str, expected: list[tuple[str, str, str]]) -> None:
    assert facts(checker.find(text)) == expected


def test_names_that_the_text_defines(checker: CitationChecker) -> None:
    text = (
        "자본시장과 금융투자업에 관한 법률(이하 '법'이라 한다) 제165조의4는 합병을 정하고, 법 제9999조는 없다. "
        "구 상법(2011. 4. 14. 법률 제10600호로 개정되기 전의 것, 이하 '옛 법'이라 한다) 제1조, 옛 법 제9999조."
    )
    capital = "자본시장과 금융투자업에 관한 법률"
    assert facts(checker.find(text)) == [
        (capital, "165의4", "valid"),
        (capital, "9999", "invalid"),
        ("상법", "1", "valid"),
        ("상법", "9999", "unresolved"),
    ]


def test_a_citation_points_at_its_text_and_title(checker: CitationChecker) -> None:
    text = "반대주주는 상법 제522조의3 제1항에 따라 청구합니다."
    [citation] = checker.find(text)
    assert text[citation.start : citation.end] == "상법 제522조의3 제1항"
    assert (citation.paragraph, citation.title, citation.note) == (1, "합병반대주주의 주식매수청구권", "")


def test_a_repealed_article_is_valid_but_not_in_force(checker: CitationChecker) -> None:
    law, number = next(
        (law, number)
        for law, articles in checker.index.laws.items()
        for number, article in articles.items()
        if article.last and law == "독점규제 및 공정거래에 관한 법률"
    )
    [citation] = checker.find(f"{law} 제{written(number)}")
    assert citation.verdict == "valid"
    assert not citation.in_force
    assert "지금은 없는" in citation.note


def test_every_alias_leads_to_its_law(checker: CitationChecker, pack: Pack) -> None:
    table = pack.yaml("citations.yaml")
    for law, aliases in table["aliases"].items():
        for alias in aliases:
            [citation] = checker.find(f"이것은 {alias} 제1조이다")
            assert citation.law == law, alias


@pytest.mark.parametrize(
    ("text", "well_formed"),
    [
        ("대법원 2003두4355 판결", [True]),
        ("97다57122", [True]),
        ("서울고등법원 2021나2046777", [True]),
        ("대법원 2099다1234 판결", [False]),
        ("대법원 2003갑4355 판결", [False]),
        ("2024년 3월", []),
        ("10인 5명", []),
        ("제10인 5", []),
        ("2015재노12, 2016재가단1", [True, True]),
        ("4290민상123", [True]),
        ("1000억원2024 기준", []),
    ],
)
def test_case_numbers(checker: CitationChecker, text: str, well_formed: list[bool]) -> None:
    assert [case.well_formed for case in checker.cases(text)] == well_formed
