"""Values in one form: every way of writing one agrees, and no two values are taken for one."""

from collections.abc import Callable
from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mnatune.text.values import Value, facts, shared, unsupported, values

CIRCLED = "①②③④⑤⑥⑦⑧⑨⑩⑪⑫⑬⑭⑮⑯⑰⑱⑲⑳"
WIDE = str.maketrans("0123456789", "０１２３４５６７８９")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024. 3. 1.부터 2024.3.31.까지", ["2024-03-01", "2024-03-31"]),
        ("'24. 3. 1.", ["2024-03-01"]),
        ("298.3.5", []),
        ("2024년 13월 1일", ["2024년", "13개월", "1일"]),  # no date
        ("2027년 3월 정기주주총회", ["2027-03"]),
        ("12월 결산법인의 1분기, 20세기", []),
        ("상법 제434조의 3분의 2 이상", ["제434조", "2/3"]),
        ("제363조의 2주 전", ["제363조", "2주"]),
        ("제522조의 3에 따라", ["제522조의3"]),
        ("민법 제103조와 104조", ["제103조", "제104조"]),
        ("자산 3조원인 회사", ["3000000000000원"]),
        ("1조를 투자", ["1000000000000원"]),
        ("1억 2,000만원", ["120000000원"]),
        ("2천 5백만원", ["25000000원"]),
        ("12만 3,456원", ["123456원"]),
        ("1조 2천억 3백만 달러", ["1200003000000달러"]),
        ("5,000백만원", ["5000000000원"]),
        ("US$500만", ["5000000달러"]),
        ("금 이억오천만원정", ["250000000원"]),
        ("삼분의 이, 백분의 이십", ["2/3", "20%"]),
        ("300~500만원", ["3000000원", "5000000원"]),
        ("1만 5천명과 300만 주", ["15000명", "3000000주"]),
        ("①30일 ②2주, ⑴5인, ③20%", ["30일", "2주", "5명", "20%"]),
        ("33.3%와 66.67%", ["1/3", "2/3"]),
        ("50bp", ["0.5%p"]),
        ("제1항 및 제3항", ["1항", "3항"]),
        ("원칙 3개", ["3개"]),
        ("아무 수치도 없다", []),
    ],
)
def test_normal_form(text: str, expected: list[str]) -> None:
    assert facts(text) == expected


