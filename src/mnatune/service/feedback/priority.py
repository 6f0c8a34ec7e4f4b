"""Which answer to rate next: the one whose rating would change most, with the reason in words.

    disagreement   other answers to the same question, by sampling or by the other model, say something else
    citations      the answer cites an article that does not exist, or one that nobody could check
    raters         those who have graded it do not agree, or only one has
    novelty        no question like it has been rated
    topic          its topic's share of the rated questions is below its share of the exam
    trouble        most rated answers of its topic were bad: there is more to correct

Each is 0–1; their weighted sum is an item's worth. Questions are compared by the cosine of their character 3-grams, weighted
by rarity. What is put forward counts as rated for what comes after it, so that a batch does not ask the same thing twice.
`bench/review_order.py` measures what the order saves.

Does not: read what an answer says. A wrong answer without any of these signs waits its turn.
"""

import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...text.shingles import SHORT, resemblance, shingles, spaceless

WEIGHTS = {"novelty": 1.5, "topic": 1.5, "citations": 0.7, "disagreement": 0.7, "raters": 0.6, "trouble": 1.0}
CELLS = 4_096  # of the hashed 3-grams of a question
SAME_TOPIC = 0.12  # cosine from which a question has the topic of the exam item nearest to it
TOLD = 0.35  # a sign as strong as this is given as a reason
SECOND = 0.3  # what a second opinion is worth where there is one grade
GOOD = 3  # the lowest grade of an answer that may be used
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Waiting:
    """An answer that could be rated.

    Attributes:
        others: other answers to the same question.
        verdicts: of its citations: "valid", "invalid", "unresolved".
        grades: 1–4, by those who graded it already.
    """

    id: str
    question: str
    answer: str
    created: float
    others: tuple[str, ...] = ()
    verdicts: tuple[str, ...] = ()
    grades: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class RatedQuestion:
    """A question whose answer was rated, and what was found: good, bad, or not said (a tie)."""

    question: str
    good: bool | None


@dataclass(frozen=True, slots=True)
class WorthRating:
    """An item's place: its worth (a sum of weights), the strongest reasons first, and its topic, if it has one."""

    id: str
    worth: float
    reasons: tuple[str, ...]
    topic: str = ""


@dataclass
class _Signs:
    """What is known of the items, one array per sign, each 0–1; `likeness` is that of questions to each other."""

    fixed: dict[str, Floats]
    nearest: Floats  # highest likeness to a rated question
    likeness: Floats
    topics: list[str]
    share: dict[str, float]  # topic → share of the exam
    rated: Counter[str]  # topic → rated questions
    trouble: dict[str, float]  # topic → how far bad answers outweigh good ones, 0–1

    def of(self, at: int) -> dict[str, float]:
        """All signs of an item now."""
        topic = self.topics[at]
        changing = {"novelty": float(1 - self.nearest[at]), "topic": self._lack(topic)}
        changing["trouble"] = self.trouble.get(topic, 0.0)
        return {name: float(values[at]) for name, values in self.fixed.items()} | changing

    def worths(self) -> Floats:
        """The worth of every item now."""
        by_topic = {
            topic: WEIGHTS["topic"] * self._lack(topic) + WEIGHTS["trouble"] * self.trouble.get(topic, 0.0)
            for topic in set(self.topics)
        }
        total = WEIGHTS["novelty"] * (1 - self.nearest)
        total = total + np.array([by_topic[topic] for topic in self.topics], dtype=np.float32)
        for name, values in self.fixed.items():
            total = total + WEIGHTS[name] * values
        return total.astype(np.float32)

    def take(self, at: int) -> None:
        """Count an item as rated."""
        self.nearest = np.maximum(self.nearest, self.likeness[at])
        if self.topics[at]:
            self.rated[self.topics[at]] += 1

    def _lack(self, topic: str) -> float:
        """How much of its share of the exam a topic lacks among what was rated."""
        share = self.share.get(topic, 0.0)
        if not share:
            return 0.0
        return max(0.0, 1 - self.rated[topic] / max(1, self.rated.total()) / share)


def said_good(kind: str, value: str) -> bool | None:
    """Whether a piece of feedback finds its answer good; None if it does not say."""
    if kind == "grade" and value.isdigit():
        return int(value) >= GOOD
    return {"up": True, "down": False, "edit": False, "both_bad": False}.get("edit" if kind == "edit" else value)


