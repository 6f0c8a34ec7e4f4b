"""The lexicon judge: what it promises about any text, and the false friends it must not fall for."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnatune.pack import Pack
from mnatune.runs.recipe import JudgeSection
from mnatune.runs.workspace import read_jsonl
from mnatune.text.lexicon import Lexicon

THRESHOLD = JudgeSection().keep_above


@pytest.fixture(scope="module")
def pack():
    return Pack.load("mna_ko")


@pytest.fixture(scope="module")
def lexicon(pack):
    return Lexicon(pack.yaml("lexicon.yaml"))


RAW = Pack.load("mna_ko").yaml("lexicon.yaml")
SHARED = Lexicon(RAW)
TERMS = [term["term"] for term in RAW["terms"]]
PLAIN = st.text(st.sampled_from("가나다라마바사 아자차카타파하.0123456789%\n"), max_size=60)
MIXED = st.lists(st.one_of(st.sampled_from(TERMS), PLAIN, st.text(max_size=20)), max_size=8).map(" ".join)
FALSE_FRIENDS = [
    (
        "한일합병은 언제 이루어졌나요?",
        "한일합병은 1910년 8월 일제가 대한제국의 국권을 빼앗은 사건으로 경술국치라고도 합니다.",
    ),
    (
        "한일합병조약은 왜 무효라고 봅니까?",
        "강압으로 맺어져 절차가 갖추어지지 않았으므로 합병 조약이 처음부터 무효라는 견해가 많습니다.",
    ),
    (
        "하수도 조례의 통합은 왜 추진되었나요?",
        "시는 흩어져 있던 하수도 사용 조례와 공공하수도 관리 조례를 하나로 통합하여 시의회 의결을 거쳐 공포하였습니다.",
    ),
    (
        "당뇨병의 합병증에는 무엇이 있습니까?",
        "당뇨병이 오래되면 눈과 콩팥, 신경에 합병증이 생길 수 있으므로 검사를 받아야 합니다.",
    ),
    (
        "이사를 갈 때 무엇을 먼저 해야 하나요?",
        "이사 날짜를 정하고 포장 이사 업체를 고른 뒤 전입신고와 주소 변경을 준비합니다.",
    ),
    (
        "다항식을 인수분해하는 까닭은 무엇인가요?",
        "인수분해를 하면 방정식의 해를 쉽게 찾을 수 있고 약분도 간단해집니다.",
    ),
    (
        "감사의 마음을 전하는 편지는 어떻게 쓰나요?",
        "고마웠던 일을 구체적으로 적고 감사합니다라는 말로 맺으면 뜻이 잘 전해집니다.",
    ),
]


@pytest.mark.parametrize(("question", "answer"), FALSE_FRIENDS)
def test_false_friends_stay_below_the_threshold(lexicon, question, answer):
    score, reason = lexicon.score(question, answer)
    assert score <= THRESHOLD, reason


def test_the_same_words_in_their_own_field_are_kept(lexicon):
    score, reason = lexicon.score(
        "흡수합병에서 소멸회사의 채무는 어떻게 됩니까?",
        "존속회사가 포괄적으로 승계하며, 채권자는 상법 제527조의5에 따라 이의를 제출할 수 있습니다.",
    )
    assert score > THRESHOLD
    assert "흡수합병" in reason


@pytest.mark.parametrize("words", ["실사 단계", "실사 체크리스트", "실사 판단", "실사 화면", "실사 체계"])
def test_due_diligence_is_no_film(lexicon, words):
    assert (
        "영상의 실사"
        not in lexicon.score(f"{words}에서는 무엇을 확인합니까?", "주식매매계약 전에 우발채무를 확인합니다.")[1]
    )


@pytest.mark.parametrize("words", ["실사판", "실사화", "실사 영화", "실사풍"])
def test_a_film_is_no_due_diligence(lexicon, words):
    assert (
        "영상의 실사" in lexicon.score(f"만화의 {words} 소식은 언제 나왔나요?", "2019년에 극장에서 공개되었습니다.")[1]
    )


def test_precision_and_recall_on_the_labelled_rows(pack, lexicon):
    rows = read_jsonl(pack.path("lexicon_labels.jsonl"))
    kept = [(lexicon.score(row["question"], row["answer"])[0] > THRESHOLD, row["label"]) for row in rows]
    hits = sum(found and label for found, label in kept)
    assert len(rows) == 200
    assert hits / sum(found for found, _ in kept) >= 0.9
    assert hits / sum(label for _, label in kept) >= 0.9


def test_the_longest_term_counts_and_not_the_one_inside(lexicon):
    assert list(lexicon.found("흡수합병을 하였다")) == ["흡수합병"]
    assert sorted(lexicon.found("흡수합병과 합병")) == ["합병", "흡수합병"]


def test_a_false_friend_costs_its_penalty_and_says_so(lexicon):
    question, answer = "주주총회 특별결의와 물적분할을 설명해 주세요.", "합병과 함께 다루어집니다."
    score, _ = lexicon.score(question, answer)
    lower, reason = lexicon.score(question, f"{answer} 한일합병은 다른 말입니다.")
    friend = next(f for f in RAW["false_friends"] if "한일" in f["pattern"])
    merger = next(term["weight"] for term in RAW["terms"] if term["term"] == "합병")
    assert lower == max(0, score - round(100 * (friend["penalty"] + merger) / RAW["saturate"]))
    assert friend["why"] in reason
    assert "합병 제외" in reason


def test_a_space_inside_a_term_may_be_left_out(lexicon):
    assert list(lexicon.found("소규모합병")) == list(lexicon.found("소규모 합병")) == ["소규모 합병"]


def test_a_statute_after_a_hangul_letter_and_latin_inside_a_word_do_not_count(lexicon):
    assert "상법" in lexicon.found("상법 제522조")
    assert "상법" not in lexicon.found("보상법을 고쳤다")
    assert not lexicon.found("a wide space")


@settings(max_examples=120, deadline=None)
@given(MIXED, MIXED)
def test_any_text_has_a_score_and_a_reason(question, answer):
    score, reason = SHARED.score(question, answer)
    assert 0 <= score <= 100
    assert reason
    assert SHARED.score(question, answer) == (score, reason)


@settings(max_examples=60, deadline=None)
@given(PLAIN, PLAIN)
def test_without_a_term_the_score_is_nothing(question, answer):
    if not SHARED.found(question) and not SHARED.found(answer):
        assert SHARED.score(question, answer)[0] == 0


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(TERMS), st.integers(2, 5))
def test_repeating_a_term_gains_nothing(term, times):
    once = SHARED.score("이것은 무엇입니까", f"{term}. ")[0]
    assert SHARED.score("이것은 무엇입니까", f"{term}. " * times)[0] <= once + RAW["length"]["bonus"]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(TERMS))
def test_a_term_weighs_more_in_the_question(term):
    assert SHARED.score(term, "그렇습니다")[0] >= SHARED.score("무엇입니까", term)[0]


def test_the_order_of_the_file_does_not_matter(pack):
    raw = pack.yaml("lexicon.yaml")
    dice = random.Random(5)
    for key in ("terms", "statutes"):
        dice.shuffle(raw[key])
    shuffled = Lexicon(raw)
    for row in read_jsonl(pack.path("lexicon_holdout.jsonl")):
        assert shuffled.score(row["question"], row["answer"]) == SHARED.score(row["question"], row["answer"])
