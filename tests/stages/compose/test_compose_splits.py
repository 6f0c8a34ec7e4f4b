"""Splits that cannot leak and are not empty, and preference pairs that differ."""

from collections import Counter
from dataclasses import replace

import pytest

from mnatune.runs.errors import DataError
from mnatune.runs.records import QA, Source, content_id
from mnatune.stages.compose import _preferences, _turns
from mnatune.stages.compose.splits import (
    SPLITS,
    assign_splits,
    empty_sides,
    largest_unit,
    leakage,
    unit_members,
    unit_warning,
)

SHARES = (0.6, 0.2, 0.2)
WAYS = ("{}", "Q. {}", "'{}'", "{}?", "질문: {}!", " {} ", "{}.")


def row(n, question, **more):
    answer = f"{n}번째 답이다."
    name = content_id(question, answer)
    return QA(name, question, answer, "", more.pop("group", name), Source("s"), **{"cluster": name, **more})


def dialogue(n, opening, answer, question="기한은 언제까지인가요?"):
    made = row(n, question)
    return replace(made, id=f"d{n}", group=f"d{n}", cluster=f"d{n}", history=[opening, answer])


def written(rows, sides):
    lines = {name: [] for name in SPLITS}
    for one, side in zip(rows, sides, strict=True):
        lines[side].append({"messages": _turns(one, "역할"), "group": one.group, "cluster": one.cluster})
    return lines


def test_questions_that_differ_in_punctuation_stay_on_one_side():
    rows = [
        row(n, way.format(f"{n // len(WAYS)}번째 합병의 절차는 무엇인가요"))
        for n in range(140)
        for way in [WAYS[n % len(WAYS)]]
    ]
    sides = assign_splits(rows, SHARES, 42)
    assert leakage(written(rows, sides))["spanning"] == {"group": 0, "cluster": 0, "question": 0}
    assert leakage(written(rows, sides))["checked"]["question"] == 20
    assert set(sides) == {"train", "valid", "test"}
    with pytest.raises(DataError, match="questions stand in two splits"):
        leakage(written(rows[:2], ["train", "test"]))


def test_no_answer_of_the_test_split_is_an_earlier_turn_of_a_dialogue_that_is_learnt():
    rows = [row(n, f"{n}번째 합병의 절차는 무엇인가요?") for n in range(80)]
    rows += [dialogue(n, f"{n}번째  합병의 절차는 무엇인가요", rows[n].answer) for n in range(80)]
    sides = assign_splits(rows, SHARES, 42)
    assert Counter(sides) == {"train": 96, "valid": 32, "test": 32}
    assert sides[:80] == sides[80:], "a dialogue stands where the question stands that it opens with"
    assert leakage(written(rows, sides))["spanning"]["question"] == 0
    with pytest.raises(DataError, match="1 questions stand in two splits, such as '3번째합병의절차는무엇인가요'"):
        leakage(written([rows[3], rows[83]], ["test", "train"]))


def test_a_second_question_counts_with_the_turns_before_it():
    rows = [dialogue(n, f"{n}번째 합병이란?", "합치는 일입니다.") for n in range(20)]
    assert len(unit_members(rows)) == 20, "the same second question does not make two dialogues one"
    longer = replace(rows[4], id="l", group="l", cluster="l", question="비용은요?")
    longer = replace(longer, history=[*rows[4].history, rows[4].question, rows[4].answer])
    assert sorted(map(len, unit_members([*rows, longer]))) == [*[1] * 19, 2]


def test_an_opening_of_all_dialogues_is_named_before_anything_is_trained():
    rows = [dialogue(n, "안녕하세요!", "무엇을 도와드릴까요?", f"{n}번 질문은?") for n in range(60)]
    with pytest.raises(DataError, match="the question '안녕하세요' holds 60 of 60") as caught:
        empty_sides(rows, assign_splits(rows, SHARES, 1), SHARES)
    assert "take the turn that they share off the dialogues" in caught.value.next_step
    assert "20 ask the same" in empty_sides(rows[:20], ["train"] * 20, SHARES)
    mixed = [*rows, *(row(n, f"{n}번 물음은 무엇인가요") for n in range(100, 140))]
    assert set(assign_splits(mixed, SHARES, 1)) == set(SPLITS)
    largest = largest_unit(mixed, unit_members(mixed))
    assert largest == {"rows": 60, "most_share": "question", "value": "안녕하세요", "shared_by": 60}
    assert unit_warning(largest, len(mixed)) == [
        "compose.splits: 60 of 100 rows hang together and stay on one side (60 share the question '안녕하세요')"
    ]
    assert not unit_warning(largest, 120)


def test_one_group_for_all_rows_is_named_before_anything_is_trained():
    rows = [row(n, f"{n}번 질문은 무엇인가요", group="g", reference="법무팀 Q&A") for n in range(60)]
    with pytest.raises(DataError, match="'법무팀 Q&A' holds 60 of 60") as caught:
        empty_sides(rows, assign_splits(rows, SHARES, 1), SHARES)
    assert "출처" in caught.value.next_step
    assert not empty_sides(rows, ["train"] * 60, (1, 0, 0))


def test_a_cluster_for_all_rows_stops_a_data_set_and_is_told_of_a_trial():
    for count, stops in ((60, True), (20, False)):
        rows = [row(n, f"{n}번 질문은 무엇인가요", cluster="c") for n in range(count)]
        sides = assign_splits(rows, SHARES, 1)
        if stops:
            with pytest.raises(DataError, match="the cluster"):
                empty_sides(rows, sides, SHARES)
        else:
            assert "near-duplicates" in empty_sides(rows, sides, SHARES)


def test_no_pair_of_equal_answers():
    base = row(1, "질문은 무엇인가요")
    others = [f" {base.answer}", "다른 답이다.", "다른  답이다", "", "셋째 답이다."]
    left_out: Counter[str] = Counter()
    pairs = list(
        _preferences([QA(**{**{f: getattr(base, f) for f in QA.__slots__}, "alternatives": others})], "", left_out)
    )
    assert [(pair["rejected"][0]["content"], pair["margin"]) for pair in pairs] == [
        ("다른 답이다.", 2),
        ("셋째 답이다.", 5),
    ]
    assert left_out == {"same-answer": 2, "empty": 1}
