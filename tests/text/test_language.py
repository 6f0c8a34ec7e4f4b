"""Language metrics against planted cases with known truth."""

import pytest

from mnatune.text import language

CHINESE = [
    "公司合并需要股东会批准", "股东可以请求回购股份", "这是一个问题", "应当在三十日内提出异议", "董事会决议通过后生效",
    "根据公司法的规定", "我们认为该交易合法", "收购方应当进行尽职调查", "反垄断审查的结果", "债权人保护程序",
    "目标公司的价值评估", "股权转让协议", "需要注意的是", "首先其次最后", "按照税法规定缴纳",
    "资产负债表显示亏损", "双方签订保密协议", "证券交易所上市规则", "无效的股东大会决议", "经营者集中申报",
    "公司的合併和分割", "主要是因為的關係", "你可以請求回購", "我們認為這不合法", "他們很多股東反對嗎",
]  # fmt: skip
AROUND = [
    "합병에서는 {} 절차가 필요합니다.",
    "{}. 따라서 주주총회를 거칩니다.",
    "답변: {} 라고 봅니다.",
    "이 경우 {}，입니다.",
]
HANJA = [
    "合倂", "株式買受請求權", "會社", "分割", "營業讓渡", "支配株主", "善管注意義務", "忠實義務", "取締役", "定款",
    "特別決議", "債權者", "異議", "公告", "無效", "登記", "存續會社", "消滅會社", "物的分割", "人的分割",
    "公正", "價額", "割增", "割引", "社債",
]  # fmt: skip
PROPER = [
    "회사가 {}을 하는 경우입니다.",
    "이른바 '{}'라고 합니다.",
    "주식회사({})에 관한 규정입니다.",
    "{}의 효력과 {}은 다릅니다.",
]


def score(found: list[bool], truth: list[bool], name: str) -> tuple[float, float]:
    hits = sum(f and t for f, t in zip(found, truth, strict=True))
    precision, recall = hits / max(1, sum(found)), hits / sum(truth)
    print(f"{name}: precision {precision:.3f}, recall {recall:.3f} over {len(truth)}")
    return precision, recall


def test_chinese_leaks_are_told_from_hanja() -> None:
    leaks = [frame.format(text) for frame in AROUND for text in CHINESE]
    clean = [frame.replace("{}", text) for frame in PROPER for text in HANJA]
    found = [bool(language.chinese_leaks(text)) for text in leaks + clean]
    precision, recall = score(found, [True] * 100 + [False] * 100, "chinese leak")
    assert precision == 1.0
    assert recall >= 0.97


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("这", "simplified"),
        ("주식(股份轉让)을", "simplified"),  # brackets excuse Hanja, not simplified characters
        ("규정은 公司合倂程序 입니다", "han-run"),
        ("그는 我們 라고", "han-function"),
    ],
)
def test_each_rule_of_the_chinese_leak(text: str, kind: str) -> None:
    assert [leak.kind for leak in language.chinese_leaks(text)] == [kind]


def test_a_known_hanja_term_may_stand_alone() -> None:
    assert language.chinese_leaks("은 善管注意義務 로서")
    assert not language.chinese_leaks("은 善管注意義務 로서", known={"善管注意義務"})


def test_marks_point_at_the_leak() -> None:
    text = "합병은 公司合并이며 これは 입니다"
    [leak] = language.chinese_leaks(text)
    assert text[leak.start : leak.end] == "公司合并"
    [other] = language.kana(text)
    assert text[other.start : other.end] == "これは"


def test_middle_dots_and_long_marks_are_no_kana() -> None:
    assert not language.kana("주식ㆍ사채·채권・어음 ー")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A사와 B사의 MOU, LOI, IFRS 기준입니다.", []),
        ("실사(due diligence)를 합니다.", []),
        ("이것은 very important 합니다.", ["very important"]),
        ("EBITDA 배수입니다.", []),
        ("However 그렇습니다.", ["However"]),
    ],
)
def test_latin_runs_that_are_no_terms(text: str, found: list[str]) -> None:
    runs = language.latin_runs(text, allowed={"due diligence", "due", "diligence"})
    assert [text[run.start : run.end] for run in runs] == found


def test_hangul_ratio() -> None:
    assert language.hangul_ratio("합병 100%") == 1.0
    assert language.hangul_ratio("합병AB") == 0.5
    assert language.hangul_ratio("123 %") is None


FORMAL = "합병은 주주총회의 승인이 필요합니다. 반대주주는 매수를 청구할 수 있습니다."
MIXED = "합병은 주주총회의 승인이 필요해요. 반대주주는 매수를 청구할 수 있습니다."


def test_register_tells_mixed_answers() -> None:
    pure = [f"{FORMAL} 제{n}조가 정하고 있습니다." for n in range(50)]
    mixed = [f"{MIXED} 제{n}조를 보면 그렇다." for n in range(25)] + [
        f"이사회가 정한다. 제{n}조에 따라 공고합니다." for n in range(25)
    ]
    found = [language.register(text).mixed for text in mixed + pure]
    assert score(found, [True] * 50 + [False] * 50, "mixed register") == (1.0, 1.0)


def test_register_counts_by_ending() -> None:
    assert language.register(FORMAL) == language.Register(formal=2, polite=0, plain=0)
    assert language.register("요건은 다음과 같습니다.\n1. 주주총회 결의\n2. 채권자 보호절차").formal == 1
    assert language.register("- 승인\n- 공고").sentences == 0


def test_repetition_tells_loops() -> None:
    loops = [f"합병의 요건은 주주총회 결의 {n}입니다. " + "주주는 회사에 청구할 수 있다. " * 6 for n in range(25)]
    loops += ["그렇습니다 " * (8 + n) for n in range(25)]
    sound = [
        f"제{n}조에 따라 합병계약서를 작성하고 주주총회의 승인을 받아야 합니다. 반대하는 주주는 결의 전에 "
        f"서면으로 반대하는 뜻을 통지하고, 결의일부터 {n}일 안에 주식의 매수를 청구할 수 있습니다. "
        "매수가액은 협의로 정합니다."
        for n in range(50)
    ]
    found = [language.is_repetitive(text) for text in loops + sound]
    assert score(found, [True] * 50 + [False] * 50, "repetition") == (1.0, 1.0)


def test_truncation_tells_answers_that_break_off() -> None:
    broken = [
        f"{FORMAL} 따라서 {word}"
        for word in ("회사는 합병계약", "주주가 그", "상법 제522조의", "(반대주주의", "이 경우 매수")
    ]
    broken += [f"{FORMAL} 다만 ({n}항의 경우에는 다릅니다." for n in range(5)]
    whole = [FORMAL, f"{FORMAL} (상법 제522조의3)", "요건은 승인, 공고 및 최고.", "그렇습니다", f"‘{FORMAL}’"] * 2
    found = [language.is_truncated(text) for text in broken + whole]
    assert score(found, [True] * 10 + [False] * 10, "truncated") == (1.0, 1.0)


def test_think_marks_leak() -> None:
    assert language.leaks_thinking("<think>\n음\n</think>합병입니다.")
    assert not language.leaks_thinking("합병입니다.")
