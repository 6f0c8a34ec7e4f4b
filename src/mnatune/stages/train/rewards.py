"""Rewards that code can verify, each from 0 to 1, and the tricks that are paid nothing.

A model that is paid for what can be measured learns to be measured. So an answer that plays a trick (`trick_of`) gets 0 for
everything, and a reward that could be had by saying nothing asks for what the reference has.

Does not: tell whether a sentence is right. It tells whether what can be checked in it holds.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from ...law import LawIndex
from ...law.fact_date import fact_date
from ...law.support import SENTENCE_END, CheckedCitation, check_citations
from ...pack import Pack
from ...text import language
from ...text.abstention import abstains
from ...text.letters import read_letter
from ...text.values import Value, shared, unsupported, values
from .asked_rows import AskedQuestion
from .judged_reward import REWARD, RubricJudge

Trick = Literal["", "empty", "stuffing", "copying", "hedging", "looping"]
TRICKS: tuple[Trick, ...] = ("empty", "stuffing", "copying", "hedging", "looping")
SHORTEST = 10  # letters of an answer that says anything
GRAM = 12  # characters without spaces by which a copy is found: longer than any term or article's name
COPIED = 0.8  # share of an answer's grams that stand in the question or its passages
SPARE_CITATIONS = 2  # that an answer may have beyond twice the reference's
HEDGED = 0.5  # share of sentences that commit to nothing
BAND = (0.5, 2.0)  # of the reference's length: full pay
FADE = (0.2, 4.0)  # no pay
CITATION_PARTS = ("citation_exists", "citation_supported", "citation_shown")  # what takes a law memory


@dataclass(frozen=True, slots=True)
class DrawnAnswer:
    """An answer of the model.

    Attributes:
        text: without special tokens.
        stopped: the model ended its turn by itself.
    """

    text: str
    stopped: bool


@dataclass(frozen=True, slots=True)
class Marks:
    """What an answer earned: reward → 0 to 1, or None where the question has nothing to verify; and its trick."""

    parts: Mapping[str, float | None]
    trick: Trick

    def total(self, weights: Mapping[str, float]) -> float:
        """Weighted mean of what could be verified, 0 to 1."""
        known = [(weights[name], mark) for name, mark in self.parts.items() if mark is not None and weights.get(name)]
        weight = sum(w for w, _ in known)
        return sum(w * mark for w, mark in known) / weight if weight else 0.0


@dataclass(frozen=True, slots=True)
class _Held:
    """An answer held against its question: what the rewards look at.

    Attributes:
        cited, model: citations of the answer and of the reference.
        wanted: the articles that the reference cites and that exist.
        refusals: the pack's patterns of an answer that says that it cannot tell.
    """

    question: AskedQuestion
    answer: DrawnAnswer
    cited: list[CheckedCitation]
    model: list[CheckedCitation]
    refusals: Sequence[str]

    @property
    def wanted(self) -> set[tuple[str, str]]:
        return {(c.law, c.article) for c in self.model if c.verdict == "valid"}


class Rewarder:
    """Marks answers by a pack's law memory and its words, and by a judge if there is one."""

    def __init__(self, pack: Pack, judge: RubricJudge | None = None) -> None:
        self._pack, self._judge = pack, judge
        words: dict[str, Any] = pack.yaml("evaluate.yaml") if (pack.root / "evaluate.yaml").is_file() else {}
        self._refusals: list[str] = words.get("refusals", [])
        self._hedges = [re.compile(pattern) for pattern in (*words.get("hedges", []), *self._refusals)]
        # citations of references, by all that they are checked with: ids are whatever the rows say
        self._model: dict[tuple[str, str, str, bool], list[CheckedCitation]] = {}

    @cached_property
    def memory(self) -> LawIndex | None:
        """The pack's law memory; None without one, and citations are then not rewarded."""
        return LawIndex.open(self._pack.root) if (self._pack.root / "law" / "law.json").is_file() else None

    def mark_all(self, questions: Sequence[AskedQuestion], answers: Sequence[DrawnAnswer]) -> list[Marks]:
        """All rewards of every answer; the judge is asked about all that play no trick at once."""
        marks = [self.mark(*pair) for pair in zip(questions, answers, strict=True)]
        if self._judge:
            honest = [at for at, found in enumerate(marks) if not found.trick]
            judged = dict.fromkeys(range(len(marks)), 0.0) | dict(
                zip(honest, self._judge.marks([(questions[at], answers[at].text) for at in honest]), strict=True)
            )
            told = _filled(judged, [id(question) for question in questions])
            marks = [Marks({**found.parts, REWARD: told[at]}, found.trick) for at, found in enumerate(marks)]
        return marks

    def mark(self, question: AskedQuestion, answer: DrawnAnswer) -> Marks:
        """The rewards of an answer that code can verify; a trick makes them 0."""
        key = (question.reference, question.asked, question.day, question.evidence is None)
        if key not in self._model:
            self._model[key] = self._cited(question, question.reference)
        held = _Held(question, answer, self._cited(question, answer.text), self._model[key], self._refusals)
        trick = self.trick_of(held)
        parts = {name: part(held) for name, part in PARTS.items()}
        if self.memory is None:
            parts |= dict.fromkeys(CITATION_PARTS)
        return Marks({name: mark and (0.0 if trick else mark) for name, mark in parts.items()}, trick)

    def trick_of(self, held: _Held) -> Trick:
        """The trick that an answer plays; empty if it plays none. What the reference does itself is no trick."""
        text, question = held.answer.text, held.question
        shortest = min(SHORTEST, len(language.HANGUL.findall(question.reference)))
        if len(language.HANGUL.findall(text)) < max(1, shortest):
            return "" if question.letter and read_letter(text) else "empty"
        distinct, own = ({(c.law, c.article) for c in cited} for cited in (held.cited, held.model))
        if (
            len(distinct) > 2 * len(own) + SPARE_CITATIONS
            or len(held.cited) > 2 * len(held.model) + 2 * SPARE_CITATIONS
        ):
            return "stuffing"
        if language.is_repetitive(text) and not language.is_repetitive(question.reference):
            return "looping"
        source = _grams(question.asked)
        if copied(text, source) > max(COPIED, copied(question.reference, source)):
            return "copying"
        if self._hedged(text) >= HEDGED and self._hedged(question.reference) < HEDGED:
            return "hedging"
        return ""

    def _hedged(self, text: str) -> float:
        """Share of the sentences that commit to nothing."""
        bare = ["".join(part.split()) for part in SENTENCE_END.split(text) if part.strip()]
        return sum(any(p.search(one) for p in self._hedges) for one in bare) / len(bare) if bare else 0.0

    def _cited(self, question: AskedQuestion, text: str) -> list[CheckedCitation]:
        if self.memory is None:
            return []
        today = self.memory.today
        dated = fact_date(question.asked, today) if question.evidence is None else None
        day = question.day or (dated.day if dated else today)
        return check_citations(self.memory, text, day=day, question=question.asked)


