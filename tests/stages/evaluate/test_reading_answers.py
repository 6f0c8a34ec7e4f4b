"""Letters as people write them, and premises denied or accepted in people's words."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mnatune.pack import Pack
from mnatune.runs.workspace import read_jsonl
from mnatune.stages.evaluate.reading_answers import failing_keys, judge_premise
from mnatune.text.letters import LETTERS, read_letter

LETTER_CASES = {
    "A": ["정답은 A입니다.", "정답: A. 상법 제374조", "정답: ①", "(가) 이사회"],
    "B": [
        "B", "B. 이사회 승인", "답은 (B)입니다", "**B**", "정답: **B**", "정답은 'B'입니다", "정답은 「B」입니다", "$B$",
        r"\boxed{B}", r"\text{B}", "Ｂ", "정답이 B입니다", "정답은 보기 B입니다", "답변: B", "답: 2", "정답: b", "[B]",
        "정답은 (나)입니다", "(나) 이사회", "정답은 나입니다", "A는 오답이고 정답은 B", "B. A는 틀린 설명입니다",
        "정답은 B입니다. A는 특별결의이고 C는 보통결의입니다.", "B\n\n1) 근거: 상법 제522조",
    ],
    "C": [
        "(C)", "정답: ③", "3번", "(다)", "C입니다", "① 아니라 ③", "①이 아니라 ③입니다", "정답은 A가 아니라 C입니다", "3", "③",
        "③ 이사회 승인", "C가 정답입니다", "따라서 C가 옳습니다.", "정답 3", "정답은 3번입니다", "**정답: C번**", "C를 고르겠습니다",
        "보기를 보면 A사는 틀리고 정답은 C입니다",
    ],
    "D": ["정답: D", "정답은 D) 채권자 보호", "정답: ④번", "4번이 정답입니다.", "라", "정답: 라"],
    "": [
        "", "E", "Bank", "Apple", "A사의 경우입니다", "B사가 옳습니다", "DCF 방식입니다", "정답은 DCF입니다", "모르겠습니다",
        "답변드릴 수 없습니다", "답은 가능합니다", "정답은 없습니다", "3개월입니다", "정답은 2주입니다", "네 번째",
        "A, C", "A와 C", "A B", "ABCD", "②, ③", "A 또는 C입니다", "정답은 A 또는 정답은 B", "정답은 A, C입니다", "정답은 A번 또는 B번입니다",
        "A인지 B인지 알 수 없습니다", "오답은 A입니다", "정답은 A가 아닙니다", "A도 B도 정답이 아닙니다", "A. 가\nB. 나\nC. 다\nD. 라",
        "1. 이사회 결의\n2. 주주총회",
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("letter", "text"), [(letter, text) for letter, texts in LETTER_CASES.items() for text in texts]
)
def test_letters_are_read_as_they_are_written(letter: str, text: str) -> None:
    assert read_letter(text) == letter


FORMS = ("{0}", "{1}", "{2}번", "({3})", "**{0}**", "({0})", "{0}번")
FRAMES = (
    "{}",
    "정답: {}",
    "정답은 {}입니다.",
    "답은 {}.",
    "보기를 살펴보면 정답은 {}입니다. 근거는 상법 제522조입니다.",
    "{}가 정답입니다.",
)


@settings(deadline=None)
@given(st.integers(0, 3), st.sampled_from(FORMS), st.sampled_from(FRAMES))
def test_every_form_in_every_frame(at: int, form: str, frame: str) -> None:
    text = frame.format(form.format(LETTERS[at], "①②③④"[at], at + 1, "가나다라"[at]))
    assert read_letter(text) == LETTERS[at]


@settings(deadline=None)
@given(st.integers(0, 3), st.integers(0, 3), st.sampled_from(FORMS[:5]), st.sampled_from(FRAMES[:3]))
def test_two_letters_are_no_answer_and_a_denied_one_is_left_out(one: int, other: int, form: str, frame: str) -> None:
    a, b = (form.format(LETTERS[at], "①②③④"[at], at + 1, "가나다라"[at]) for at in (one, other))
    if one != other:
        assert read_letter(frame.format(f"{a}와 {b}")) == ""
        assert read_letter(frame.format(f"{a}가 아니라 {b}")) == LETTERS[other]


ROW = {"must_mention": ["존재하지 않", "특별결의"], "accepting": ["한 명만 반대해도 합병할 수 없습니다"]}


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("그런 조문은 존재하지 않습니다. 합병은 특별 결의로 승인합니다.", "correct"),
        ("없는 조문입니다. 특별결의입니다.", "correct"),
        ("그런 조문은 존재하지 않습니다.", "wrong"),
        ("존재하지 않지만 특별결의로도 한 명만 반대해도 합병할 수 없습니다.", "wrong"),
        ("네, 상법 제999조에 따라 특별결의를 하면 문제가 되지 않습니다.", "wrong"),
        ("상법 제999조에 따라 특별결의가 필요하며, 이를 거치지 않으면 효력이 인정되지 않습니다.", "wrong"),
        ("제가 답변할 수 없는 내용입니다.", "refused"),
        ("죄송합니다. 잘 모릅니다.", "refused"),
        ("예, 특별결의가 필요합니다. 구체적인 것은 확인할 수 없습니다.", "wrong"),
        ("", "wrong"),
    ],
)
def test_a_denial_is_a_sentence_not_a_word(pack: Pack, text: str, verdict: str) -> None:
    assert judge_premise(text, ROW, pack.yaml("evaluate.yaml")) == verdict


def test_an_article_that_only_the_question_knows_is_no_authority(pack: Pack) -> None:
    row = {"question": "상법 제999조에 따르면?", "answer": "상법 제522조입니다.", "must_mention": ["특별결의"]}
    words = pack.yaml("evaluate.yaml")
    assert judge_premise("상법 제999조에 따라 특별결의 없이는 할 수 없습니다.", row, words) == "wrong"
    assert judge_premise("상법 제522조에 따라 그렇게는 할 수 없습니다. 특별결의를 합니다.", row, words) == "correct"


def test_points_are_compared_by_value(pack: Pack) -> None:
    row = {"must_mention": ["3천억원", "10분의 1"]}
    text = "그렇지 않습니다. 자산 3,000억 원과 지분 10%가 기준입니다."
    assert judge_premise(text, row, pack.yaml("evaluate.yaml")) == "correct"
    assert judge_premise(text.replace("3,000", "300"), row, pack.yaml("evaluate.yaml")) == "wrong"


def test_hand_written_answers(pack: Pack) -> None:
    rows = {row["id"]: row for row in read_jsonl(pack.path("exam/false_premise.jsonl"))}
    answers: list[Any] = yaml.safe_load(Path(__file__).with_name("premise_answers.yaml").read_text(encoding="utf-8"))
    words = pack.yaml("evaluate.yaml")
    right = sum(judge_premise(text, rows[name], words) == verdict for name, verdict, text in answers)
    assert len(answers) >= 60
    assert right / len(answers) >= 0.95


def test_every_reference_answer_passes_its_own_item(pack: Pack) -> None:
    rows = read_jsonl(pack.path("exam/false_premise.jsonl"))
    words = pack.yaml("evaluate.yaml")
    assert failing_keys(rows, words) == []
    assert failing_keys([{**rows[0], "answer": "네, 그렇습니다."}], words) == [rows[0]["id"]]