def won(amount: int) -> list[str]:
    """Ways of writing an amount of whole ten thousands."""
    eok, man = divmod(amount // 10_000, 10_000)
    parts = " ".join([f"{eok}억"] * bool(eok) + [f"{man:,}만"] * bool(man))
    ways = [
        f"{amount}원",
        f"{amount:,} 원",
        f"{parts} 원",
        f"{parts}원",
        f"₩{amount:,}",
        f"{amount:,}원".translate(WIDE),
    ]
    if man % 1000 == 0 and man:
        ways.append(" ".join([f"{eok}억"] * bool(eok) + [f"{man // 1000}천만"]) + "원")
    return [*ways, f"{parts} 이상"]


def date(day: tuple[int, int, int]) -> list[str]:
    y, m, d = day
    return [
        f"{y}년 {m}월 {d}일", f"{y}. {m}. {d}.", f"{y}-{m:02d}-{d:02d}", f"{y}/{m}/{d}", f"{y}.{m}.{d}",
        f"'{y % 100:02d}. {m}. {d}.", f"{y}년 {m:02d}월 {d:02d}일".translate(WIDE),
    ]  # fmt: skip


def share(thousandths: int) -> list[str]:
    percent = f"{thousandths / 10:g}"
    whole = Fraction(thousandths, 1000)
    ways = [f"{percent}%", f"{percent} 퍼센트", f"1000분의 {thousandths}", f"1,000분의 {thousandths}", f"{percent}％"]
    if whole < 1:
        ways += [f"{whole.denominator}분의 {whole.numerator}", f"{whole.numerator}/{whole.denominator}"]
    return ways


def article(parts: tuple[int, int, int]) -> list[str]:
    number, branch, paragraph = parts
    of = f"의{branch}" if branch else ""
    ways = [
        f"제{number}조{of} 제{paragraph}항",
        f"제{number}조{of}제{paragraph}항",
        f"제 {number} 조{of} 제 {paragraph} 항",
    ]
    dash = f"-{branch}" if branch else ""
    return [
        *ways,
        f"§{number}{dash}({paragraph})",
        f"상법 {number}조{of} {paragraph}항",
        f"제{number}조{of} {CIRCLED[paragraph - 1]}",
    ]


def months(number: int) -> list[str]:
    return [f"{number}개월", f"{number} 개월 이내", f"{number}월 이상의 기간", f"{number}개월간"]


def people(number: int) -> list[str]:
    return [f"{number}명", f"{number}인", f"{number:,} 명", f"{number}인 이상".translate(WIDE)]


AMOUNTS = st.integers(1, 99_999_999).map(lambda n: n * 10_000)
DATES = st.tuples(st.integers(1975, 2059), st.integers(1, 12), st.integers(1, 28))
ARTICLES = st.tuples(st.integers(1, 999), st.integers(0, 30).filter(lambda n: n != 1), st.integers(1, 20))
KINDS: list[tuple[st.SearchStrategy, Callable[..., list[str]]]] = [
    (AMOUNTS, won),
    (DATES, date),
    (st.integers(1, 1000), share),
    (ARTICLES, article),
    (st.integers(1, 60), months),
    (st.integers(1, 90_000), people),
]


@settings(deadline=None)
@given(
    st.data(), st.sampled_from(KINDS), st.sampled_from(["{}", "회사는 {} 기준을 따릅니다.", "①{}", "(1) {}을 봅니다"])
)
def test_all_ways_of_writing_a_value_are_one_and_no_other(data: st.DataObject, kind, frame: str) -> None:
    numbers, write = kind
    one, other = data.draw(numbers), data.draw(numbers)
    assume(one != other)
    ways = [values(frame.format(way)) for way in write(one)]
    assert all(len(found) == 1 for found in ways), ways
    assert len({found[0].text for found in ways}) == 1
    [different] = values(frame.format(data.draw(st.sampled_from(write(other)))))
    assert not any(different.agrees(found[0]) for found in ways)


@settings(deadline=None)
@given(st.integers(1, 99), st.integers(1, 99))
def test_fractions_that_no_percentage_writes_exactly(part: int, whole: int) -> None:
    """A percentage with one decimal is the fraction that it rounds only for thirds, sixths, sevenths and ninths."""
    assume(part < whole)
    share_of = Fraction(part, whole)
    assume(Fraction(round(share_of * 1000), 1000) != share_of)
    same = facts(f"{whole}분의 {part}") == facts(f"{float(share_of * 100):.1f}%")
    assert same == (share_of.denominator in (3, 6, 7, 9))


@pytest.mark.parametrize(
    ("one", "other", "agree"),
    [
        ("20% 이상", "20%", True),
        ("20% 이상", "20% 초과", False),
        ("20일 이내", "20일 이하", True),
        ("5억 원 미만", "5억 원 이하", False),
        ("10%를 넘지 않으면", "10% 이하", True),
        ("10%를 넘으면", "10%를 초과하면", True),
        ("50인에 미치지 못하는", "50명 미만", True),
        ("제522조의3", "제522조의3 제1항", True),
        ("제522조의3 제1항", "제522조의3 제2항", False),
        ("제522조", "제522조의3", False),
        ("2주", "14일", False),
        ("10%", "10%p", False),
    ],
)
def test_bounds_and_paragraphs(one: str, other: str, agree: bool) -> None:
    assert values(one)[0].agrees(values(other)[0]) is agree
    assert values(other)[0].agrees(values(one)[0]) is agree


@pytest.mark.parametrize("text", ["20%~30%", "20~30%", "20% 내지 30%", "20% 이상 30% 이하", "20%에서 30%까지"])
def test_a_range_is_two_bounded_values(text: str) -> None:
    assert [(value.text, value.bound) for value in values(text)] == [("20%", "이상"), ("30%", "이하")]


def test_support_and_overlap() -> None:
    support = "상법 제522조의3은 20일, 지분 20% 이상, 자산총액 3천억 원을 정합니다."
    assert unsupported("20일, 100분의 20, 자산 3,000억원, 제522조의3 제1항", support) == []
    assert [value.text for value in unsupported("30일, 20% 초과", support)] == ["30일", "20%"]
    assert shared(values("20일, 20일, 5명"), values("5인, 20일")) == 2


@settings(deadline=None)
@given(
    st.text(alphabet=st.sampled_from("0123456789,.%제조의항분월일년억만천원주§/~-①(") | st.characters(), max_size=40)
)
def test_any_text_is_read_and_places_are_those_of_the_text(text: str) -> None:
    found = values(text)
    assert all(isinstance(value, Value) and 0 <= value.start < value.end <= len(text) for value in found)
    assert [value.start for value in found] == sorted(value.start for value in found)


def test_places_survive_folding() -> None:
    text = "기간은 ３０일이고 금액은 ￦５,０００입니다."
    assert [text[v.start : v.end] for v in values(text)] == ["３０일", "￦５,０００"]


@pytest.mark.parametrize(
    "unit",
    ["1", "1,", "1,000", "1만 ", "천", "1 ", "제1조 ", "1~", "1/", "2024.", "1분의 ", "법 1", "①1항", "천만억 ", "1.1"],
)
def test_a_long_monotonous_text_is_read_to_its_end(unit: str) -> None:
    """A pattern that backtracks would not come back from these within the suite's patience."""
    text = unit * (30_000 // len(unit))
    assert values(f"{text}\n끝 20%")[-1].text == "20%"
