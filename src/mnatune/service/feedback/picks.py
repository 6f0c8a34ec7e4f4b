"""`feedback labels`: the blind picks of the chat page as human labels for the evaluation's judge.

A pick says which of two answers a person found better, without knowing which model gave which: just what the judge is
asked in the pairwise comparison. `mnatune evaluate RECIPE --labels FILE` compares the two.

Does not: take picks in longer dialogues, whose question cannot be understood alone.
"""

from pathlib import Path

from ...model.prompt import unmarked
from ...runs.workspace import write_jsonl
from .store import FeedbackStore

WINNERS = {"left": "A", "right": "B", "tie": "tie", "both_bad": "tie"}


def write_labels(store: FeedbackStore, out: Path) -> int:
    """Write the labels as JSON Lines: question, answer_a, answer_b, winner; returns how many there are.

    Left out: picks without both consents, rejected in review, of cancelled answers, or in a dialogue of several turns.
    Equal feedback gives equal bytes: rows stand in the order of their feedback's ids.
    """
    rows = []
    for row, sides in sorted(store.active("pair"), key=lambda one: str(one[0].id)):
        left, right = sides
        asked = [[m["content"] for m in side.messages if m["role"] != "system"] for side in sides]
        usable = all(side.consent and side.finish_reason != "cancelled" for side in sides)
        if usable and row.state != "rejected" and len(asked[0]) == 1 and asked[0] == asked[1]:
            question = unmarked(asked[0][0])
            answers = {"answer_a": left.answer, "answer_b": right.answer}
            rows.append({"question": question, **answers, "winner": WINNERS[row.value]})
    return write_jsonl(out, rows)
