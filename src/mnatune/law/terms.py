"""Search terms of Korean text: morphemes, pairs of neighbouring morphemes and character bigrams, as 64-bit hashes.

Words are analysed by kiwipiepy one by one, out of context, and each distinct word once: slower analysis of whole
sentences found no more, and 200,000 articles share most of their words.
"""

import hashlib
import os
import re
from array import array
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]

WORD = re.compile(r"[가-힣]+|[A-Za-z]+|\d+")
CONTENT = ("NNG", "NNP", "VV", "VA", "XR", "SL", "SH", "XPN", "XSN", "MAG")
LONGEST = 40  # characters of a word that are analysed
AT_ONCE = 10_000  # words given to the analyser
PAIR = np.uint64(0x9E3779B97F4A7C15)


class WordTerms:
    """Analyses words and remembers them, so that a text becomes an array of terms without a loop over its words."""

    def __init__(self) -> None:
        self._numbers = _WordNumbers()
        self._grams = _Rows()
        self._morphemes = _Rows()

    def numbers(self, text: str) -> npt.NDArray[np.int32]:
        """The words of a text as numbers, which `of` turns into terms."""
        return np.array(list(map(self._numbers.__getitem__, WORD.findall(text))), np.int32)

    def of(self, texts: Sequence[npt.NDArray[np.int32]]) -> tuple[Hashes, npt.NDArray[np.int32]]:
        """(terms, the text that each is of) of texts given as word numbers."""
        self._analyse()
        words = np.concatenate(texts) if texts else np.zeros(0, np.int32)
        owners = np.repeat(np.arange(len(texts), dtype=np.int32), [len(text) for text in texts])
        grams, gram_words = self._grams.of(words)
        morphemes, morpheme_words = self._morphemes.of(words)
        of_gram, of_morpheme = owners[gram_words], owners[morpheme_words]
        together = of_morpheme[1:] == of_morpheme[:-1]
        pairs = (morphemes[:-1] * PAIR ^ morphemes[1:])[together]
        return np.concatenate([grams, morphemes, pairs]), np.concatenate(
            [of_gram, of_morpheme, of_morpheme[1:][together]]
        )

    def query(self, text: str) -> Hashes:
        """The terms of one text."""
        return self.of([self.numbers(text)])[0]

    def _analyse(self) -> None:
        """Take apart the words that are new."""
        waiting, self._numbers.waiting = self._numbers.waiting, []
        for start in range(0, len(waiting), AT_ONCE):
            words = waiting[start : start + AT_ONCE]
            hangul = [word for word in words if "가" <= word[0] <= "힣"]
            forms = dict(zip(hangul, _morphemes(hangul), strict=True))
            for word in words:
                pieces = [word[at : at + 2] for at in range(len(word) - 1)] if word in forms else []
                self._grams.add([_hash(piece) for piece in pieces])
                self._morphemes.add([_hash(f"m{form}") for form in forms.get(word, (word,))])


class _WordNumbers(dict[str, int]):
    """Word → number; forms that differ in case, or behind the longest length, have one number."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[str] = []
        self._count = 0

    def __missing__(self, word: str) -> int:
        plain = word[:LONGEST].lower()
        if plain != word:
            self[word] = self[plain]
        else:
            self[word] = self._count
            self._count += 1
            self.waiting.append(word)
        return self[word]


class _Rows:
    """Rows of hashes of unequal length, appended to one by one and read many at a time."""

    def __init__(self) -> None:
        self._values = array("Q")
        self._ends = array("q", [0])
        self._arrays: tuple[Hashes, Places] | None = None

    def add(self, row: Iterable[int]) -> None:
        self._values.extend(row)
        self._ends.append(len(self._values))
        self._arrays = None

    def of(self, rows: npt.NDArray[np.int32]) -> tuple[Hashes, Places]:
        """(values of the rows in order, the position in `rows` that each is of)."""
        if self._arrays is None:
            self._arrays = np.array(self._values, np.uint64), np.array(self._ends, np.int64)
        values, ends = self._arrays
        starts, lengths = ends[rows], ends[rows + 1] - ends[rows]
        owners = np.repeat(np.arange(len(rows)), lengths)
        first = np.repeat(np.cumsum(lengths) - lengths, lengths)
        return values[starts[owners] + np.arange(len(owners)) - first], owners


def _hash(term: str) -> int:
    return int.from_bytes(hashlib.blake2b(term.encode(), digest_size=8).digest(), "little")


def _morphemes(words: list[str]) -> list[tuple[str, ...]]:
    """Content morphemes of each word."""
    analysed = _kiwi().tokenize(words) if words else []
    return [tuple(token.form for token in tokens if token.tag.startswith(CONTENT)) for tokens in analysed]


@cache
def _kiwi() -> Any:
    from kiwipiepy import Kiwi

    # without its dictionaries of names and compounds, which take a third of the time to load: pairs of morphemes find compounds
    return Kiwi(num_workers=min(2, os.cpu_count() or 1), load_default_dict=False, load_multi_dict=False)
