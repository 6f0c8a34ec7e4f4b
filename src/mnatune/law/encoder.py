"""A dual encoder: how near a question is to an article, whatever words they share.

Each term has a vector for where a question has it and another for where an article has it. A text's vector is the sum of
its terms' vectors, rare terms weighing more, scaled to length 1; question and article are as near as the product of theirs.
The vectors are learnt from the pack's questions by article (`train_encoder`): the training of DPR (Karpukhin et al. 2020) with
bags of terms in place of a language model, as in StarSpace (Wu et al. 2018), so that a search needs no model to be loaded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from ..runs.errors import DataError
from .terms import Hashes, WordTerms

Vectors = npt.NDArray[np.float32]  # (texts, width), each of length 1 or 0
Words = Sequence[npt.NDArray[np.int32]]

FOLDER, ARTICLES = "encoder", "article_vectors.npy"
LONGEST = 250  # words of an article that count
CHUNK = 60  # articles at a time
INT8 = 127


@dataclass(frozen=True, slots=True)
class Encoder:
    """The vectors of terms.

    Attributes:
        terms: sorted.
        weights: how much each counts.
        asking, telling: (terms, width), where a question has a term and where an article has it; whole numbers from -127 to
            127, of any scale.
        shares: what an article's text and the questions about it give to its vector.
    """

    terms: Hashes
    weights: npt.NDArray[np.float32]
    asking: npt.NDArray[np.int8]
    telling: npt.NDArray[np.int8]
    shares: npt.NDArray[np.float32]

    @classmethod
    def open(cls, folder: Path) -> Self:
        """The encoder of a folder.

        Raises:
            DataError: it is damaged.
        """
        try:
            made = cls(*(np.load(folder / f"{name}.npy", "r", allow_pickle=False) for name in cls.__slots__))
            if not len(made.terms) == len(made.weights) == len(made.asking) == len(made.telling):
                raise ValueError("its parts do not fit")
        except (OSError, ValueError, EOFError) as error:
            raise DataError(
                f"the search index is damaged: {error}", where=str(folder), next_step="mnatune law build"
            ) from None
        return made

    def save(self, folder: Path) -> None:
        """Write the arrays."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in self.__slots__:
            np.save(folder / f"{name}.npy", getattr(self, name))

    def nearness(self, terms: Hashes, articles: npt.NDArray[np.int8]) -> npt.NDArray[np.float32]:
        """How near a question is to articles, -1 to 1 each, by its terms and their vectors."""
        question = self._sums(self.asking, terms, np.zeros(len(terms), np.int32), 1)[0]
        near: npt.NDArray[np.float32] = articles @ question / np.float32(INT8)
        return near

    def of_articles(self, words: WordTerms, texts: Words, asked: Words) -> npt.NDArray[np.int8]:
        """The vectors of articles as whole numbers, shape (articles, width): their length is 127.

        Args:
            texts: name, title and text of each, as word numbers.
            asked: what is asked about each.
        """
        made = np.zeros((len(texts), self.asking.shape[1]), np.int8)
        for start in range(0, len(texts), CHUNK):
            part = slice(start, start + CHUNK)
            told = self._sums(self.telling, *words.of([text[:LONGEST] for text in texts[part]]), len(texts[part]))
            people = self._sums(self.asking, *words.of(asked[part]), len(texts[part]))
            both = _unit(self.shares[0] * told + self.shares[1] * people)
            made[part] = np.rint(both * INT8)
        return made

    def _sums(self, table: npt.NDArray[np.int8], terms: Hashes, owners: npt.NDArray[np.int32], count: int) -> Vectors:
        """The sum of the vectors of each text's terms, of length 1."""
        at = np.minimum(np.searchsorted(self.terms, terms), len(self.terms) - 1)
        known = self.terms[at] == terms
        used, columns = np.unique(at[known], return_inverse=True)
        cells = owners[known].astype(np.int64) * len(used) + columns
        counts = np.bincount(cells, self.weights[at[known]], count * len(used)).reshape(count, len(used))
        return _unit(counts.astype(np.float32) @ table[used].astype(np.float32))


def _unit(rows: Vectors) -> Vectors:
    """Rows of length 1; those of zeros stay."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    made: Vectors = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    return made
