"""The offline judge: a weighted lexicon with false friends, read from the pack's lexicon.yaml.

In question and answer apart, every distinct term counts once, by longest match (흡수합병 does not count 합병 again).
Weights in the question count `question_boost` times. A false friend (한일합병, 합병증) takes the terms it names out of
the row, with a penalty. If a term of the field remains, bonuses for numbers and for length are added.

Does not: understand. It is there to find candidates cheaply and without a network; the LLM judge is the better reader.
"""

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from .normalize import folded, normalize

LEAST_PART = 2  # syllables on either side of a space that a term does not have itself
NUMBER_KINDS = {
    "amount": ("금액", re.compile(r"\d[\d,.]{0,40}+\s?(?:조|억|천만|백만|만|천)?\s?(?:원|달러|유로|엔|위안)")),
    "percent": ("비율", re.compile(r"\d\s?(?:%|％|퍼센트|분의\s?\d)")),
    "article": ("조문 인용", re.compile(r"제\s?\d+조")),
}
NAMED_TERMS = 4  # terms named in a reason; the rest are counted


@dataclass(frozen=True, slots=True)
class _Term:
    name: str
    weight: float
    is_statute: bool
    topic: str


@dataclass(frozen=True, slots=True)
class _FalseFriend:
    pattern: re.Pattern[str]
    cancels: tuple[str, ...]
    penalty: float
    why: str


