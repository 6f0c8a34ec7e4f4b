"""ROUGE over content words, and spacing compared."""

from hypothesis import given
from hypothesis import strategies as st

from mnatune.text.morphemes import content_words, rouge, spacing_edits

words = st.lists(st.sampled_from(["합병", "주주", "총회", "승인", "매수"]), max_size=8)


def test_particles_and_endings_do_not_count() -> None:
    assert content_words("합병을 승인한다.") == content_words("합병이 승인하였다")


def test_rouge_by_hand() -> None:
    found = rouge(["합병", "주주", "승인"], ["합병", "총회", "승인", "공고"])
    assert found == {"rouge1": 4 / 7, "rouge2": 0.0, "rougeL": 4 / 7}


@given(words, words)
def test_rouge_is_symmetric_and_bounded(a: list[str], b: list[str]) -> None:
    assert rouge(a, b) == rouge(b, a)
    assert all(0 <= value <= 1 for value in rouge(a, b).values())
    assert not a or rouge(a, a)["rougeL"] == 1


def test_spacing_edits_grow_with_faults() -> None:
    right = "회사는 주주총회의 승인을 받아야 한다."
    wrong = "회 사는주주총회의승인을 받아야한다."
    assert spacing_edits(right)[0] < spacing_edits(wrong)[0]
    assert spacing_edits(right)[1] == spacing_edits(wrong)[1] == len(right.replace(" ", "")) - 1
