"""Checking an exam: can it be guessed, does a training row state it, and does it ask for the facts to be applied?

Does not: tell whether a key is right, or how hard an item is.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator

from ..law.citations import CitationChecker
from ..text.letters import LETTERS
from ..text.shingles import shingles, spaceless
from .data import PackData
from .exam_items import ChoiceItem, OpenBookItem

SIGMAS = 3  # how far a blind strategy may stray from chance before the exam counts as unbalanced
FOLDS = 5
GRAMS = (2, 3)  # characters per piece for the classifier that sees the choices only
TOLD_GRAM = 3
TOLD = 0.25  # share of a key's 3-grams in two sentences from which they state it (the first edition, read to ask what rows state, fails)
NUMBER = re.compile(r"\d[\d,.]*")
SENTENCE = re.compile(r"(?<=[다오까])\.\s+|\n+")


def balance(data: PackData) -> tuple[str, list[str]]:
    """Blind strategies must not beat chance: one letter, one rank of length, or striking out choices by their words."""
    items = [item for _, item in data.choice]
    if not items:
        return "no items", []
    gains: dict[str, float] = {f"always {letter}": sum(i.answer == letter for i in items) for letter in LETTERS}
    for rank, label in enumerate(("longest", "second longest", "second shortest", "shortest")):
        gains[f"always the {label} choice"] = round(sum(share_at(item, rank) for item in items), 1)
    words = data.facts.giveaways if data.facts else {}
    for label, listed in words.items():
        gains[f"a choice without {label}"] = round(sum(_share_without(item, listed) for item in items), 1)
    low, high = _bounds(len(items))
    failures = [
        f"exam/choice.jsonl: {name} is right {n:g} times of {len(items)}, outside {low:.0f}-{high:.0f}"
        for name, n in gains.items()
        if not low <= n <= high
    ]
    numbers = list(gains.values())
    told = f"letters {_slashed(numbers[:4])}, by length {_slashed(numbers[4:8])}"
    struck = f", striking out {'/'.join(words)} {_slashed(numbers[8:])}" if words else ""
    return f"{told}{struck} (chance {len(items) / 4:.0f})", failures


def choices_alone(data: PackData) -> tuple[str, list[str]]:
    """A classifier that sees the choices and not the question must stay near chance.

    Naive Bayes on character n-grams, cross-validated by item.
    """
    items = [item for _, item in data.choice]
    if not items:
        return "no items", []
    right = sum(_guessed(items, fold) for fold in range(FOLDS))
    low, high = _bounds(len(items))
    share = f"{100 * right / len(items):.1f} %, {low:.0f}-{high:.0f}"
    facts = f"{right:g} of {len(items)} right by the choices alone ({share})"
    if low <= right <= high:
        return facts, []
    return facts, [f"exam/choice.jsonl: a classifier that never sees the question gets {facts}"]


def unstated(data: PackData) -> tuple[str, list[str]]:
    """At least half of the choice items must ask what no training row states.

    A row states an item if it cites all articles that decide it, and two neighbouring sentences of its answer hold the
    numbers of the right choice and enough of the wording of the key.
    """
    checker = CitationChecker(data.pack)
    rows = [(place, _cited(checker, f"{row.answer} {row.source}"), _windows(row.answer)) for place, row in data.qa]
    stated = []
    for _, item in data.choice:
        articles, numbers = _cited(checker, item.article), set(NUMBER.findall(item.right))
        key = _pieces(item.right + item.explanation)
        for place, cited, windows in rows:
            near = (numbers <= held and len(key & text) >= TOLD * len(key) for held, text in windows)
            if articles <= cited and any(near):
                stated.append(f"{item.id} by {place}")
                break
    total = len(data.choice)
    failures = []
    if 2 * len(stated) > total:
        failures = [f"exam/choice.jsonl: training rows state {len(stated)} of {total} items: {', '.join(stated)}"]
    return f"{total - len(stated)} of {total} choice items ask what no row states", failures


def application(data: PackData) -> tuple[str, list[str]]:
    """At least half of an essay's points must be for applying the law to its facts."""
    failures, won, total = [], 0, 0
    for place, item in data.essay:
        points = sum(line.points for line in item.rubric)
        applied = sum(line.points for line in item.rubric if line.applies)
        won, total = won + applied, total + points
        if 2 * applied < points:
            failures.append(f"{place}: {item.id} gives {applied} of {points} points for applying the law to the facts")
    return (f"{won} of {total} points for application" if total else "no items"), failures


