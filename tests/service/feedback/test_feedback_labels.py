"""Blind picks as human labels for the evaluation's judge."""

from made_feedback import generation

from mnatune.runs.workspace import read_jsonl
from mnatune.service.feedback.picks import write_labels
from mnatune.service.feedback.sink import BlindPair, PairChoice

QUESTION = [{"role": "system", "content": "전문가"}, {"role": "user", "content": "합병이란? /no_think"}]


def pick(store, n, choice, **more):
    """A pair of answers to one question, and what was picked."""
    for at, side in enumerate(("a", "b")):
        facts = {"id": f"gen-{n}{side}", "messages": QUESTION, "answer": f"답 {n}{side}", **more}
        store.save_generation(generation(2 * n + at, **facts))
    store.save_pair(BlindPair(f"p{n}", "key:a", f"gen-{n}a", f"gen-{n}b", 1.0))
    store.choose(PairChoice(f"p{n}", "key:a", choice))


def test_picks_become_labels_and_nothing_else_does(store, tmp_path):
    for n, choice in enumerate(("left", "right", "tie", "both_bad")):
        pick(store, n, choice)
    pick(store, 4, "left", consent=False)
    pick(store, 5, "left", finish_reason="cancelled")
    pick(store, 6, "left", messages=[*QUESTION, {"role": "assistant", "content": "네"}, QUESTION[1]])
    pick(store, 7, "left")
    [rejected] = [item.id for item in store.review_queue().items if item.answer == "답 7a"]
    store.review(rejected, "admin", "rejected")
    assert write_labels(store, tmp_path / "labels.jsonl") == 4
    rows = read_jsonl(tmp_path / "labels.jsonl")
    assert {row["question"] for row in rows} == {"합병이란?"}
    said = {row["answer_a"]: (row["answer_b"], row["winner"]) for row in rows}
    assert said == {
        "답 0a": ("답 0b", "A"),
        "답 1a": ("답 1b", "B"),
        "답 2a": ("답 2b", "tie"),
        "답 3a": ("답 3b", "tie"),
    }


def test_equal_feedback_gives_equal_bytes(store, tmp_path):
    pick(store, 0, "left")
    pick(store, 1, "right")
    write_labels(store, tmp_path / "one.jsonl")
    write_labels(store, tmp_path / "two.jsonl")
    assert (tmp_path / "one.jsonl").read_bytes() == (tmp_path / "two.jsonl").read_bytes()
