"""Usage and feedback by day and model, counted in the database; no text is read."""

from collections.abc import Iterator

from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from .rating_desk import inside
from .schema_tables import FeedbackRow, GenerationRow, PairRow
from .sink import DayUsage

# A pick → what it counts for the left and for the right model. Two bad answers are a tie.
TIED = ("ties", "ties")
OUTCOMES = {"left": ("wins", "losses"), "right": ("losses", "wins"), "tie": TIED, "both_bad": TIED}


def usage_since(session: Session, first: str, wall: str | None) -> list[DayUsage]:
    """Days from `first` (ISO date, UTC) on, oldest first; a rating counts on the day on which it was given."""
    found: dict[tuple[str, str], dict[str, int]] = {}
    for counts in (_served, _said, _picked):
        for day, model, name, number in counts(session, first, wall):
            place = found.setdefault((day, model), {})
            place[name] = place.get(name, 0) + number
    return [DayUsage(day, model, **found[day, model]) for day, model in sorted(found)]


def _served(session: Session, first: str, wall: str | None) -> Iterator[tuple[str, str, str, int]]:
    key = (GenerationRow.day, GenerationRow.model)
    query = select(*key, func.count(), func.sum(GenerationRow.completion_tokens)).where(
        GenerationRow.day >= first, inside(wall)
    )
    for day, model, number, tokens in session.execute(query.group_by(*key)):
        yield day, model, "generations", number
        yield day, model, "completion_tokens", int(tokens)


def _said(session: Session, first: str, wall: str | None) -> Iterator[tuple[str, str, str, int]]:
    key = (FeedbackRow.day, GenerationRow.model, FeedbackRow.kind, FeedbackRow.value)
    query = select(*key, func.count()).join(GenerationRow, FeedbackRow.generation == GenerationRow.id)
    said = FeedbackRow.kind.in_(("rating", "edit"))  # what users say; reviewers' grades are no votes
    query = query.where(FeedbackRow.active.is_(True), said, FeedbackRow.day >= first, inside(wall)).group_by(*key)
    for day, model, kind, value, number in session.execute(query):
        yield day, model, "edits" if kind == "edit" else value, number


def _picked(session: Session, first: str, wall: str | None) -> Iterator[tuple[str, str, str, int]]:
    left, right = aliased(GenerationRow), aliased(GenerationRow)
    key = (FeedbackRow.day, left.model, right.model, FeedbackRow.value)
    query = select(*key, func.count()).join(PairRow, FeedbackRow.pair == PairRow.id)
    query = query.join(left, PairRow.left == left.id).join(right, PairRow.right == right.id)
    query = query.where(FeedbackRow.active.is_(True), FeedbackRow.day >= first)
    query = (query if wall is None else query.where(left.wall == wall)).group_by(*key)
    for day, left_model, right_model, value, number in session.execute(query):
        for model, name in zip((left_model, right_model), OUTCOMES[value], strict=True):
            yield day, model, name, number
