"""What was rated or corrected, as texts that may cite the law."""

from collections.abc import Iterator

from ...law.citing import CitingText
from .store import FeedbackStore


def rated_texts(store: FeedbackStore) -> Iterator[CitingText]:
    """Each active piece of feedback with its dialogue, the answers it is about and its correction, oldest first."""
    for row, served in store.active():
        turns = [m["content"] for m in served[0].messages if m["role"] != "system"]
        said = [side.answer for side in served]
        text = "\n".join([*turns, *said, row.reviewed_text or row.text])
        yield CitingText("rated", row.id, f"feedback {row.id}", text, turns[-1], said[0])
