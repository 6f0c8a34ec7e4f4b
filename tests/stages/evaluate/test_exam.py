"""Filling the prompt, drawing items, paraphrasing."""

from hypothesis import given
from hypothesis import strategies as st

from mnatune.pack import Pack
from mnatune.stages.evaluate.consistency import paraphrase
from mnatune.stages.evaluate.exam import choice_prompt
from mnatune.stages.evaluate.items import stratified


def test_prompt_ends_where_the_letter_begins(pack: Pack) -> None:
    row = {"question": "옳은 것은? {a}", "choices": ["하나", "둘", "셋", "넷"]}
    text = choice_prompt(pack.prompts["choice_user"], row)
    assert text.endswith("정답:")
    assert "D. 넷" in text
    assert "옳은 것은? {a}" in text  # braces of an item are no placeholders


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
