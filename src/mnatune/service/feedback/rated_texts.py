"""What was rated or corrected, as texts that may cite the law."""

from collections.abc import Iterator

from sqlalchemy.orm import Session

from ...law.citing import CitingText
from .review_items import with_generations
from .schema_tables import FeedbackRow
from .store import FeedbackStore


def rated_texts(store: FeedbackStore) -> Iterator[CitingText]:
    """Each active piece of feedback with its dialogue, the answers it is about and its correction, oldest first."""
    with Session(store.engine) as session:
        found = session.execute(with_generations().where(FeedbackRow.active.is_(True))).all()
    for row, one, left, right in sorted(found, key=lambda f: (f[0].created, f[0].id)):
        served = [side for side in (one, left, right) if side is not None]
        turns = [m["content"] for m in served[0].messages if m["role"] != "system"]
        said = [side.answer for side in served]
        text = "\n".join([*turns, *said, row.reviewed_text or row.text])
        yield CitingText("rated", row.id, f"feedback {row.id}", text, turns[-1], said[0])
