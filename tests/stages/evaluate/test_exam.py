"""Reading letters, judging false premises, filling the prompt, drawing items."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnatune.pack import Pack
from mnatune.stages.evaluate.consistency import paraphrase
from mnatune.stages.evaluate.exam import choice_prompt, judge_premise, read_letter
from mnatune.stages.evaluate.items import stratified


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"), ("B. 이사회 승인", "B"), ("(C)", "C"), ("정답: D", "D"), ("정답은 A입니다.", "A"),
        ("답은 (B)입니다", "B"), ("보기를 보면 A사는 틀리고 정답은 C입니다", "C"), ("A사의 경우입니다", ""),
        ("Bank", ""), ("모르겠습니다", ""), ("정답은 A 또는 정답은 B", ""), ("", ""), ("E", ""),
    ],
)  # fmt: skip
def test_letters_are_read_strictly(text: str, letter: str) -> None:
    assert read_letter(text) == letter


def test_prompt_ends_where_the_letter_begins(pack: Pack) -> None:
    row = {"question": "옳은 것은? {a}", "choices": ["하나", "둘", "셋", "넷"]}
    text = choice_prompt(pack.prompts["choice_user"], row)
    assert text.endswith("정답:")
    assert "D. 넷" in text
    assert "옳은 것은? {a}" in text  # braces of an item are no placeholders


ROW = {"must_mention": ["존재하지 않", "특별결의"], "accepting": ["한 명만 반대해도 합병할 수 없습니다"]}


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("그런 조문은 존재하지 않습니다. 합병은 특별 결의로 승인합니다.", "correct"),
        ("그런 조문은 존재하지 않습니다.", "wrong"),
        ("존재하지 않지만 특별결의로도 한 명만 반대해도 합병할 수 없습니다.", "wrong"),
        ("제가 답변할 수 없는 내용입니다.", "refused"),
        ("예, 특별결의가 필요합니다.", "wrong"),
        ("", "wrong"),
    ],
)
def test_false_premises(pack: Pack, text: str, verdict: str) -> None:
    assert judge_premise(text, ROW, pack.yaml("evaluate.yaml")) == verdict


@given(st.integers(1, 60), st.integers(0, 5))
def test_draws_are_stable_and_in_proportion(limit: int, seed: int) -> None:
    items = [(str(n), "ab"[n % 4 == 0]) for n in range(80)]
    drawn = stratified(items, limit, seed, lambda item: item[1], lambda item: item[0])
    assert drawn == stratified(items, limit, seed, lambda item: item[1], lambda item: item[0])
    assert len(drawn) == limit
    assert drawn == sorted(drawn, key=lambda item: int(item[0]))
    assert abs(sum(item[1] == "b" for item in drawn) - limit / 4) <= 1


def test_paraphrases_change_wording_and_nothing_else(pack: Pack) -> None:
    rules = pack.yaml("evaluate.yaml")["paraphrases"]
    question = "비상장 A사는 B사를 흡수합병하려 한다. 주주총회의 승인에 관하여 옳은 것은?"
    written = {kind: paraphrase(question, kind_rules) for kind, kind_rules in rules.items()}
    assert len({question, *written.values()}) == 4
    assert "".join(written["spacing"].split()) == "".join(question.split())
    assert all("A사" in text and "흡수합병" in text for text in written.values())
