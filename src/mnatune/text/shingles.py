"""Similarity of Korean texts by characters: n-grams without spaces, a guard for facts, and overlap with exam items.

Korean particles and endings change words but few characters, so character n-grams find near-duplicates that word n-grams miss.
Measure: Broder, "On the resemblance and containment of documents", 1997.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from ..records import content_id

LONG, SHORT = 5, 3  # characters of a shingle in long and in short texts
SHORT_BELOW = 80  # characters without spaces below which a text is short
# What makes two texts different facts however alike they are: every number with its unit, and every negation.
GUARD = r"\d+(?:[.,]\d+)* ?[십백천만억조%]*|없|않|아니"
_GUARD = re.compile(GUARD)


def spaceless(text: str) -> str:
    """The text in NFC without white space."""
    return "".join(unicodedata.normalize("NFC", text).split())


def shingle_length(shorter: int) -> int:
    """Characters per shingle for two texts of which the shorter has this many characters without spaces."""
    return SHORT if shorter < SHORT_BELOW else LONG


def shingles(text: str, length: int) -> set[str]:
    """The set of all pieces of `length` characters; a shorter text is its own only piece."""
    return {text[i : i + length] for i in range(max(1, len(text) - length + 1))}


def resemblance(one: str, other: str) -> float:
    """Jaccard similarity of two texts' shingles, 0–1."""
    one, other = spaceless(one), spaceless(other)
    length = shingle_length(min(len(one), len(other)))
    first, second = shingles(one, length), shingles(other, length)
    return len(first & second) / len(first | second)


def facts_of(text: str) -> list[str]:
    """The numbers with their units and the negations of a text, in order: texts that differ here are never merged."""
    return [fact.replace(" ", "") for fact in _GUARD.findall(text)]


class ExamOverlap:
    """Exam items by their character n-grams, to find training rows that give an item away.

    A row overlaps an item when it holds at least `share` of the n-grams of the item's question.

    Args:
        questions: the items' question texts.
        length: characters per n-gram.
        share: 0–1.
    """

    BITS = 22

    def __init__(self, questions: Sequence[str], *, length: int = 8, share: float = 0.5) -> None:
        self._length = length
        self._share = share
        self._items: list[set[str]] = []
        self._where: dict[str, list[int]] = defaultdict(list)
        self._table = np.zeros(1 << self.BITS, bool)
        for number, question in enumerate(questions):
            pieces = shingles(spaceless(question), length)
            self._items.append(pieces)
            for piece in pieces:
                self._where[piece].append(number)
        whole = [piece for piece in self._where if len(piece) == length]
        if whole:
            self._table[self._slots(_codes("".join(whole)))[::length]] = True

    def overlaps(self, text: str) -> float:
        """The largest share of any item's n-grams that the text holds."""
        if not self._items:
            return 0.0
        hits: Counter[int] = Counter()
        for piece in shingles(spaceless(text), self._length):
            hits.update(self._where.get(piece, ()))
        return max((count / len(self._items[number]) for number, count in hits.items()), default=0.0)

    def find(self, texts: Sequence[str]) -> list[int]:
        """Positions of the texts that give an item away."""
        if not self._items:
            return []
        bare = ["".join(text.split()) for text in texts]
        codes = _codes("".join(bare))
        if len(codes) < self._length:
            return []
        ends = np.cumsum([len(text) for text in bare])
        running = np.concatenate(([0], np.cumsum(self._table[self._slots(codes)])))
        last = len(running) - 1
        starts = np.minimum(np.concatenate(([0], ends[:-1])), last)
        stops = np.minimum(np.maximum(ends - self._length + 1, starts), last)
        hits = running[stops] - running[starts]
        least = max(1, int(self._share * min(len(pieces) for pieces in self._items)))
        return [int(row) for row in np.flatnonzero(hits >= least) if self.overlaps(texts[row]) >= self._share]

    def _slots(self, codes: npt.NDArray[np.uint32]) -> npt.NDArray[np.int64]:
        """The table slot of the n-gram that begins at each position."""
        count = len(codes) - self._length + 1
        hashes = np.zeros(count, np.uint64)
        for offset in range(self._length):
            hashes = (hashes + codes[offset : offset + count]) * np.uint64(0x9E3779B97F4A7C15)
        return (hashes >> np.uint64(64 - self.BITS)).astype(np.int64)


def exam_questions(items: Iterable[dict[str, object]]) -> list[str]:
    """The question texts of exam items of any form."""
    return [str(item[key]) for item in items for key in ("question",) if item.get(key)]


def row_key(text: str) -> str:
    """Identity of a text whatever its spacing."""
    return content_id(spaceless(text))


def _codes(text: str) -> npt.NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