def open_book(data: PackData) -> tuple[str, list[str]]:
    """`articles` must name statute articles in force, among them each that `article` cites."""
    checker = CitationChecker(data.pack)
    failures, named = [], 0
    items: list[tuple[str, OpenBookItem]] = [*data.choice, *data.essay]
    for _, item in items:
        listed = {cited for text in item.articles for cited in _cited(checker, text)}
        named += bool(listed)
        unknown = [text for text in item.articles if not _cited(checker, text)]
        failures += [f"{item.id}: {text!r} is no article in force" for text in unknown]
        missing = _cited(checker, item.article) - listed
        failures += [f"{item.id}: articles lacks {law} {article}" for law, article in sorted(missing)]
    return f"{named} of {len(items)} choice and essay items name their articles", failures


def share_at(item: ChoiceItem, rank: int) -> float:
    """Chance that the right choice is picked by one who takes the `rank`-th longest and tosses for ties."""
    lengths = [len(choice) for choice in item.choices]
    wanted = sorted(lengths, reverse=True)[rank]
    return 1 / lengths.count(wanted) if len(item.right) == wanted else 0.0


def _share_without(item: ChoiceItem, words: list[str]) -> float:
    """Chance of one who strikes out the choices that hold one of the words, and tosses among the rest."""
    left = [choice for choice in item.choices if not any(word in choice for word in words)] or item.choices
    return 1 / len(left) if item.right in left else 0.0


def _guessed(items: list[ChoiceItem], fold: int) -> float:
    counts: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
    for at, item in enumerate(items):
        if at % FOLDS != fold:
            for choice in item.choices:
                counts[choice == item.right].update(_grams(choice))
    known = len(counts[True] | counts[False])
    totals = {side: counts[side].total() + known for side in counts}
    right = 0.0
    for item in items[fold::FOLDS]:
        scores = []
        for choice in item.choices:
            odds = [
                math.log((counts[True][g] + 1) / totals[True]) - math.log((counts[False][g] + 1) / totals[False])
                for g in _grams(choice)
            ]
            scores.append(sum(odds) / max(1, len(odds)))
        best = max(scores)
        right += scores.count(best) ** -1 if scores[item.choices.index(item.right)] == best else 0
    return right


def _grams(text: str) -> Iterator[str]:
    plain = spaceless(text)
    for size in GRAMS:
        yield from (plain[at : at + size] for at in range(len(plain) - size + 1))


def _bounds(items: int) -> tuple[float, float]:
    spread = SIGMAS * math.sqrt(items * 0.25 * 0.75)
    return items / 4 - spread, items / 4 + spread


def _cited(checker: CitationChecker, text: str) -> set[tuple[str, str]]:
    return {(cited.law, cited.article) for cited in checker.find(text) if cited.verdict == "valid" and cited.in_force}


def _pieces(text: str) -> set[str]:
    return shingles(spaceless(text), TOLD_GRAM)


def _windows(answer: str) -> list[tuple[set[str], set[str]]]:
    """(numbers, pieces) of each two neighbouring sentences or lines."""
    parts = [part for part in SENTENCE.split(answer) if part.strip()]
    pairs = [first + second for first, second in zip(parts, [*parts[1:], ""], strict=True)]
    return [(set(NUMBER.findall(pair)), _pieces(pair)) for pair in pairs]


def _slashed(numbers: Iterable[float]) -> str:
    return "/".join(f"{n:.0f}" for n in numbers)
