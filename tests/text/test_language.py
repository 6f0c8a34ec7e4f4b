"""Rules of the language metrics, one by one; `test_planted.py` has them against planted cases."""

import pytest

from mnatune.pack import Pack
from mnatune.runs.workspace import read_jsonl
from mnatune.text import language


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


def test_register_counts_by_ending() -> None:
    assert language.register(FORMAL) == language.Register(formal=2, polite=0, plain=0)
    assert language.register("요건은 다음과 같습니다.\n1. 주주총회 결의\n2. 채권자 보호절차").formal == 1
    assert language.register("- 승인\n- 공고").sentences == 0


@pytest.mark.parametrize(
    ("text", "mixed"),
    [
        ("이해관계자는 다음과 같습니다.\n- 회사 채권자\n- 소수 주주 및 투자자\n- 우리 회사 근로자", False),
        ("등기할 사항은 다음과 같습니다.\n1. 존속 회사의 상호\n2. 본점 소재지\n3. 자본금의 증가", False),
        ("1. 합병이란 무엇인가\n합병은 둘 이상의 회사가 하나로 되는 것입니다.", False),
        ("상법은 “회사는 합병을 할 수 있다.”라고 정합니다.", False),
        ("조문은 다음과 같습니다.\n> 회사는 합병을 할 수 있다.", False),
        ("합병은 승인이 필요합니다. 안 하면 무효야.", True),
        ("합병은 승인이 필요합니다. 반대주주는 매수를 청구할 수 있다", True),
        ("합병은 승인이 필요합니다.\n- 그렇지 않으면 효력이 없다.", True),
    ],
)
def test_nouns_headings_and_quotations_have_no_register(text: str, mixed: bool) -> None:
    assert language.register(text).mixed is mixed


WHOLE = (
    "절차는 다음과 같습니다.\n1. 이사회 결의\n2. 채권자 보호절차",
    "요건은 다음과 같습니다.\n\n| 구분 | 요건 |\n|---|---|\n| 합병 | 특별결의 |",
    "다음과 같습니다.\n\n매수가격 = (시장가격 + 자산가치) / 2",
    "20일 이내에 청구합니다. [1]",
    "특별결의가 필요합니다 😊",
    "다음이 필요합니다.\n```\n이사회 → 주주총회\n```",
    "정답은 ③번입니다.\n\n근거: 상법 제522조",
)
BROKEN = (
    "합병은 주주총회의",
    "합병을 하려면 (이사회 결의와",
    "절차는 다음과 같습니다.\n1. 이사회 결의\n2. 주주총회의",
    "다음이 필요합니다.\n```\n이사회 → 주주총회",
    "요건은 다음과 같습니다:",
    "근거: 상법 제522조 및",
    "회사는 합병계약",
)


@pytest.mark.parametrize(("text", "cut"), [*((text, False) for text in WHOLE), *((text, True) for text in BROKEN)])
def test_lists_and_tables_are_whole_unless_they_break_off(text: str, cut: bool) -> None:
    assert language.is_truncated(text) is cut


def test_think_marks_leak() -> None:
    assert language.leaks_thinking("<think>\n음\n</think>합병입니다.")
    assert not language.leaks_thinking("합병입니다.")


def test_tables_and_forms_are_no_loops_unless_a_row_comes_again_and_again(pack: Pack) -> None:
    looping = [row["question"] for row in read_jsonl(pack.root / "qa.jsonl") if language.is_repetitive(row["answer"])]
    assert looping == []
    form = "| 연도 | 우리 | 상대 | 합산 | 초과 |\n|---|---|---|---|---|\n| X-1 | 9,000억원 | [ ] | [ ] | [ ] |\n| 기준 | 해당 안 됨 | 해당 안 됨 | 해당 안 됨 | 해당 |"
    assert not language.is_repetitive(form)
    assert language.is_repetitive(form + "\n| 사업연도의 매출액 | 9,000억원 |" * 4)