def _filled(judged: Mapping[int, float | None], groups: Sequence[int]) -> list[float | None]:
    """An answer that the judge gave no usable reply about gets the mean of its question's others: TRL would count it as 0."""
    known: dict[int, list[float]] = {}
    for at, mark in judged.items():
        if mark is not None:
            known.setdefault(groups[at], []).append(mark)
    means = {group: sum(marks) / len(marks) for group, marks in known.items()}
    return [means.get(groups[at]) if judged[at] is None else judged[at] for at in range(len(groups))]


def copied(text: str, source: frozenset[str]) -> float:
    """Share of a text that stands in a source word for word, by runs of 12 characters."""
    grams = _grams(text)
    return len(grams & source) / len(grams) if grams else 0.0


def citation_exists(held: _Held) -> float:
    """Share of the citations that exist and are in force; none earns nothing where the reference cites, else everything.

    A citation that cannot be decided, of a law outside the memory, earns nothing: else it would be the way out.
    """
    if not held.cited:
        return 0.0 if held.wanted else 1.0
    return sum(c.verdict == "valid" and c.fault != "not_in_force" for c in held.cited) / len(held.cited)


def citation_supported(held: _Held) -> float | None:
    """F1 of the articles cited, those that their sentence contradicts not counted, against the reference's.

    Where the reference cites nothing there is nothing to verify.
    """
    if not held.wanted:
        return None
    given = {(c.law, c.article) for c in held.cited}
    right = {(c.law, c.article) for c in held.cited if not c.fault} & held.wanted
    return 2 * len(right) / (len(given) + len(held.wanted))


