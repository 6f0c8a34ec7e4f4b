"""Rules of the language metrics, one by one; `test_planted.py` has them against planted cases."""

import pytest

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


def test_think_marks_leak() -> None:
    assert language.leaks_thinking("<think>\n음\n</think>합병입니다.")
    assert not language.leaks_thinking("합병입니다.")
