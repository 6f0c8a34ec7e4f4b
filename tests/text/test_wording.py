"""Texts that differ in grammar are one statement; texts that differ in one deciding word are two."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnatune.text.wording import same_statement

SAME = """
회사는 합병을 한다 | 회사가 합병을 합니다
회사분할을 했다 | 회사 분할을 하였다
합병에 관하여 설명해주세요 | 합병에 대하여 설명해 주십시오
매수인에서 본다 | 매수인에서는 본다
승인을 받아야 한다. | 승인을 받아야 합니다. 이상입니다.
주식 매수를 청구 | 주식의 매수를 청구
결정에 따른다 | 결정에 따릅니다
권리를 가진다. | 권리를 가집니다
판례의 태도이다 | 판례의 태도입니다
합병이란 무엇인가 | 합병이란 무엇인가요?
합병이란 무엇입니까 | 합병이란 무엇인가요
‘합병’이란, 결합이다 | 합병이란 결합이다!
３개월 이내 | 3개월 이내
"""
OTHER = """
합병은 가능합니다 | 합병은 불가능합니다
약정은 유효합니다 | 약정은 무효입니다
매수인이 부담 | 매도인이 부담
보통결의로 | 특별결의로
삼십 일 이내 | 육십 일 이내
① 보기 | ④ 보기
갑이 을에게 판다 | 을이 갑에게 판다
갑이 을에게 | 갑에게 을이
5% 이상 | 5% 이하
합병 전 | 합병 후
할 수 있다 | 할 수 없다
하여야 한다 | 할 수 있다
취득한 주식 | 취득할 주식
1.5배 | 15배
-5% | 5%
승인한다 | 승인된다
이사의 책임 | 감사의 책임
포함한다 | 제외한다
갑 또는 을 | 갑 및 을
동의 없이 | 동의 없이도
찬성한 주주 | 반대한 주주
국내 | 국외
이전까지 | 이후까지
법인은 | 법인만은
취득하면 | 취득하여야
상속세 | 증여세
갑의 주식 | 을의 주식
채권자가 | 채무자가
원고는 | 피고는
직접 지배 | 간접 지배
"""


def pairs(text):
    return [tuple(line.split(" | ")) for line in text.strip().split("\n")]


@pytest.mark.parametrize(("one", "other"), pairs(SAME))
def test_grammar_is_no_difference(one, other):
    frame = "상법 제522조에 따르면 그 내용은 다음과 같다. {}"
    assert same_statement(one, other)
    assert same_statement(frame.format(other), frame.format(one))


@pytest.mark.parametrize(("one", "other"), pairs(OTHER))
def test_a_deciding_word_is(one, other):
    frame = "상법 제522조에 따르면 {} 그 밖의 내용은 같다."
    assert not same_statement(one, other)
    assert not same_statement(other, one)
    assert not same_statement(frame.format(one), frame.format(other))


@given(st.text("가나을 이다합니.,1", max_size=30), st.text("가나을 이다합니.,1", max_size=30))
def test_the_order_does_not_matter_and_every_text_is_itself(one, other):
    assert same_statement(one, one)
    assert same_statement(one, f" {one} ")
    if same_statement(one, other):
        assert [c for c in one if c.isdigit()] == [c for c in other if c.isdigit()]
