"""Parties of contracts by 갑 and 을."""

import pytest

from mnatune.stages.curate.parties import Parties

OPENING = '주식회사 한빛(이하 "매도인"이라 한다)과 누리테크㈜(이하 “매수인”이라 한다), 홍길동(이하 ‘연대보증인’이라 한다)은 계약한다.'


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("누리테크가 한빛과 누리테크를 본다.", "을이 갑과 을을 본다."),
        ("한빛은 누리테크에 주식을 판다.", "갑은 을에 주식을 판다."),
        ("주식회사 한빛, ㈜누리테크 및 홍길동", "갑, 을 및 병"),
        ("매도인은 한빛 주식회사를 뜻한다.", "매도인은 갑을 뜻한다."),
        ("다른 회사는 그대로이다.", "다른 회사는 그대로이다."),
    ],
)
def test_names_are_replaced_in_the_whole_file(text, wanted):
    parties = Parties()
    parties.learn("a", OPENING)
    assert parties.replace(["a"], [text]) == [wanted]


def test_another_file_has_other_parties():
    parties = Parties()
    parties.learn("a", OPENING)
    parties.learn("b", '누리테크 주식회사(이하 "을"이라 한다)와 한빛 주식회사(이하 "갑"이라 한다)')
    text = "한빛과 누리테크"
    assert parties.replace(["a", "b", "c"], [text] * 3) == ["갑과 을", "갑과 을", text]


def test_the_label_of_the_file_holds():
    parties = Parties()
    parties.learn("a", '(주)가나다(이하 "을"이라 한다)와 라마바(주)(이하 "갑"이라 한다)')
    assert parties.replace(["a"], ["가나다 라마바"]) == ["을 갑"]


def test_a_statute_has_no_parties():
    parties = Parties()
    parties.learn(
        "a",
        '이 법에서 "회사"란 상행위를 하는 법인(이하 "법인"이라 한다)을 말하고 제3조(이하 "규정"이라 한다)에 따른다.',
    )
    text = "법인은 제3조에 따른다."
    assert parties.replace(["a"], [text])[0].count("제3조") == 1
