"""Made questions that are near-duplicates of a question that was read, or of an earlier made one."""

from collections import Counter, defaultdict
from collections.abc import Iterable

from ...text.shingles import SHORT, facts_of, shingles, spaceless

SIMILAR = 0.8  # Jaccard of character 3-grams


class SeenQuestions:
    """Finds near-duplicates among a few made questions, however many are read past them."""

    def __init__(self, questions: list[str]) -> None:
        self._sets = [shingles(spaceless(question), SHORT) for question in questions]
        self._facts = [facts_of(question) for question in questions]
        self._index: dict[str, list[int]] = defaultdict(list)
        for number, pieces in enumerate(self._sets):
            for piece in pieces:
                self._index[piece].append(number)

    def repeated_in(self, read: Iterable[str]) -> set[int]:
        """Numbers of the made questions that a read question repeats; equal but for a number is no repetition."""
        gone: set[int] = set()
        for question in read:
            gone |= {number for number in self._like(question) if number not in gone}
        return gone

    def repeated_within(self, order: list[str]) -> set[int]:
        """Numbers of those that repeat an earlier one that stays."""
        gone: set[int] = set()
        for number, question in enumerate(order):
            if any(other < number and other not in gone for other in self._like(question)):
                gone.add(number)
        return gone

    def _like(self, question: str) -> list[int]:
        pieces = shingles(spaceless(question), SHORT)
        shared = Counter(number for piece in pieces for number in self._index.get(piece, ()))
        near = [n for n, c in shared.items() if c >= SIMILAR * (len(pieces) + len(self._sets[n]) - c)]
        if not near:
            return []
        facts = facts_of(question)
        return [number for number in near if self._facts[number] == facts]
