"""Figures in one written form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnatune.text.facts import facts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024. 3. 1.부터", ["2024-03-01"]),
        ("2024년 3월 1일", ["2024-03-01"]),
        ("100분의 20", ["20%"]),
        ("20퍼센트", ["20%"]),
        ("5.50%", ["5.5%"]),
        ("3분의 2 이상", ["2/3"]),
        ("상법 제522조의3에 따라", ["제522조의3"]),
        ("1억 2,000만원", ["120000000원"]),
        ("300억 원", ["30000000000원"]),
        ("3천억 원과 3,000억원", ["300000000000원", "300000000000원"]),
        ("3억 5천만 원", ["350000000원"]),
        ("2천 5백만원", ["25000000원"]),
        ("1조 2천억 3백만 달러", ["1200003000000달러"]),
        ("30일과 2주간", ["30일", "2주"]),
        ("３０일", ["30일"]),
        ("5인", ["5명"]),
        ("아무 수치도 없다", []),
    ],
)
def test_normal_form(text: str, expected: list[str]) -> None:
    assert facts(text) == expected


@given(st.integers(1, 999_999), st.sampled_from(["일", "개월", "명", "%"]))
def test_writing_does_not_matter(number: int, unit: str) -> None:
    assert facts(f"{number}{unit}") == facts(f"{number:,} {unit}")


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    assert all(isinstance(fact, str) for fact in facts(text))