def ranked(
    waiting: Sequence[Waiting],
    rated: Sequence[RatedQuestion],
    exam: Sequence[tuple[str, str]],
    count: int | None = None,
) -> list[WorthRating]:
    """The items most worth a rating, the best first; of equals the one that came first.

    Args:
        rated: the questions whose answers have been rated.
        exam: (topic, question) of every exam item; empty leaves topics out of account.
        count: so many items; None all.
    """
    items = sorted(waiting, key=lambda item: (item.created, item.id))
    if not items:
        return []
    signs = _signs(items, rated, exam)
    free = np.zeros(len(items), dtype=np.float32)
    found = []
    for _ in range(len(items) if count is None else min(count, len(items))):
        worths = signs.worths() + free
        at = int(np.argmax(worths))
        item, topic = items[at], signs.topics[at]
        reasons = _reasons(signs.of(at), item, topic)
        found.append(WorthRating(item.id, round(float(worths[at]), 3), reasons, topic))
        signs.take(at)
        free[at] = -np.inf
    return found


def _signs(items: Sequence[Waiting], rated: Sequence[RatedQuestion], exam: Sequence[tuple[str, str]]) -> _Signs:
    asked = [*(item.question for item in items), *(one.question for one in rated), *(question for _, question in exam)]
    vectors = _vectors(asked)
    own, known, tested = np.split(vectors, [len(items), len(items) + len(rated)])
    names = [topic for topic, _ in exam]
    topics = _topics(known @ tested.T, names)
    return _Signs(
        fixed={
            "disagreement": np.array([_disagreement(item) for item in items], dtype=np.float32),
            "citations": np.array([_citations(item) for item in items], dtype=np.float32),
            "raters": np.array([_raters(item) for item in items], dtype=np.float32),
        },
        nearest=(own @ known.T).max(axis=1, initial=0.0).astype(np.float32),
        likeness=own @ own.T,
        topics=_topics(own @ tested.T, names),
        share={topic: number / len(names) for topic, number in Counter(names).items()},
        rated=Counter(filter(None, topics)),
        trouble=_trouble([(topic, one.good) for topic, one in zip(topics, rated, strict=True)]),
    )


def _vectors(texts: Sequence[str]) -> Floats:
    """A row of length 1 per text: its character 3-grams, hashed, each weighted by how few texts hold it."""
    table = np.zeros((len(texts), CELLS), dtype=np.float32)
    for row, text in zip(table, texts, strict=True):
        row[[zlib.crc32(piece.encode()) % CELLS for piece in shingles(spaceless(text), SHORT)]] = 1
    table *= np.log((1 + len(texts)) / (1 + (table > 0).sum(axis=0))) + 1e-3
    lengths = np.linalg.norm(table, axis=1, keepdims=True)
    found: Floats = table / np.maximum(lengths, 1e-9)
    return found


def _topics(likeness: Floats, names: Sequence[str]) -> list[str]:
    """The topic of the exam item nearest to each question; empty where none is near."""
    if not names:
        return [""] * len(likeness)
    best = likeness.argmax(axis=1)
    return [names[at] if row[at] >= SAME_TOPIC else "" for row, at in zip(likeness, best, strict=True)]


def _trouble(found: Sequence[tuple[str, bool | None]]) -> dict[str, float]:
    """Topic → twice the share of bad answers less one, by Laplace's rule of succession; 0 where good ones prevail."""
    told = Counter((topic, good) for topic, good in found if topic and good is not None)
    topics = {topic for topic, _ in told}
    share = {topic: (told[topic, False] + 1) / (told[topic, False] + told[topic, True] + 2) for topic in topics}
    return {topic: max(0.0, 2 * bad - 1) for topic, bad in share.items()}


def _disagreement(item: Waiting) -> float:
    return 1 - sum(resemblance(item.answer, other) for other in item.others) / len(item.others) if item.others else 0.0


def _citations(item: Waiting) -> float:
    return 1.0 if "invalid" in item.verdicts else 0.5 if "unresolved" in item.verdicts else 0.0


def _raters(item: Waiting) -> float:
    if len(item.grades) < 2:
        return SECOND * len(item.grades)
    return 1.0 if min(item.grades) < GOOD <= max(item.grades) else 0.0


def _reasons(own: dict[str, float], item: Waiting, topic: str) -> tuple[str, ...]:
    words = {
        "disagreement": "같은 질문의 다른 답변과 다름",
        "citations": "없는 조문을 인용" if own["citations"] == 1 else "확인할 수 없는 조문을 인용",
        "raters": "평가자 의견이 갈림" if len(item.grades) > 1 else "두 번째 의견이 필요함",
        "novelty": "평가한 적 없는 종류의 질문",
        "trouble": f"낮은 평가가 많은 주제: {topic}",
        "topic": f"시험 비중에 비해 평가가 적은 주제: {topic}",
    }
    least = {"raters": SECOND, "novelty": 0.6}
    strong = [name for name in WEIGHTS if own[name] >= least.get(name, TOLD)]
    order = sorted(strong, key=lambda name: -WEIGHTS[name] * own[name])
    return tuple(words[name] for name in order) or ("먼저 들어온 순서",)
