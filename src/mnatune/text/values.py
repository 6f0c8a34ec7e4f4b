"""Legal and financial values in Korean text, read by what they mean: dates, periods, amounts, shares, articles, counts.

"3,000만원", "3천만 원" and "30,000,000원" are one value; so are "100분의 20" and "20%", "2024. 3. 5." and "2024-03-05",
"1월" and "1개월", "제360조의3제1항" and "§360-3(1)". "2주" and "14일" are two. A percentage written with decimals that
rounds a third, sixth, seventh or ninth is that fraction ("33.3%" = "3분의 1").

A value may carry a bound: 이상, 초과, 이하 or 미만, or a word that means one of them. A range is two bounded values.

Does not: tell what a value is about, or read periods and counts in Hangul ("삼십 일"); amounts and fractions are read.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from itertools import pairwise
from typing import Literal

Kind = Literal["date", "article", "ratio", "amount", "period", "count"]
Bound = Literal["", "이상", "초과", "이하", "미만"]

DIGITS = r"(?<![\d.,])(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?!\d|,\d{3})"
STEP_OF = rf"{DIGITS}\s*(?:[십백천]\s?[만억조]?|[만억조])"
SCALED = rf"{STEP_OF}(?:\s?(?:{STEP_OF}|{DIGITS}(?=\s?원))){{0,5}}"
HANGUL = r"(?<![가-힣])(?=[일이삼사오육칠팔구]{0,2}[십백천만억조])[일이삼사오육칠팔구십백천만억조]{1,30}"
NUMBER = rf"(?:{SCALED}|{DIGITS})"
SCALE = {"십": 10, "백": 100, "천": 1000, "만": 10**4, "억": 10**8, "조": 10**12}
HANGUL_DIGITS = {name: at for at, name in enumerate("일이삼사오육칠팔구", 1)}
TO = r"\s*(?:~|-|내지|부터|에서)\s*"

CURRENCIES = {
    "원": "원", "krw": "원", "₩": "원", "달러": "달러", "불": "달러", "미불": "달러", "usd": "달러", "us$": "달러", "$": "달러",
    "유로": "유로", "eur": "유로", "€": "유로", "엔": "엔", "jpy": "엔", "¥": "엔", "위안": "위안", "파운드": "파운드",
}  # fmt: skip
SUFFIX = r"(?:원(?!칙|고|본|래|심|인[^\d\s])|(?:미)?불(?![가능구법복안일])|미?달러|유로|엔(?!진|드)|위안|파운드|(?:KRW|USD|EUR|JPY)(?![A-Za-z]))"
PREFIX = r"(?:US\$|\$|₩|€|¥|(?<![A-Za-z])(?:KRW|USD|EUR|JPY))"
BARE_END = r"(?=\s*(?:$|[\s,.;:)\]}~/·]|이상|이하|초과|미만|이내|내지|내외|정도|가량|상당|규모|까지|부터|에|을|를|의|이|가|은|는|과|와|으?로|이?며|인|입니다|이[다었라]))"
UNITS = {
    "영업일": "영업일", "거래일": "거래일", "일간": "일", "일": "일", "주일": "주", "주간": "주", "주": "주", "개월": "개월",
    "개월간": "개월", "달": "개월", "월": "개월", "개년": "년", "년도": "년", "년간": "년", "년": "년", "시간": "시간",
    "분": "분", "명": "명", "인": "명", "사람": "명", "배수": "배", "배": "배", "회": "회", "차례": "회", "건": "건",
    "개사": "개사", "개": "개", "좌": "좌", "세": "세", "호": "호", "항": "항", "차": "차", "점": "점",
}  # fmt: skip
PERIODS = frozenset(("영업일", "거래일", "일", "주", "개월", "년", "시간", "분"))
UNIT = "|".join(sorted(map(re.escape, UNITS), key=len, reverse=True))

YEAR = r"(?:(?<![\d.])(\d{4})|['’‘](\d{2}))"
DATE = re.compile(
    rf"{YEAR}\s*(?:[./-]|년)\s*(\d{{1,2}})\s*(?:[./-]|월)\s*(\d{{1,2}})(?!\d|[./-]\d)\s*(?:일|\.(?!\d))?(?!\s*(?:%|억|만))"
)
MONTH = re.compile(rf"{YEAR}\s*(?:년\s*(\d{{1,2}})\s*월|[.]\s*(\d{{1,2}})[.](?!\d))")
DAY = re.compile(r"(?<![\d.])(\d{1,2})\s*월\s*(\d{1,2})\s*일(?!간|\s*(?:이내|동안))")
NO_VALUE = re.compile(  # month names, quarters, centuries
    r"(?:\d\s*분기|\d{1,2}\s*세기|(?:매년|같은 해|올해|지난해|내년)\s*\d{1,2}\s*월|\d{1,2}\s*월(?=\s*(?:결산|정기|말|초(?![가-힣])|중순|분기)))"
)
BRANCH = (
    rf"(?:의(\d{{1,3}})(?!\d|,\d|\s*분의)|의\s+(\d{{1,3}})(?!\d|,\d|\s*(?:분의|%|퍼센트|억|만|천|백|조|원|{UNIT})))"
)
PARAGRAPH = r"(?:\s?\(\s?(\d{1,2})\s?\)(?!\d)|\s*(?:제\s*)?(\d{1,2})\s*항|\s?([①-⑳]))"
ITEM = r"(?:\s*제\s*(\d{1,2})\s*호)"
ARTICLE = re.compile(
    rf"(?:제\s*(\d{{1,10}})\s*조|(?:(?<=법)|(?<=령)|(?<=칙)|(?<=정)|(?<=조와)|(?<=조,)|(?<=조·))\s*(\d{{1,4}})\s*조|(\d{{1,4}})\s*조(?=의\d|\s*제?\d{{1,2}}항|\s?[①-⑳]))"
    rf"(?!\s*(?:원|달러|\d+\s*억))(?:{BRANCH})?(?:{PARAGRAPH})?(?:{ITEM})?"
)
SECTION = re.compile(rf"§\s*(\d{{1,4}})\s*조?(?:\s*(?:-|의)\s*(\d{{1,3}})(?!\d|\s*분의))?(?:{PARAGRAPH})?(?:{ITEM})?")
PART = re.compile(
    rf"({HANGUL}|(?<![가-힣])[삼사오육칠팔구](?=분의)|{NUMBER})\s*분의\s*(?:({DIGITS})|({HANGUL}|[일이삼사오육칠팔구](?![가-힣]*[십백천])))"
)
SLASH = re.compile(r"(?<![\d./])(\d{1,4})\s?/\s?(\d{1,4})(?![\d./])")
VULGAR = re.compile("[½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞]")
PERCENT_SIGN = r"\s*(%p|%포인트|퍼센트포인트|%|퍼센트|프로(?![가-힣])|bps?(?![a-z]))"
PERCENT_RANGE = re.compile(rf"({DIGITS}){TO}({DIGITS}){PERCENT_SIGN}", re.IGNORECASE)
PERCENT = re.compile(rf"({DIGITS}){PERCENT_SIGN}", re.IGNORECASE)
AMOUNT_RANGE = re.compile(rf"({NUMBER}){TO}({NUMBER})\s*({SUFFIX})", re.IGNORECASE)
AMOUNT = re.compile(rf"({NUMBER}|{HANGUL})\s*({SUFFIX})", re.IGNORECASE)
PREFIXED = re.compile(rf"({PREFIX})\s*({NUMBER})", re.IGNORECASE)
COUNT_RANGE = re.compile(rf"({NUMBER}){TO}({NUMBER})\s*({UNIT})")
COUNT = re.compile(rf"({NUMBER})\s*({UNIT})")
BARE_RANGE = re.compile(rf"({NUMBER}){TO}({SCALED}){BARE_END}")
BARE = re.compile(rf"({SCALED}){BARE_END}")
BARE_SCALE = re.compile(r"[만억조]")
STEP = re.compile(rf"({DIGITS})\s*([십백천]?)\s?([만억조]?)")

BOUNDS: tuple[tuple[str, Bound], ...] = (
    (r"이상", "이상"),
    (r"(?:을|를)?\s*(?:초과하지|넘지|넘을\s*수\s*없|상회하지)", "이하"),
    (r"(?:을|를)?\s*(?:초과|넘|상회)", "초과"),
    (r"이하|이내|내(?!지|외|용|부|역|년|달)|을\s*한도", "이하"),
    (r"미만|(?:에|을|를)?\s*(?:못\s*미치|미치지\s*못|미달|하회)", "미만"),
)
RANGE = re.compile(TO)
AFTER = re.compile(r"[\s)\]]{0,2}(?:" + "|".join(f"({pattern})" for pattern, _ in BOUNDS) + ")")
SNAPPED = (3, 6, 7, 9)  # denominators of fractions that have no finite percentage but are written as one


@dataclass(frozen=True, slots=True)
class Value:
    """A value and its place in the text.

    Attributes:
        text: normal form: "2024-03-05", "제522조의3제1항", "20%", "1/3", "30000000원", "14일"; the same for one value.
        bound: what the text says of it, if anything; values with different bounds differ.
    """

    kind: Kind
    text: str
    start: int
    end: int
    bound: Bound = ""

    def agrees(self, other: "Value") -> bool:
        """Whether both can be the same statement: an unsaid bound or paragraph does not contradict one that is said."""
        if self.kind == other.kind == "article":
            short, long = sorted((self.text, other.text), key=len)
            same = long == short or (long.startswith(short) and long[len(short)] == "제")
        else:
            same = self.text == other.text
        return same and (self.bound == other.bound or not self.bound or not other.bound)


def values(text: str) -> list[Value]:
    """All values of a text, in order."""
    scan = _Scan(text)
    found = sorted(scan.found, key=lambda value: value.start)
    for at, (low, high) in enumerate(pairwise(found)):
        if low.kind == high.kind != "article" and RANGE.fullmatch(scan.folded, low.end, high.start):
            found[at : at + 2] = replace(low, bound="이상"), replace(high, bound=high.bound or "이하")
    return found


def facts(text: str) -> list[str]:
    """The normal form of every value, in order."""
    return [value.text for value in values(text)]


def unsupported(claim: str, support: str) -> list[Value]:
    """The values of a claim that the support does not have."""
    known = values(support)
    return [value for value in values(claim) if not any(value.agrees(one) for one in known)]


def shared(given: Sequence[Value], wanted: Sequence[Value]) -> int:
    """How many values of both lists can be paired, each used once."""
    rest = list(wanted)
    count = 0
    for value in given:
        match = next((at for at, one in enumerate(rest) if value.agrees(one)), None)
        if match is not None:
            del rest[match]
            count += 1
    return count


class _Scan:
    """One pass over a text: the kinds that are hardest to mistake first, each taking its characters away."""

    def __init__(self, text: str) -> None:
        self.folded = text.translate(_folding())
        self._rest = self.folded
        self.found: list[Value] = []
        self._take(DATE, _date)
        self._take(MONTH, _month)
        self._take(DAY, _day)
        self._take(NO_VALUE, lambda m: [])
        self._take(SECTION, lambda m: _article(m[1], m[2], m[3] or m[4], m[5], m[6]))
        self._take(ARTICLE, lambda m: _article(m[1] or m[2] or m[3], m[4] or m[5], m[6] or m[7], m[8], m[9]))
        self._take(PART, lambda m: _ratio(_number(m[2] or m[3]), _number(m[1])))
        self._take(SLASH, lambda m: _ratio(Fraction(m[1]), Fraction(m[2])) if 0 < int(m[1]) < int(m[2]) else None)
        self._take(VULGAR, lambda m: [("ratio", _share(Fraction(unicodedata.numeric(m[0])).limit_denominator(10)))])
        self._take(PERCENT_RANGE, lambda m: _range(_percent(m[1], m[3]), _percent(m[2], m[3])))
        self._take(PERCENT, lambda m: _percent(m[1], m[2]))
        self._take(PREFIXED, lambda m: _amount(_number(m[2]), m[1]))
        self._take(AMOUNT_RANGE, lambda m: _amounts(m[1], m[2], m[3]))
        self._take(AMOUNT, lambda m: _amount(_number(m[1]), m[2]))
        self._take(COUNT_RANGE, lambda m: _range(_count(_scaled_like(m[1], m[2]), m[3]), _count(_number(m[2]), m[3])))
        self._take(COUNT, lambda m: _count(_number(m[1]), m[2]))
        self._take(BARE_RANGE, lambda m: _amounts(m[1], m[2], "원") if BARE_SCALE.search(m[2]) else None)
        self._take(BARE, lambda m: _amount(_number(m[1]), "원") if BARE_SCALE.search(m[1]) else None)

    def _take(self, pattern: re.Pattern[str], read: Callable[[re.Match[str]], "Read | None"]) -> None:
        """Read all matches; what `read` refuses (None) stays for later patterns."""

        def replace_match(match: re.Match[str]) -> str:
            read_values = read(match)
            if read_values is None:
                return match[0]
            said = AFTER.match(self.folded, match.end())
            after = next(bound for at, (_, bound) in enumerate(BOUNDS, 1) if said[at]) if said else ""
            bounds: Sequence[Bound] = ("이상", after or "이하") if len(read_values) == 2 else (after,)
            for (kind, text), bound in zip(read_values, bounds, strict=False):
                self.found.append(Value(kind, text, *match.span(), "" if kind == "article" else bound))
            return "\0" * len(match[0])

        self._rest = pattern.sub(replace_match, self._rest)


Read = Sequence[tuple[Kind, str]]


def _range(low: Read | None, high: Read | None) -> Read | None:
    return [*low, *high] if low and high else None


def _date(match: re.Match[str]) -> Read | None:
    month, day = int(match[3]), int(match[4])
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return None
    return [("date", f"{_year(match)}-{month:02d}-{day:02d}")]


def _month(match: re.Match[str]) -> Read | None:
    month = int(match[3] or match[4])
    return [("date", f"{_year(match)}-{month:02d}")] if 1 <= month <= 12 else None


def _day(match: re.Match[str]) -> Read | None:
    month, day = int(match[1]), int(match[2])
    return [("date", f"{month:02d}-{day:02d}")] if 1 <= month <= 12 and 1 <= day <= 31 else None


def _year(match: re.Match[str]) -> str:
    return match[1] or (f"19{match[2]}" if int(match[2]) >= 70 else f"20{match[2]}")


def _article(number: str, branch: str | None, paragraph: str | None, circled: str | None, item: str | None) -> Read:
    text = f"제{int(number)}조" + (f"의{int(branch)}" if branch else "")
    if circled:
        paragraph = str(ord(circled) - ord("①") + 1)
    text += f"제{int(paragraph)}항" if paragraph else ""
    return [("article", text + (f"제{int(item)}호" if item else ""))]


def _ratio(part: Fraction, whole: Fraction) -> Read | None:
    return [("ratio", _share(part / whole))] if whole else None


def _percent(digits: str, sign: str) -> Read:
    number = Fraction(digits.replace(",", ""))
    if sign.lower().startswith("bp"):
        return [("ratio", f"{_plain(number / 100)}%p")]
    if sign.lower() in ("%p", "%포인트", "퍼센트포인트"):
        return [("ratio", f"{_plain(number)}%p")]
    return [("ratio", _share(number / 100))]


def _share(value: Fraction) -> str:
    """A share as a percentage if it has a finite one, else as a fraction: 33.3 % is a third, written with decimals."""
    percent = value * 100
    rest = percent.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    if rest != 1:
        return f"{value.numerator}/{value.denominator}"
    written = _plain(percent)
    _, _, decimals = written.partition(".")
    for whole in SNAPPED if decimals else ():
        exact = Fraction(round(value * whole), whole)
        if exact.denominator in SNAPPED and round(exact * 100, len(decimals)) == percent:
            return f"{exact.numerator}/{exact.denominator}"
    return f"{written}%"


def _amounts(low: str, high: str, unit: str) -> Read:
    return [*_amount(_scaled_like(low, high), unit), *_amount(_number(high), unit)]


def _amount(number: Fraction, unit: str) -> Read:
    key = unit.lower()
    return [("amount", f"{_plain(number)}{CURRENCIES.get(key) or CURRENCIES[key.removeprefix('미')]}")]


def _count(number: Fraction, unit: str) -> Read:
    name = UNITS[unit]
    kind: Kind = "period" if name in PERIODS and not (name == "주" and number > 104) else "count"
    if name == "년" and 1900 <= number <= 2100:
        kind = "date"
    return [(kind, f"{_plain(number)}{name}")]


def _number(text: str) -> Fraction:
    """1조 2천억, 2천 5백만, 이억오천만: what stands before 만, 억 or 조 is added up first."""
    if not re.search(r"\d", text):
        return _hangul(text)
    whole, part = Fraction(0), Fraction(0)
    for match in STEP.finditer(text):
        part += Fraction(match[1].replace(",", "")) * SCALE.get(match[2], 1)
        if match[3]:
            whole, part = whole + part * SCALE[match[3]], Fraction(0)
    return whole + part


def _scaled_like(low: str, high: str) -> Fraction:
    """The lower end of "3~5억": it takes the scale of the upper end if it has none."""
    number = _number(low)
    bare = "".join(high.split())
    if not re.search(r"[십백천만억조]", low):
        for character in bare[len(bare.rstrip("십백천만억조")) :]:
            number *= SCALE[character]
    return number


def _hangul(text: str) -> Fraction:
    whole, part, digit = 0, 0, 0
    for character in text:
        if character in HANGUL_DIGITS:
            digit = HANGUL_DIGITS[character]
        elif SCALE[character] < 10**4:
            part, digit = part + (digit or 1) * SCALE[character], 0
        else:
            whole, part, digit = whole + (part + digit or 1) * SCALE[character], 0, 0
    return Fraction(whole + part + digit)


def _plain(value: Fraction) -> str:
    """The exact decimal, without an exponent."""
    if value.denominator == 1:
        return str(value.numerator)
    digits = next(n for n in range(1, 40) if (value * 10**n).denominator == 1 or n == 39)
    scaled = round(value * 10**digits)
    return f"{scaled // 10**digits}.{scaled % 10**digits:0{digits}d}"


@cache
def _folding() -> dict[int, str]:
    """Digits and signs of another width as ASCII, one character for one; circled and bracketed digits stay."""
    signs = {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)} | dict.fromkeys(map(ord, "∼～〜―–—‐‑−"), "-")
    signs |= dict(zip(map(ord, "〜∼～\u3000\u00a0￥￦"), "~~~  ¥₩", strict=True))
    digits = {
        code: str(unicodedata.decimal(chr(code)))
        for block in (range(0x80, 0x10000), range(0x1D7CE, 0x1D800))
        for code in block
        if unicodedata.decimal(chr(code), None) is not None
    }
    return {**signs, **digits}
