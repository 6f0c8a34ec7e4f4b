"""From what raters said to training rows: which piece of feedback becomes which row, and why some become none.

    edit, approved            SFT: the dialogue with the corrected answer · DPO: corrected over served
    pick "left" or "right"    DPO: the picked answer over the other
    pick "both_bad"           KTO: both answers undesirable
    thumb                     KTO: the answer desirable or undesirable
    grade of a reviewer       KTO: 3 and 4 desirable, 1 and 2 undesirable

Nothing here looks at several rows at once; `filters.py` does.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from ...model.prompt import Message, unmarked
from ...runs.records import content_id
from .priority import GOOD
from .rating_desk import SKIP
from .schema_tables import FeedbackRow, GenerationRow
from .store import FeedbackStore

File = Literal["train", "preferences", "unpaired"]
FILES: tuple[File, ...] = ("train", "preferences", "unpaired")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A training row, or rather a candidate for one.

    Attributes:
        file: "train" (SFT), "preferences" (DPO) or "unpaired" (KTO).
        feedback: id of the feedback it came from.
        group: hash of rater and conversation.
        prompt: the dialogue up to and with the question.
        text: the answer to learn, the chosen answer, or the answer that was judged.
        rejected: the worse answer; empty but for "preferences".
        desirable: the thumb; always True but for "unpaired".
        finished: the answer to learn ended by itself.
    """

    file: File
    feedback: str
    rater: str
    created: float
    group: str
    prompt: tuple[Message, ...]
    text: str
    rejected: str = ""
    desirable: bool = True
    finished: bool = True

    @property
    def id(self) -> str:
        """Identity of the row's content, whoever said it and when."""
        turns = [part for m in self.prompt for part in (m["role"], m["content"])]
        return content_id(self.file, *turns, self.text, self.rejected, str(self.desirable))

    @property
    def question(self) -> str:
        """All that the users asked in the dialogue."""
        return "\n".join(m["content"] for m in self.prompt if m["role"] == "user")


@dataclass(frozen=True, slots=True)
class Refused:
    """A piece of feedback, or a row made from it, that is left out, and why."""

    feedback: str
    file: str
    reason: str


def candidates(
    store: FeedbackStore, *, system: str, unreviewed: bool, refuse: Callable[[Refused], None]
) -> Iterator[Candidate]:
    """Rows from all active feedback, oldest first; the same on every database.

    Args:
        system: the pack's system prompt; an answer under another one is refused.
        unreviewed: take thumbs and picks before review too. Edits always need approval.
        refuse: told of each piece of feedback that gives no row.
    """
    for row, served in store.within(None).active():
        foreign = any(store.wall not in (None, g.wall) for g in served)
        reason = "other-wall" if foreign else _unusable(row, served, system, unreviewed)
        rows = [] if reason else _rows(row, served)
        yield from rows
        if not rows:
            refuse(Refused(row.id, "", reason or "unchanged-edit"))


def _unusable(row: FeedbackRow, served: list[GenerationRow], system: str, unreviewed: bool) -> str:
    """Why this piece of feedback gives no row; empty if it may."""
    if not all(g.consent for g in served):
        return "no-consent"
    if row.state == "rejected":
        return "rejected"
    if row.state == "open" and (row.kind == "edit" or not unreviewed):
        return "not-reviewed"
    if row.value in ("tie", SKIP):
        return str(row.value)
    if any(g.finish_reason == "cancelled" for g in served):
        return "cancelled"
    if any(_opening(g) != system for g in served):
        return "other-system-prompt"
    if len({str(_prompt(g)) for g in served}) > 1:
        return "different-questions"
    return ""


def _rows(row: FeedbackRow, served: list[GenerationRow]) -> list[Candidate]:
    first = served[0]
    group = content_id(first.rater, first.conversation)
    base = Candidate("unpaired", row.id, row.rater, row.created, group, _prompt(first), first.answer)
    if row.kind == "edit":
        text = (row.reviewed_text or row.text).strip()
        if text == first.answer.strip():
            return []
        better = replace(base, file="preferences", text=text, rejected=first.answer)
        return [replace(base, file="train", text=text), better]
    if row.kind in ("grade", "rating"):
        good = row.value == "up" if row.kind == "rating" else int(row.value) >= GOOD
        return [replace(base, desirable=good, finished=first.finish_reason == "stop")]
    left, right = served
    if row.value == "both_bad":
        return [replace(base, text=g.answer, desirable=False) for g in (left, right)]
    won, lost = (left, right) if row.value == "left" else (right, left)
    finished = won.finish_reason == "stop"
    return [replace(base, file="preferences", text=won.answer, rejected=lost.answer, finished=finished)]


def _prompt(generation: GenerationRow) -> tuple[Message, ...]:
    """The dialogue, without the /no_think marks that rendering puts on."""
    turns = ((m["role"], m["content"]) for m in generation.messages)
    return tuple(Message(role=role, content=unmarked(text) if role == "user" else text) for role, text in turns)


def _opening(generation: GenerationRow) -> str:
    first = generation.messages[0]
    return first["content"] if first["role"] == "system" else ""
