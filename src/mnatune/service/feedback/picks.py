"""`feedback labels`: the blind picks of the chat page as human labels for the evaluation's judge.

A pick says which of two answers a person found better, without knowing which model gave which: just what the judge is
asked in the pairwise comparison. `mnatune evaluate RECIPE --labels FILE` compares the two.

Does not: take picks in longer dialogues, whose question cannot be understood alone.
"""

from pathlib import Path

from sqlalchemy.orm import Session

from ...model.prompt import NO_THINK
from ...runs.workspace import write_jsonl
from .review_items import behind, with_generations
from .schema_tables import FeedbackRow
from .store import FeedbackStore

WINNERS = {"left": "A", "right": "B", "tie": "tie", "both_bad": "tie"}


def write_labels(store: FeedbackStore, out: Path) -> int:
    """Write the labels as JSON Lines: question, answer_a, answer_b, winner; returns how many there are.

    Left out: picks without both consents, rejected in review, of cancelled answers, or in a dialogue of several turns.
    Equal feedback gives equal bytes: rows stand in the order of their feedback's ids.
    """
    query = behind(with_generations().where(FeedbackRow.active.is_(True), FeedbackRow.kind == "pair"), store.wall)
    with Session(store.engine) as session:
        found = session.execute(query).all()
    rows = []
    for row, _, left, right in sorted(found, key=lambda one: str(one[0].id)):
        asked = [[m["content"] for m in side.messages if m["role"] != "system"] for side in (left, right)]
        usable = all(side.consent and side.finish_reason != "cancelled" for side in (left, right))
        if usable and row.state != "rejected" and len(asked[0]) == 1 and asked[0] == asked[1]:
            question = asked[0][0].rstrip().removesuffix(NO_THINK).rstrip()
            answers = {"answer_a": left.answer, "answer_b": right.answer}
            rows.append({"question": question, **answers, "winner": WINNERS[row.value]})
    return write_jsonl(out, rows)
