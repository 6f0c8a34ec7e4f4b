"""Splits that cannot leak and are not empty, and preference pairs that differ."""

from collections import Counter

import pytest

from mnatune.runs.errors import DataError
from mnatune.runs.records import QA, Source, content_id
from mnatune.stages.compose import _preferences
from mnatune.stages.compose.splits import assign_splits, empty_sides, leakage

SHARES = (0.6, 0.2, 0.2)
WAYS = ("{}", "Q. {}", "'{}'", "{}?", "질문: {}!", " {} ", "{}.")


def row(n, question, **more):
    answer = f"{n}번째 답이다."
    name = content_id(question, answer)
    return QA(name, question, answer, "", more.pop("group", name), Source("s"), **{"cluster": name, **more})


def test_questions_that_differ_in_punctuation_stay_on_one_side():
    rows = [
        row(n, way.format(f"{n // len(WAYS)}번째 합병의 절차는 무엇인가요"))
        for n in range(140)
        for way in [WAYS[n % len(WAYS)]]
    ]
    sides = assign_splits(rows, SHARES, 42)
    assert leakage(rows, sides)["spanning"] == {"group": 0, "cluster": 0, "question": 0}
    assert leakage(rows, sides)["checked"]["question"] == 20
    assert set(sides) == {"train", "valid", "test"}
    with pytest.raises(DataError, match="questions stand in two splits"):
        leakage(rows[:2], ["train", "test"])


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