class Lexicon:
    """A compiled lexicon.

    Args:
        data: the content of lexicon.yaml: terms, statutes, false_friends, numbers, length, question_boost, saturate.
    """

    def __init__(self, data: dict[str, Any]) -> None:
        self._terms: dict[str, _Term] = {}
        forms: dict[str, str] = {}
        for kind, key in (("terms", "term"), ("statutes", "name")):
            for row in data[kind]:
                name = row[key]
                self._terms[name] = _Term(name, row["weight"], kind == "statutes", row.get("group", ""))
                forms.setdefault("".join(folded(name).split()), name)
        self._gaps = {name: set(accumulate(map(len, folded(name).split()))) for name in self._terms}
        self._forms = forms
        self._pattern = re.compile(_alternation(forms))
        self._friends = [
            _FalseFriend(re.compile(f["pattern"]), tuple(f["cancels"]), f["penalty"], f["why"])
            for f in data["false_friends"]
        ]
        self._numbers = {kind: float(data["numbers"].get(kind, 0)) for kind in NUMBER_KINDS}
        self._length = data["length"]
        self._boost = float(data["question_boost"])
        self._saturate = float(data["saturate"])

    def score(self, question: str, answer: str) -> tuple[int, str]:
        """Usefulness for the domain, 0–100, and a Korean reason that names what matched."""
        fields = [("질문", self.found(question), self._boost), ("답변", self.found(answer), 1.0)]
        present = {name for _, names, _ in fields for name in names}
        if not present:
            return 0, "분야 용어가 없음"
        row = unicodedata.normalize("NFKC", normalize(f"{question}\n{answer}"))
        penalty, notes = self._cancel(row, fields, present)
        raw = sum(self._terms[name].weight * boost for _, names, boost in fields for name in names)
        if any(not self._terms[name].is_statute for _, names, _ in fields for name in names):
            bonuses = [(label, self._numbers[kind]) for kind, (label, p) in NUMBER_KINDS.items() if p.search(row)]
            if len(answer) >= self._length["min_chars"]:
                bonuses.append(("길이", self._length["bonus"]))
            raw += sum(bonus for _, bonus in bonuses)
            notes += [f"{label} +{bonus:g}" for label, bonus in bonuses]
        value = round(100 * min(1.0, max(0.0, raw - penalty) / self._saturate))
        return value, " · ".join([self._name(fields), *notes])

    def topic(self, question: str, answer: str) -> str:
        """The topic of the heaviest term, question before answer; empty without any term that has one."""
        for text in (question, answer):
            names = [name for name in self.found(text) if self._terms[name].topic]
            if names:
                return self._terms[max(names, key=lambda name: (self._terms[name].weight, name))].topic
        return ""

    def found(self, text: str) -> set[str]:
        """Distinct terms of a text by longest match.

        Width, case and spaces are those of the term or of the text: 주식매수 청구권, M & A and m&a are found.
        """
        words = folded(text).split()
        bare = "".join(words)
        breaks = [0, *accumulate(map(len, words))]
        seen: set[str] = set()
        at = 0
        while match := self._pattern.search(bare, at):
            start, end = match.span()
            at = end
            name, gaps = self._forms[match[0]], breaks[bisect_right(breaks, start) : bisect_left(breaks, end)]
            if gaps and any(self._splits(name, match[0], start, end, gaps)):
                shorter = self._pattern.match(bare, start, gaps[0])
                at = start + 1
                if shorter is None:
                    continue
                end, at = shorter.end(), shorter.end()
                name = self._forms[shorter[0]]
            if self._stands_alone(name, bare, start, end, breaks):
                seen.add(name)
            else:
                at = start + 1
        return seen

    def _splits(self, name: str, form: str, start: int, end: int, gaps: list[int]) -> Iterator[bool]:
        """For each space within a form, True if the term cannot have it there.

        It can where the term has its own, beside a sign, and between parts of two syllables or more: "이 사회" is not 이사회.
        """
        for before, gap, after in zip([start, *gaps], gaps, [*gaps[1:], end], strict=False):
            signed = not (form[gap - start - 1].isalnum() and form[gap - start].isalnum())
            yield not (signed or gap - start in self._gaps[name] or min(gap - before, after - gap) >= LEAST_PART)

    def _stands_alone(self, name: str, bare: str, start: int, end: int, breaks: list[int]) -> bool:
        """False for a statute's name after a Hangul letter (보상법 is not 상법), and for Latin letters within a word."""
        before = "" if breaks[bisect_left(breaks, start)] == start else bare[start - 1]
        after = "" if breaks[bisect_left(breaks, end)] == end else bare[end]
        if self._terms[name].is_statute and "가" <= before <= "힣":
            return False
        within_word = (before.isascii() and before.isalnum()) or (after.isascii() and after.isalpha())
        return not (bare[start].isascii() and within_word)

    def _cancel(
        self, row: str, fields: list[tuple[str, set[str], float]], present: set[str]
    ) -> tuple[float, list[str]]:
        """Take out what false friends cancel; returns the penalty and what to say about it."""
        penalty, notes = 0.0, []
        for friend in self._friends:
            gone = [name for name in friend.cancels if name in present]
            hit = friend.pattern.search(row) if gone else None
            if hit:
                for _, names, _ in fields:
                    names.difference_update(gone)
                penalty += friend.penalty
                notes.append(f"'{hit.group().strip()}'({friend.why}): {', '.join(gone)} 제외 -{friend.penalty:g}")
        return penalty, notes

    def _name(self, fields: list[tuple[str, set[str], float]]) -> str:
        named = []
        for label, names, _ in fields:
            best = sorted(names, key=lambda name: (-self._terms[name].weight, name))
            if best:
                shown = ", ".join(f"'{n}'({self._terms[n].weight:g})" for n in best[:NAMED_TERMS])
                more = f" 외 {len(best) - NAMED_TERMS}개" if len(best) > NAMED_TERMS else ""
                named.append(f"{label}에 {shown}{more}")
        return ", ".join(named) or "남은 분야 용어가 없음"


def _alternation(words: dict[str, str]) -> str:
    """The words as one pattern, longest first, shaped as a prefix tree: many times faster than a flat one."""
    tree: dict[str, Any] = {}
    for word in words:
        node = tree
        for letter in word:
            node = node.setdefault(letter, {})
        node[""] = {}

    def render(node: dict[str, Any]) -> str:
        parts = [re.escape(letter) + render(node[letter]) for letter in sorted(node) if letter]
        return f"(?:{'|'.join(parts)}){'?' if '' in node else ''}" if parts else ""

    return render(tree)
