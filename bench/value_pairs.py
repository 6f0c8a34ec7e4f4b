"""Pairs of Korean legal values, half of them one value in two ways of writing, half of them two values that look alike.

Used by bench/metrics.py. The truth comes from the numbers that the pairs are written from, never from the reader.
"""

import random
from collections.abc import Callable
from fractions import Fraction
from typing import Any

Pair = tuple[str, str, bool]  # two texts, and whether they state the same value

CIRCLED = "①②③④⑤⑥⑦⑧⑨⑩⑪⑫⑬⑭⑮⑯⑰⑱⑲⑳"
WIDE = str.maketrans("0123456789.,%", "０１２３４５６７８９．，％")
FRAMES = ("{}", "기준은 {}입니다.", "①{} 이라는 요건", "요건: {} (법정)", "회사는 {}을 지켜야 합니다", "⑵ {}에 관하여")
BOUNDS = {
    "이상": ("{} 이상", "{}이상"),
    "초과": ("{} 초과", "{}을 초과하는", "{}를 넘는"),
    "이하": ("{} 이하", "{}이하", "{}를 넘지 않는", "{} 이내"),
    "미만": ("{} 미만", "{}에 미치지 못하는"),
}


def date(draw: random.Random) -> tuple[int, int, int]:
    return draw.randint(1975, 2059), draw.randint(1, 12), draw.randint(1, 28)


def date_ways(value: tuple[int, int, int]) -> list[str]:
    y, m, d = value
    return [
        f"{y}년 {m}월 {d}일", f"{y}. {m}. {d}.", f"{y}-{m:02d}-{d:02d}", f"{y}/{m}/{d}", f"{y}.{m}.{d}", f"'{y % 100:02d}. {m}. {d}.",
        f"{y}년 {m:02d}월 {d:02d}일".translate(WIDE), f"{y}년{m}월{d}일",
    ]  # fmt: skip


def date_near(value: tuple[int, int, int], draw: random.Random) -> tuple[int, int, int]:
    y, m, d = value
    return draw.choice([(y + 1, m, d), (y, m % 12 + 1, d), (y, m, d % 28 + 1), (y, d % 12 + 1, m)])


def period_ways(value: tuple[int, str]) -> list[str]:
    number, unit = value
    words = {
        "일": ["일", "일간", " 일"],
        "주": ["주", "주일", "주간"],
        "개월": ["개월", "월", "개월간"],
        "년": ["년", "년간", "개년"],
    }[unit]
    return [f"{number}{word}" for word in words] + [f"{number}{words[0]}".translate(WIDE)]


def period(draw: random.Random) -> tuple[int, str]:
    return draw.randint(1, 60), draw.choice(["일", "주", "개월", "년"])


def period_near(value: tuple[int, str], draw: random.Random) -> tuple[int, str]:
    number, unit = value
    other = draw.choice([u for u in ("일", "주", "개월", "년") if u != unit])
    return draw.choice([(number + 1, unit), (number * 10, unit), (number, other)])


def amount(draw: random.Random) -> int:
    return draw.choice([draw.randint(1, 9999), draw.randint(1, 99) * 1000, draw.randint(1, 9_999_999)]) * 10_000