def citation_shown(held: _Held) -> float | None:
    """Share of the citations that stand in the evidence; none earns nothing where the reference cites, else everything.

    It pays a name copied from the passages before the right one is chosen: of a model that does not yet read, most answers
    to a question earn the same nothing for the right one. Without evidence there is nothing to verify.
    """
    evidence = held.question.evidence
    if evidence is None:
        return None
    if not held.cited:
        return 0.0 if held.wanted else 1.0
    return sum(f"{c.law} {c.article}" in evidence for c in held.cited) / len(held.cited)


def abstention(held: _Held) -> float | None:
    """The answer begins by saying that it cannot tell if the reference does, and only then.

    Else nothing would speak for saying so where the passages lack the right article: a citation of one of them earns there
    as much as none. Without evidence there is nothing to verify.
    """
    if held.question.evidence is None or not held.refusals:
        return None
    return float(abstains(held.answer.text, held.refusals) == abstains(held.question.reference, held.refusals))


def values_grounded(held: _Held) -> float:
    """Numbers and dates: F1 against the reference's; where it has none, the share that question or passages have."""
    given, wanted = (_figures(values(text)) for text in (held.answer.text, held.question.reference))
    if wanted:
        return 2 * shared(given, wanted) / (len(given) + len(wanted))
    foreign = _figures(unsupported(held.answer.text, held.question.asked))
    return 1 - len(foreign) / len(given) if given else 1.0


def letter(held: _Held) -> float | None:
    """The right choice, where the question has choices."""
    return float(read_letter(held.answer.text) == held.question.letter) if held.question.letter else None


def ends(held: _Held) -> float:
    """The model ended its turn by itself, with a whole sentence."""
    return float(held.answer.stopped and not language.is_truncated(held.answer.text))


def korean(held: _Held) -> float:
    """Korean only: no Chinese, no kana, no think marks; then the share of Hangul among the letters."""
    text = held.answer.text
    if language.chinese_leaks(text) or language.kana(text) or language.leaks_thinking(text):
        return 0.0
    return language.hangul_ratio(text) or 0.0


def length(held: _Held) -> float:
    """Full pay from half to twice the reference's length, none below a fifth and above four times, linear between."""
    ratio = len(held.answer.text) / max(1, len(held.question.reference))
    (least, most), (none, far) = BAND, FADE
    low, high = (ratio - none) / (least - none), (far - ratio) / (far - most)
    return max(0.0, min(1.0, low, high))


def polite(held: _Held) -> float:
    """Share of sentences in 합니다체; half of it where registers are mixed, nothing without a sentence."""
    style = language.register(held.answer.text)
    share = style.formal / style.sentences if style.sentences else 0.0
    return share / 2 if style.mixed else share


PARTS: dict[str, Callable[[_Held], float | None]] = {
    "citation_exists": citation_exists,
    "citation_supported": citation_supported,
    "citation_shown": citation_shown,
    "abstention": abstention,
    "values_grounded": values_grounded,
    "letter": letter,
    "ends": ends,
    "korean": korean,
    "length": length,
    "polite": polite,
}


def _figures(found: Sequence[Value]) -> list[Value]:
    return [value for value in found if value.kind != "article"]  # articles are checked as citations


def _grams(text: str) -> frozenset[str]:
    bare = "".join(text.split())
    return frozenset(bare[at : at + GRAM] for at in range(len(bare) - GRAM + 1))
