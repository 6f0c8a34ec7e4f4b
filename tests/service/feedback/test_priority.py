"""The order of what is to be rated: each sign alone puts an item first, and a batch does not ask the same thing twice."""

from mnatune.service.feedback.priority import RatedQuestion, Waiting, ranked, said_good

EXAM = [
    ("합병", "합병에 반대하는 주주의 주식매수청구 기간은 언제까지인가?"),
    ("세무", "적격합병의 과세이연 요건은 무엇인가?"),
]
ASKED = "합병에 반대하는 주주의 주식매수청구 기간은?"


def waiting(name, question=ASKED, answer="주주총회 결의일부터 20일 이내입니다.", created=0.0, **more):
    return Waiting(name, question, answer, created, **more)


def order(items, rated=(ASKED,), exam=()):
    return [one.id for one in ranked(items, known(*rated), exam)]


def known(*questions, good=None):
    return [RatedQuestion(question, good) for question in questions]


def test_equal_items_stand_oldest_first():
    assert order([waiting("b", created=2), waiting("a", created=1)]) == ["a", "b"]
    assert ranked([waiting("a")], known(ASKED), [])[0].reasons == ("먼저 들어온 순서",)


def test_each_sign_alone_puts_an_item_first():
    plain = waiting("plain")
    signs = {
        "같은 질문의 다른 답변과 다름": waiting("x", created=9, others=("전혀 다른 말을 하는 답변입니다.",)),
        "없는 조문을 인용": waiting("x", created=9, verdicts=("valid", "invalid")),
        "확인할 수 없는 조문을 인용": waiting("x", created=9, verdicts=("unresolved",)),
        "평가자 의견이 갈림": waiting("x", created=9, grades=(1, 4)),
        "두 번째 의견이 필요함": waiting("x", created=9, grades=(4,)),
        "평가한 적 없는 종류의 질문": waiting("x", "유류분 반환은 누구에게 청구하나요?", created=9),
    }
    for reason, item in signs.items():
        first, _ = ranked([plain, item], known(ASKED), [])
        assert (first.id, first.reasons[0]) == ("x", reason)


def test_raters_who_agree_leave_nothing_to_ask():
    assert order([waiting("plain"), waiting("x", created=9, grades=(3, 4))]) == ["plain", "x"]


def test_a_topic_below_its_share_of_the_exam_comes_first():
    items = [waiting("merger"), waiting("tax", "적격합병의 과세이연 요건이 궁금합니다", created=9)]
    found = ranked(items, known(ASKED, "적격합병의 과세이연 요건이 궁금합니다만", ASKED, ASKED, ASKED), EXAM)
    assert found[0].id == "tax"
    assert (found[0].topic, found[1].topic) == ("세무", "합병")
    assert "시험 비중에 비해 평가가 적은 주제: 세무" in found[0].reasons


def test_a_batch_does_not_ask_the_same_thing_twice():
    same = [waiting(f"same-{at}", created=at) for at in range(5)]
    other = waiting("other", "유류분 반환은 누구에게 청구하나요?", created=9)
    assert set(order([*same, other], rated=())[:2]) == {"same-0", "other"}


def test_a_count_cuts_the_order_and_nothing_is_lost_without_one():
    items = [waiting(f"{at}", f"질문 {at}", created=at) for at in range(30)]
    assert order(items) == order(list(reversed(items)))
    assert len(set(order(items))) == 30
    assert [one.id for one in ranked(items, [], EXAM, 3)] == [one.id for one in ranked(items, [], EXAM)][:3]
    assert ranked([], [], EXAM) == []


def test_a_topic_with_bad_grades_comes_first_and_one_with_good_ones_does_not():
    tax = "적격합병의 과세이연 요건이 궁금합니다"
    items = [waiting("merger"), waiting("tax", tax, created=9)]
    for good, first in ((False, "tax"), (True, "merger")):
        rated = known(tax, tax, tax, good=good) + known(ASKED, ASKED, ASKED, good=True)
        found = ranked(items, rated, EXAM)
        assert found[0].id == first
        assert ("낮은 평가가 많은 주제: 세무" in found[0].reasons) is (not good)


def test_what_feedback_says_of_an_answer():
    said = [
        ("rating", "up"),
        ("rating", "down"),
        ("edit", "고친 글"),
        ("grade", "3"),
        ("grade", "2"),
        ("pair", "left"),
        ("grade", "skip"),
    ]
    assert [said_good(*one) for one in said] == [True, False, False, True, False, None, None]
