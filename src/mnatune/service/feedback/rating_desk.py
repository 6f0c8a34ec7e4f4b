"""What a reviewer's desk needs of the database: answers that may be graded, who has graded what, a rater's progress."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, func, select, true
from sqlalchemy.orm import Session

from ...model.prompt import Message, unmarked
from .priority import said_good
from .schema_tables import FeedbackRow, GenerationRow, PairRow
from .sink import Answered, GradeFact, RaterProgress

SKIP = "skip"


def inside(wall: str | None) -> ColumnElement[bool]:
    """The generations that belong to a wall; None takes all."""
    return true() if wall is None else GenerationRow.wall == wall


def answers(session: Session, rater: str, most: int, wall: str | None) -> list[Answered]:
    """The newest answers that may be used, with what this rater and others said of them; the newest first."""
    usable = (GenerationRow.consent.is_(True), GenerationRow.finish_reason != "cancelled", inside(wall))
    rows = session.scalars(
        select(GenerationRow).where(*usable).order_by(GenerationRow.created.desc(), GenerationRow.id).limit(most)
    ).all()
    said = _said(session)
    dialogues = {row.id: _dialogue(row.messages) for row in rows}
    same: dict[str, list[GenerationRow]] = defaultdict(list)
    for row in rows:
        same[str(dialogues[row.id])].append(row)
    return [
        _answered(row, dialogues[row.id], same[str(dialogues[row.id])], said.get(row.id, []), rater) for row in rows
    ]


def grades(session: Session, wall: str | None) -> list[GradeFact]:
    """Every active grade with what it is about, oldest first."""
    query = (
        select(FeedbackRow, GenerationRow)
        .join(GenerationRow, FeedbackRow.generation == GenerationRow.id)
        .where(FeedbackRow.active.is_(True), FeedbackRow.kind == "grade", FeedbackRow.value != SKIP, inside(wall))
        .order_by(FeedbackRow.created, FeedbackRow.id)
    )
    return [
        GradeFact(
            row.target, row.rater, int(row.value), row.comment, row.created, _question(one.messages), one.answer,
            one.model,
        )
        for row, one in session.execute(query)
        if row.state != "rejected"
    ]  # fmt: skip


def progress(session: Session, rater: str, day: str) -> RaterProgress:
    """What a rater has done; `day` (UTC) is today."""
    key = (FeedbackRow.kind, FeedbackRow.value == SKIP, FeedbackRow.state, FeedbackRow.day == day)
    query = select(*key, func.count()).where(FeedbackRow.rater == rater, FeedbackRow.active.is_(True)).group_by(*key)
    found: dict[str, int] = defaultdict(int)
    names = {"rating": "ratings", "edit": "edits", "pair": "pairs", "grade": "grades"}
    for kind, skipped, state, today, number in session.execute(query):
        found["skipped" if skipped else names[kind]] += number
        if kind != "grade":
            found["approved"] += number * (state == "approved")
            found["rejected"] += number * (state == "rejected")
        found["today"] += number * bool(today and not skipped)
    return RaterProgress(**found)


def _said(session: Session) -> dict[str, list[FeedbackRow]]:
    """Generation → active feedback about it; a pick is about both sides."""
    query = (
        select(FeedbackRow, PairRow.left, PairRow.right)
        .outerjoin(PairRow, FeedbackRow.pair == PairRow.id)
        .where(FeedbackRow.active.is_(True))
        .order_by(FeedbackRow.created, FeedbackRow.id)
    )
    found: dict[str, list[FeedbackRow]] = defaultdict(list)
    for row, left, right in session.execute(query):
        for generation in filter(None, (row.generation, left, right)):
            found[generation].append(row)
    return found


def _answered(
    row: GenerationRow,
    dialogue: Sequence[Message],
    same: Sequence[GenerationRow],
    said: Sequence[FeedbackRow],
    rater: str,
) -> Answered:
    graded = [one for one in said if one.kind == "grade"]
    found = Counter(said_good(one.kind, one.value) for one in said)
    own = next((one for one in graded if one.rater == rater), None)
    return Answered(
        id=row.id, question=dialogue[-1]["content"], dialogue=tuple(dialogue), answer=row.answer, model=row.model,
        created=row.created, others=tuple(other.answer for other in same if other.id != row.id),
        grades=tuple(int(one.value) for one in graded if one.rater != rater and one.value != SKIP),
        own=own.value if own else "", comment=own.comment if own else "",
        rated=any(one.value != SKIP for one in said),
        good=None if found[True] == found[False] else found[True] > found[False],
    )  # fmt: skip


def _dialogue(messages: Sequence[dict[str, Any]]) -> list[Message]:
    """The turns without the system prompt and without the marks that rendering puts on."""
    return [Message(role=m["role"], content=unmarked(m["content"])) for m in messages if m["role"] != "system"]


def _question(messages: Sequence[dict[str, Any]]) -> str:
    return _dialogue(messages)[-1]["content"]