def amount_ways(value: int) -> list[str]:
    eok, man = divmod(value // 10_000, 10_000)
    jo, rest = divmod(eok, 10_000)
    parts = [f"{jo}조"] * bool(jo) + [f"{rest:,}억"] * bool(rest) + [f"{man:,}만"] * bool(man)
    spoken = " ".join(parts)
    ways = [
        f"{value}원",
        f"{value:,}원",
        f"{value:,} 원",
        f"{spoken} 원",
        f"{''.join(parts)}원",
        f"₩{value:,}",
        f"{value:,}원".translate(WIDE),
    ]
    if man and man % 1000 == 0 and not rest and not jo:
        ways += [f"{man // 1000}천만 원", f"{man // 1000}천만원"]
    if rest and rest % 1000 == 0 and not man and not jo:
        ways += [f"{rest // 1000}천억 원", f"{rest // 1000}천억"]
    return [*ways, spoken]


def amount_near(value: int, draw: random.Random) -> int:
    return draw.choice([value * 10, value + 10_000, value + 10**8, value * 100])


def ratio(draw: random.Random) -> Fraction:
    return Fraction(draw.choice([draw.randint(1, 99) * 10, draw.randint(1, 999)]), 1000)


def ratio_ways(value: Fraction) -> list[str]:
    percent = f"{float(value * 100):g}"
    ways = [
        f"{percent}%",
        f"{percent} %",
        f"{percent}퍼센트",
        f"{percent}％",
        f"1천분의 {int(value * 1000)}",
        f"1,000분의 {int(value * 1000)}",
    ]
    ways += [
        f"{value.denominator}분의 {value.numerator}",
        f"{value.denominator}분의{value.numerator}",
        f"{value.numerator}/{value.denominator}",
    ]
    if (value * 100).denominator == 1:
        ways.append(f"100분의 {int(value * 100)}")
    return ways


def ratio_near(value: Fraction, draw: random.Random) -> Fraction:
    return draw.choice(
        [
            value + Fraction(1, 1000),
            value / 10 if (value * 100).denominator == 1 else value / 2,
            1 - value / 3 if value != Fraction(3, 4) else Fraction(1, 8),
        ]
    )


def third_ways(value: Fraction) -> list[str]:
    hundred = float(value * 100)
    return [
        f"{value.denominator}분의 {value.numerator}",
        f"{hundred:.1f}%",
        f"{hundred:.2f}%",
        f"{value.numerator}/{value.denominator}",
    ]


def article(draw: random.Random) -> tuple[int, int, int]:
    return draw.randint(1, 999), draw.choice([0, 0, draw.randint(2, 30)]), draw.randint(1, 20)


def article_ways(value: tuple[int, int, int]) -> list[str]:
    number, branch, paragraph = value
    of = f"의{branch}" if branch else ""
    dash = f"-{branch}" if branch else ""
    return [
        f"제{number}조{of} 제{paragraph}항", f"제{number}조{of}제{paragraph}항", f"상법 {number}조{of} {paragraph}항",
        f"§{number}{dash}({paragraph})", f"§ {number}{of} ({paragraph})", f"제{number}조{of} {CIRCLED[paragraph - 1]}",
        f"제 {number} 조{of} 제 {paragraph} 항",
    ]  # fmt: skip


def article_near(value: tuple[int, int, int], draw: random.Random) -> tuple[int, int, int]:
    number, branch, paragraph = value
    return draw.choice(
        [(number + 1, branch, paragraph), (number, branch + 2, paragraph), (number, branch, paragraph % 20 + 1)]
    )


def count(draw: random.Random) -> tuple[int, str]:
    return draw.randint(1, 9999), draw.choice(["명", "배", "회", "건"])


def count_ways(value: tuple[int, str]) -> list[str]:
    number, unit = value
    words = {"명": ["명", "인", " 명", " 사람"], "배": ["배", " 배"], "회": ["회", "차례"], "건": ["건", " 건"]}[unit]
    return (
        [f"{number}{word}" for word in words]
        + [f"{number:,}{word}" for word in words]
        + [f"{number}{words[0]}".translate(WIDE)]
    )


def count_near(value: tuple[int, str], draw: random.Random) -> tuple[int, str]:
    number, unit = value
    return draw.choice([(number + 1, unit), (number * 10, unit), (number, "건" if unit != "건" else "회")])


def bounded(draw: random.Random) -> tuple[int, str]:
    return draw.randint(1, 99), draw.choice(list(BOUNDS))


def bounded_ways(value: tuple[int, str]) -> list[str]:
    return [form.format(f"{value[0]}%") for form in BOUNDS[value[1]]] + [f"100분의 {value[0]} {value[1]}"]


def bounded_near(value: tuple[int, str], draw: random.Random) -> tuple[int, str]:
    return draw.choice([(value[0], b) for b in BOUNDS if b != value[1]] + [(value[0] + 1, value[1])])


def span(draw: random.Random) -> tuple[int, int]:
    low = draw.randint(1, 49)
    return low, low + draw.randint(1, 50)


def span_ways(value: tuple[int, int]) -> list[str]:
    low, high = value
    return [
        f"{low}~{high}%",
        f"{low}%~{high}%",
        f"{low}% 내지 {high}%",
        f"{low}% 이상 {high}% 이하",
        f"{low}∼{high}퍼센트",
        f"{low}%에서 {high}%까지",
    ]


def span_near(value: tuple[int, int], draw: random.Random) -> tuple[int, int]:
    low, high = value
    return draw.choice([(low + 1, high + 1), (low, high + 1), (low, high * 10)])


KINDS: dict[str, tuple[Callable[..., Any], Callable[..., list[str]], Callable[..., Any]]] = {
    "date": (date, date_ways, date_near),
    "period": (period, period_ways, period_near),
    "amount": (amount, amount_ways, amount_near),
    "ratio": (ratio, ratio_ways, ratio_near),
    "thirds": (
        lambda draw: Fraction(draw.choice([1, 2]), 3),
        third_ways,
        lambda value, draw: draw.choice([1 - value, Fraction(1, 6), Fraction(5, 6)]),
    ),
    "article": (article, article_ways, article_near),
    "count": (count, count_ways, count_near),
    "bound": (bounded, bounded_ways, bounded_near),
    "range": (span, span_ways, span_near),
}


def pairs(kind: str, number: int = 500, seed: int = 11) -> list[Pair]:
    """Pairs of one kind, every other one of the same value."""
    make, ways, near = KINDS[kind]
    draw = random.Random(f"{seed}/{kind}")
    found = []
    for at in range(number):
        value = make(draw)
        frame = draw.choice(FRAMES)
        if at % 2:
            one, other = draw.sample(ways(value), 2)
        else:
            one, other = draw.choice(ways(value)), draw.choice(ways(near(value, draw)))
        found.append((frame.format(one), frame.format(other), bool(at % 2)))
    return found
