"""Similarity of Korean texts by characters: n-grams without spaces, a guard for facts, and overlap with exam items.

Korean particles and endings change words but few characters, so character n-grams find what word n-grams miss.
Measure: Broder, "On the resemblance and containment of documents", 1997.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt

from .codes import Codes

LONG, SHORT = 5, 3  # characters of a shingle in long and in short texts
SHORT_BELOW = 80  # characters without spaces below which a text is short
# What makes two texts different facts however alike they are: every number with its unit, and every negation. (Not \d,
# which in Rust's expressions is twenty times slower.)
NUMBERS = r"[0-9０-９]+(?:[.,][0-9０-９]+)* ?[십백천만억조%]*"
NEGATIONS = r"없|않|아니"
_NUMBERS, _NEGATIONS = re.compile(NUMBERS), re.compile(NEGATIONS)


def spaceless(text: str) -> str:
    """The text in NFC without white space."""
    return "".join(unicodedata.normalize("NFC", text).split())


def shingles(text: str, length: int) -> set[str]:
    """The set of all pieces of `length` characters; a shorter text is its own only piece."""
    return {text[i : i + length] for i in range(max(1, len(text) - length + 1))}


def resemblance(one: str, other: str) -> float:
    """Jaccard similarity of two texts' shingles, 0–1."""
    one, other = spaceless(one), spaceless(other)
    length = SHORT if min(len(one), len(other)) < SHORT_BELOW else LONG
    first, second = shingles(one, length), shingles(other, length)
    return len(first & second) / len(first | second)


def facts_of(text: str) -> tuple[list[str], list[str]]:
    """The numbers with their units, and the negations of a text, in order: texts that differ here are never merged."""
    return [number.replace(" ", "") for number in _NUMBERS.findall(text)], _NEGATIONS.findall(text)


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
        hashes, whole = Codes.of([piece for piece in self._where if len(piece) == length]).pieces(length)
        self._table[self._slots(hashes[whole])] = True

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
        codes = Codes.of(texts).without(_blank())
        hashes, whole = codes.pieces(self._length)
        hits = codes.sums(whole & self._table[self._slots(hashes)])
        least = max(1, int(self._share * min(len(pieces) for pieces in self._items)))
        return [int(row) for row in np.flatnonzero(hits >= least) if self.overlaps(texts[int(row)]) >= self._share]

    def _slots(self, hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        return (hashes >> np.uint64(64 - self.BITS)).astype(np.int64)


@cache
def _blank() -> npt.NDArray[np.uint8]:
    """1 for every white space of the Basic Multilingual Plane."""
    return np.array([chr(code).isspace() for code in range(0x10000)] + [False], np.uint8)
