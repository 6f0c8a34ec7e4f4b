"""Numbers that carry a legal or financial answer: dates, periods, amounts, shares, articles, in one written form.

"100분의 20", "20%" and "20퍼센트" are one fact, "2주" and "14일" are two: only the writing is made equal.

Does not: read numbers in Hangul ("삼십 일"), or tell what a number is about.
"""

import re
import unicodedata
from collections.abc import Callable
from fractions import Fraction

NUMBER = r"\d[\d,]{0,40}+(?:\.\d{1,20}+)?"
FULL_DATE = re.compile(r"(\d{4})\s*[.년]\s*(\d{1,2})\s*[.월]\s*(\d{1,2})\s*[.일]?")
PERCENT_OF = re.compile(r"(100|1,?000)\s*분의\s*(\d[\d,]*(?:\.\d+)?)")
FRACTION = re.compile(r"(?<!\d)(\d++)\s*+분의\s*(\d+)")
PERCENT = re.compile(rf"(?<!\d)({NUMBER})\s*+(?:%|퍼센트|프로(?![가-힣]))")
ARTICLE = re.compile(r"제\s*(\d+)\s*조(?:\s*의\s*(\d+))?")
MONEY = re.compile(
    rf"(?<!\d)((?:{NUMBER}\s*+(?:[천백십]\s*+[조억만]?|[조억만])\s*+){{1,8}}(?:\d[\d,]{{0,40}}+\s*+)?|{NUMBER}\s*+)(원|달러|유로|엔)"
)
UNIT = re.compile(
    rf"(?<!\d)({NUMBER})\s*+(영업일|거래일|일|주일|주간|주|개월|개년|년도|년|월|시간|명|인|배|회|건|개사|개|호|항|차|점|bp|배수)"
)
SCALE = {"조": 10**12, "억": 10**8, "만": 10**4, "천": 1000, "백": 100, "십": 10}
MONEY_PART = re.compile(r"(\d[\d,]*(?:\.\d+)?)\s*([천백십]?)\s*([조억만]?)")


def facts(text: str) -> list[str]:
    """Every figure with its unit, by kind, in normal form: "2024-03-01", "제522조의3", "20%", "14일"."""
    rest = unicodedata.normalize("NFKC", text)
    found: list[str] = []

    def take(pattern: re.Pattern[str], write: Callable[[re.Match[str]], str]) -> None:
        nonlocal rest
        found.extend(write(match) for match in pattern.finditer(rest))
        rest = pattern.sub(" ", rest)

    take(FULL_DATE, lambda m: f"{int(m[1]):04d}-{int(m[2]):02d}-{int(m[3]):02d}")
    take(ARTICLE, lambda m: f"제{int(m[1])}조" + (f"의{int(m[2])}" if m[2] else ""))
    take(PERCENT_OF, lambda m: _percent(_number(m[2]) * 100 / _number(m[1])))
    take(FRACTION, lambda m: f"{int(m[2])}/{int(m[1])}")
    take(PERCENT, lambda m: _percent(_number(m[1])))
    take(MONEY, lambda m: f"{_plain(_money(m[1]))}{m[2]}")
    take(UNIT, lambda m: f"{_plain(_number(m[1]))}{_unit(m[2])}")
    return found


def _number(digits: str) -> Fraction:
    return Fraction(digits.replace(",", ""))


def _money(text: str) -> Fraction:
    """1조 2천억, 2천 5백만: what stands before 조, 억 or 만 is added up first."""
    whole, part = Fraction(0), Fraction(0)
    for match in MONEY_PART.finditer(text):
        part += _number(match[1]) * SCALE.get(match[2], 1)
        if match[3]:
            whole, part = whole + part * SCALE[match[3]], Fraction(0)
    return whole + part


def _plain(value: Fraction) -> str:
    return str(value.numerator) if value.denominator == 1 else f"{float(value):g}"


def _percent(value: Fraction) -> str:
    return f"{_plain(value)}%"


def _unit(unit: str) -> str:
    return {"주일": "주", "주간": "주", "인": "명", "년도": "년", "개년": "년", "배수": "배"}.get(unit, unit)
