"""What the server needs of a feedback store, as plain data: generations, ratings, edits, blind pairs, the review queue.

`FeedbackSink` is the seam between `mnatune serve` and the database; `feedback/store.py` implements it with SQLAlchemy.
All methods are synchronous and may be called from several threads at once; the server calls them outside its event
loop. Masking personal data before it is written is the sink's duty, not the caller's. Times are Unix seconds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from ...model.prompt import Message
from ...runs.errors import DataError

Choice = Literal["left", "right", "tie", "both_bad"]
Kind = Literal["rating", "edit", "pair", "grade"]
State = Literal["open", "approved", "rejected"]

MAX_TEXT = 100_000  # characters of an edit, well above the longest answer
MAX_COMMENT = 2_000
MAX_IDENTIFIER = 200  # characters of an identifier that comes from outside
REASON_TAGS: dict[str, str] = {  # identifier stored → Korean label shown
    "accurate": "정확함",
    "well_cited": "근거 조문이 좋음",
    "clear": "이해하기 쉬움",
    "wrong_fact": "사실이 틀림",
    "wrong_citation": "조문이 틀림",
    "incomplete": "빠진 내용",
    "off_topic": "질문과 다름",
    "unclear": "이해하기 어려움",
    "language": "표현·언어 문제",
}


class UnknownItem(DataError):
    """A generation, pair or review item that is not there, or that belongs to another rater."""


@dataclass(frozen=True, slots=True)
class Generation:
    """One served answer with everything needed to say where it came from.

    Attributes:
        id: the API's completion id.
        conversation: identifier that the page gives to a dialogue; generations of one dialogue share it.
        rater: whose request it was: "key:<key id>", or "local" on an open loopback server.
        wall: the matter that it belongs to; empty for what is behind no wall.
        model: served name, such as "starter-tuned".
        revision: base model id with its revision, or the upstream's address and model name.
        adapter_hash: SHA-256 of the adapter's weights; empty for the base.
        prompt_hash: hash of the rendered prompt (the token ids' text).
        messages: the dialogue up to and with the question, system message included, as rendered.
        answer: the text as sent.
        sampling: temperature, top_p, top_k, repetition_penalty, max_tokens, seed, stop.
        finish_reason: "stop", "length" or "cancelled".
        consent: the user agreed that the dialogue may be used to improve the model; without it nothing is exported.
        seconds: wall time of the generation.
        first_token: seconds to the first token.
        created: when it was asked.
    """

    id: str
    conversation: str
    rater: str
    model: str
    revision: str
    adapter_hash: str
    prompt_hash: str
    messages: Sequence[Message]
    answer: str
    sampling: Mapping[str, Any]
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    consent: bool
    seconds: float
    first_token: float
    created: float
    wall: str = ""


@dataclass(frozen=True, slots=True)
class Rating:
    """A thumb. There is one active rating per rater and generation: a new one takes the old one's place.

    Attributes:
        thumb: 1 up, -1 down, 0 takes the rating back.
        tags: keys of `REASON_TAGS`.
    """

    generation: str
    rater: str
    thumb: Literal[-1, 0, 1]
    tags: tuple[str, ...] = ()
    comment: str = ""
    created: float = 0.0


@dataclass(frozen=True, slots=True)
class Edit:
    """The answer as it should have been ("답변 고치기"); a new edit of the same rater takes the old one's place."""

    generation: str
    rater: str
    text: str
    comment: str = ""
    created: float = 0.0


@dataclass(frozen=True, slots=True)
class BlindPair:
    """Two answers to one question, shown blind: `left` and `right` are generation ids in the order on the screen."""

    id: str
    rater: str
    left: str
    right: str
    created: float


@dataclass(frozen=True, slots=True)
class PairChoice:
    """The rater's pick; a new one takes the old one's place."""

    pair: str
    rater: str
    choice: Choice
    comment: str = ""
    created: float = 0.0


@dataclass(frozen=True, slots=True)
class Grade:
    """A reviewer's grade of anybody's answer, given in the rating workspace; a new one takes the old one's place.

    Attributes:
        grade: 1 (worst) to 4 (best); 0 takes it back; None skips the answer for this reviewer.
    """

    generation: str
    rater: str
    grade: Literal[0, 1, 2, 3, 4] | None
    comment: str = ""
    created: float = 0.0


@dataclass(frozen=True, slots=True)
class Answered:
    """A stored answer on a reviewer's desk.

    Attributes:
        dialogue: all turns up to and with the question, without the system prompt.
        others: other answers to the same dialogue.
        grades: what other reviewers gave.
        own: this reviewer's grade "1"–"4", "skip", or empty.
        rated: anybody has said something of it.
        good: what most of them found; None where they are of two minds or did not say.
    """

    id: str
    question: str
    dialogue: tuple[Message, ...]
    answer: str
    model: str
    created: float
    others: tuple[str, ...] = ()
    grades: tuple[int, ...] = ()
    own: str = ""
    comment: str = ""
    rated: bool = False
    good: bool | None = None


@dataclass(frozen=True, slots=True)
class GradeFact:
    """A grade with what it is about."""

    generation: str
    rater: str
    grade: int
    comment: str
    created: float
    question: str
    answer: str
    model: str


@dataclass(frozen=True, slots=True)
class RaterProgress:
    """What a rater has done: how many of each kind, how many were approved or rejected, how many today (UTC)."""

    ratings: int = 0
    edits: int = 0
    pairs: int = 0
    grades: int = 0
    skipped: int = 0
    approved: int = 0
    rejected: int = 0
    today: int = 0


@dataclass(frozen=True, slots=True)
class ReviewFilter:
    """Which feedback to list; an empty field leaves all.

    Attributes:
        model: served name, on either side of a pair.
        words: text in question, answer, correction or comment.
    """

    kind: str = ""
    model: str = ""
    rater: str = ""
    words: str = ""


@dataclass(frozen=True, slots=True)
class ReviewItem:
    """One row of the review queue: a piece of feedback with what it is about.

    Attributes:
        id: opaque, given back to `review`.
        value: rating: "up" or "down"; edit: the corrected text; pair: the choice; grade: "1" to "4".
        question, answer: last user turn and served answer; a pair's `answer` is the left one, `other` the right one.
        earlier: the turns before the question, without the system prompt.
        model, other_model: served names.
    """

    id: str
    kind: Kind
    state: State
    rater: str
    created: float
    question: str
    answer: str
    model: str
    value: str
    tags: tuple[str, ...] = ()
    comment: str = ""
    other: str = ""
    other_model: str = ""
    reviewer: str = ""
    note: str = ""
    earlier: tuple[Message, ...] = ()


@dataclass(frozen=True, slots=True)
class DayUsage:
    """One UTC day of one served model."""

    day: str
    model: str
    generations: int = 0
    completion_tokens: int = 0
    up: int = 0
    down: int = 0
    edits: int = 0
    wins: int = 0
    losses: int = 0
    ties: int = 0


@dataclass(frozen=True, slots=True)
class ReviewPage:
    """A slice of the review queue, oldest first, and how many items the queue holds in that state."""

    items: list[ReviewItem] = field(default_factory=list)
    total: int = 0


class FeedbackSink(Protocol):
    """Where the server puts what users say; `store.FeedbackStore` tells what each method does.

    Unknown ids raise `UnknownItem`; so does another rater's generation.
    """

    def within(self, wall: str | None) -> "FeedbackSink":
        """The same store for whoever is behind this wall: what is behind another is not there. None sees over all."""

    def save_generation(self, generation: Generation) -> None: ...
    def save_pair(self, pair: BlindPair) -> None: ...
    def rate(self, rating: Rating) -> None: ...
    def edit(self, edit: Edit) -> None: ...
    def choose(self, choice: PairChoice) -> tuple[str, str]: ...
    def grade(self, grade: Grade) -> None: ...
    def answers(self, rater: str, most: int) -> list[Answered]: ...
    def grades(self) -> list[GradeFact]: ...
    def progress(self, rater: str) -> RaterProgress: ...
    def review_queue(
        self, state: State = "open", limit: int = 50, offset: int = 0, only: ReviewFilter = ...
    ) -> ReviewPage: ...
    def review(self, item: str, reviewer: str, state: State, note: str = "", text: str | None = None) -> None: ...
    def usage(self, days: int = 30) -> list[DayUsage]: ...
    def delete_user(self, rater: str) -> int: ...
    def close(self) -> None: ...
