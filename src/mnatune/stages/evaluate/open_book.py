"""Questions asked with articles, as serving asks them: does the search find what is needed, and do answers rest on it?

The right articles of a held-out question are those that its reference answer cites. The search may not use the pack's
own held-out questions. Each model is asked three ways: without articles, with those that the search finds, and with
those that it finds apart from the right ones, where it should say that it cannot tell. Articles are cut as short as a
model's context needs, as in serving; what exceeds it even so is left out.

Does not: ask with the right articles put in by hand; an answer can only be as good as the search.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...law import Hit, LawIndex
from ...law.evidence_search import PASSAGES, articles_for, asked_day
from ...law.support import CheckedCitation, check_citations
from ...model.engine.protocol import Answer
from ...model.evidence_prompt import PASSAGE_LENGTHS, EvidenceWords, NumberedPassage
from ...runs.job import Job
from ...text.abstention import abstains
from .answers import Question
from .backends import AskedSide
from .examine import Examined
from .items import HeldOut, plain_questions
from .measures import Pair, Yardstick
from .statistics import Estimate, compare_paired

DEPTH = 10  # places of the search that are looked at
HITS = (1, 5, 10)
Name = tuple[str, str]  # law, "522의3"


@dataclass(frozen=True)
class OpenQuestion:
    """A held-out question with what the search found for it.

    Attributes:
        gold: the articles that the reference answer cites.
        rank: place of the first of them among the hits, from 0; None if it is not among the first `DEPTH`.
        found, others: the articles to ask with; `others` without those of `gold`.
    """

    item: HeldOut
    day: str
    gold: frozenset[Name]
    rank: int | None
    found: tuple[Hit, ...]
    others: tuple[Hit, ...]


@dataclass
class OpenBook:
    """The open-book part of an evaluation; without questions there is none."""

    memory: LawIndex
    words: EvidenceWords
    questions: list[OpenQuestion]
    hidden: list[str]
    """Questions that the memory may not use."""
    texts: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)
    """By item, model and way of asking ("found", "missing"): the answer."""
    no_room: dict[str, int] = field(default_factory=dict)
    """By model: answers that were not asked for, because the articles had no room, however short."""

    @classmethod
    def prepared(cls, job: Job, items: Sequence[HeldOut]) -> "OpenBook | None":
        """Look everything up; None unless the recipe composes rows with evidence."""
        if not job.recipe.compose.evidence:
            return None
        memory = LawIndex.open(job.pack.path("law"))
        hidden = plain_questions(job)
        found = [_looked_up(memory, item, hidden) for item in job.track(items, "finding evidence")]
        return cls(memory, EvidenceWords.of(job.pack.prompts), [one for one in found if one], hidden)

    def ask(self, job: Job, name: str, side: AskedSide, examined: Examined, yardstick: Yardstick) -> None:
        """Ask one model, and add what its answers measure to its pairs."""
        questions = [one for one in self.questions if one.item.id in examined.answers]
        found = self._answers(job, name, side, questions, "found")
        missing = self._answers(job, name, side, questions, "missing")
        for one in questions:
            at = one.item.id
            pairs = _cited(self._checked(one, examined.answers[at].text), one.gold, "closed")
            if at in found:
                pairs |= _cited(self._checked(one, found[at].text), one.gold, "evidence")
                if one.rank is not None and one.rank < PASSAGES:
                    pairs["needless_abstention"] = (float(abstains(found[at].text, yardstick.words["refusals"])), 1.0)
            if at in missing:
                pairs["abstention"] = (float(abstains(missing[at].text, yardstick.words["refusals"])), 1.0)
            examined.pairs[at] |= pairs
            for way, answers in (("found", found), ("missing", missing)):
                if at in answers:
                    self.texts.setdefault(at, {}).setdefault(name, {})[way] = answers[at].text

    def search_table(self, seed: int) -> dict[str, Any]:
        """Hit@k and the mean reciprocal rank over the questions: {value, low, high, n} each, shares from 0 to 1."""
        groups = [one.item.group for one in self.questions]
        columns = {f"hit@{k}": [float(one.rank is not None and one.rank < k) for one in self.questions] for k in HITS}
        columns["mrr"] = [0.0 if one.rank is None else 1 / (one.rank + 1) for one in self.questions]
        return {name: _estimate(values, groups, seed, binary=name != "mrr") for name, values in columns.items()}

    def rows(self) -> list[dict[str, Any]]:
        """Lines of open_book.jsonl."""
        return [
            {
                "id": one.item.id,
                "question": one.item.question,
                "day": one.day,
                "right": [" ".join(name) for name in sorted(one.gold)],
                "rank": one.rank,
                "found": [f"{hit.law} {hit.article}" for hit in one.found],
                "others": [f"{hit.law} {hit.article}" for hit in one.others],
                **self.texts.get(one.item.id, {}),
            }
            for one in self.questions
        ]

    def facts(self, seed: int) -> dict[str, Any]:
        """For metrics.json."""
        if not self.questions:
            return {"questions": 0}
        return {"questions": len(self.questions), "as_of": self.memory.as_of, "search": self.search_table(seed)}

    def _answers(
        self, job: Job, name: str, side: AskedSide, questions: Sequence[OpenQuestion], way: str
    ) -> dict[str, Answer]:
        """Answers by item to questions with as much of the articles as the context takes."""
        given: dict[str, Answer] = {}
        for longest in PASSAGE_LENGTHS:
            asks = []
            for one in questions:
                hits = one.found if way == "found" else one.others
                passages = [NumberedPassage.of(hit, one.day) for hit in hits]
                messages = self.words.dialogue(one.item.messages, passages, longest)
                if one.item.id not in given and hits and side.fits(job, messages):
                    asks.append(Question(one.item.id, messages))
            if asks:
                given |= side.answers(job, asks, f"{way}-{longest}", quoting=True)
        self.no_room[name] = self.no_room.get(name, 0) + len(questions) - len(given)
        return given

    def _checked(self, one: OpenQuestion, text: str) -> list[CheckedCitation]:
        return check_citations(self.memory, text, day=one.day, question=one.item.question, hidden=self.hidden)


def _looked_up(memory: LawIndex, item: HeldOut, hidden: Sequence[str]) -> OpenQuestion | None:
    """The question with its hits; None if its reference answer cites no article in force on the day."""
    asked = [message["content"] for message in item.messages if message["role"] == "user"]
    day = asked_day(asked, memory.as_of).day
    cited = memory.checker.on(day).find(item.reference)
    gold = frozenset((one.law, one.article) for one in cited if one.verdict == "valid" and one.in_force)
    if not gold:
        return None
    hits = articles_for(memory, [*asked[:-1], item.question], day, top=max(DEPTH, PASSAGES + len(gold)), hidden=hidden)
    rank = next((at for at, hit in enumerate(hits[:DEPTH]) if (hit.law, hit.article) in gold), None)
    others = [hit for hit in hits if (hit.law, hit.article) not in gold]
    return OpenQuestion(item, day, gold, rank, tuple(hits[:PASSAGES]), tuple(others[:PASSAGES]))


def _cited(checked: Sequence[CheckedCitation], gold: frozenset[Name], prefix: str) -> dict[str, Pair]:
    """Precision, recall and F1 of the cited articles, the share that their text supports, and the share that is none."""
    given = {(one.law, one.article) for one in checked if one.law}
    right = float(len(given & gold))
    decided = [one for one in checked if one.verdict != "unresolved" and not one.denied]
    told = [one for one in checked if one.support != "unchecked"]
    wrong = sum(one.fault in ("missing", "not_in_force") for one in decided)
    return {
        f"{prefix}_precision": (right, float(len(given))),
        f"{prefix}_recall": (right, float(len(gold))),
        f"{prefix}_f1": (2 * right / (len(given) + len(gold)), 1.0),
        f"{prefix}_support": (float(sum(one.support == "supported" for one in told)), float(len(told))),
        f"{prefix}_false": (float(wrong), float(len(decided))),
    }


def _estimate(values: Sequence[float], groups: Sequence[str], seed: int, *, binary: bool) -> dict[str, Any]:
    """A mean with its interval, items of one document together."""
    pairs = np.array([(value, 1.0) for value in values])
    found: Estimate = compare_paired(pairs, pairs, groups, binary=binary, seed=seed).base
    low, high = (None if end is None else round(end, 4) for end in (found.low, found.high))
    return {"value": round(found.value, 4), "low": low, "high": high, "n": found.n}
