"""Feedback with what it is about, as a query, and as the items of the review queue."""

import json
from typing import Any

from sqlalchemy import Text, cast, or_, select
from sqlalchemy.orm import aliased

from .schema_tables import FeedbackRow, GenerationRow, PairRow
from .sink import ReviewFilter, ReviewItem

ONE, LEFT, RIGHT = (aliased(GenerationRow, name=name) for name in ("one", "left_side", "right_side"))


def with_generations() -> Any:
    """Feedback with what it is about: its generation, or its pair's left and right generation."""
    return (
        select(FeedbackRow, ONE, LEFT, RIGHT)
        .outerjoin(ONE, FeedbackRow.generation == ONE.id)
        .outerjoin(PairRow, FeedbackRow.pair == PairRow.id)
        .outerjoin(LEFT, PairRow.left == LEFT.id)
        .outerjoin(RIGHT, PairRow.right == RIGHT.id)
    )


def behind(query: Any, wall: str | None) -> Any:
    """A query of `with_generations` cut down to what belongs to a wall; None leaves all."""
    return query if wall is None else query.where(or_(ONE.wall == wall, LEFT.wall == wall))


def filtered(query: Any, only: ReviewFilter) -> Any:
    """A query of `with_generations` cut down to what is asked for."""
    if only.kind:
        query = query.where(FeedbackRow.kind == only.kind)
    if only.rater:
        query = query.where(FeedbackRow.rater == only.rater)
    if only.model:
        query = query.where(or_(*(side.model == only.model for side in (ONE, LEFT, RIGHT))))
    if only.words:
        texts = [FeedbackRow.text, FeedbackRow.comment, *(side.answer for side in (ONE, LEFT, RIGHT))]
        held = [column.contains(only.words, autoescape=True) for column in texts]
        written = json.dumps(only.words)[1:-1]  # as it stands in the JSON of the dialogue
        asked = [cast(side.messages, Text).contains(written, autoescape=True) for side in (ONE, LEFT)]
        query = query.where(or_(*held, *asked))
    return query


def review_item(found: Any) -> ReviewItem:
    """A row of `with_generations` as the queue shows it."""
    row, one, left, right = found
    shown = one or left
    *earlier, last = shown.messages
    return ReviewItem(
        id=row.id, kind=row.kind, state=row.state, rater=row.rater, created=row.created,
        question=last["content"], answer=shown.answer, model=shown.model,
        value=(row.reviewed_text or row.text) if row.kind == "edit" else row.value,
        tags=tuple(row.tags), comment=row.comment,
        other=right.answer if right else "", other_model=right.model if right else "",
        reviewer=row.reviewer, note=row.note,
        earlier=tuple(message for message in earlier if message["role"] != "system"),
    )  # fmt: skip
