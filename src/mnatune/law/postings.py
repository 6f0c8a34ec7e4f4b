"""BM25 over hashed terms: built on disk, chunk by chunk, and scored by bm25s over memory-mapped arrays.

Terms of a single text, unless there are few texts, and of more than a twentieth of all texts are left out: they cost half
of the space and time and decide nothing. bm25s could index by itself, but wants every text as a list of Python numbers:
2 GB for 200,000 articles.
"""

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from ..runs.errors import DataError
from .terms import Hashes, WordTerms

K1, B = 1.2, 0.6
CHUNK = 1_024  # texts at a time
IN_CHUNK = np.uint64(CHUNK - 1)  # low bits of a term, in which its text is noted; 54 tell 10 million terms apart
RANGES = 32  # parts of the terms, put in order one after the other
COMMON = 0.05  # share of the texts from which on a term is left out
SMALL = 500  # texts below which nothing is left out
PARTS = ("terms", "starts", "texts", "scores")

Scores = npt.NDArray[np.float32]
Words = Sequence[npt.NDArray[np.int32]]


class Postings:
    """For each term, the texts that contain it and its share of their scores."""

    def __init__(self, folder: Path, size: int) -> None:
        import bm25s

        try:
            self._terms, starts, texts, scores = (
                np.load(folder / f"{part}.npy", mmap_mode="r", allow_pickle=False) for part in PARTS
            )
        except (OSError, ValueError, EOFError) as error:
            raise DataError(
                f"the search index is damaged: {error}", where=str(folder), next_step="mnatune law build"
            ) from None
        if (
            len(starts) != len(self._terms) + 1
            or len(texts) != len(scores)
            or (len(starts) and starts[-1] != len(texts))
        ):
            raise DataError("the search index is damaged", where=str(folder), next_step="mnatune law build")
        self._size = size
        self._bm25 = bm25s.BM25()
        self._bm25.nonoccurrence_array = None
        self._step = _step(size)
        self._bm25.scores = {"data": scores, "indices": texts, "indptr": starts, "num_docs": size}

    def scores(self, terms: Hashes) -> Scores:
        """The score of every text for the terms of a question; a term given n times counts √n."""
        scores = np.zeros(self._size, np.float32)
        known, counts = np.unique(_known(self._terms, terms & ~IN_CHUNK), return_counts=True)
        for count in np.unique(counts):
            scores += np.float32(self._step * count**0.5) * self._bm25.get_scores_from_ids(known[counts == count])
        return scores

    @classmethod
    def build(cls, folder: Path, terms: WordTerms, texts: Words, b: float = B) -> Self:
        """Write the arrays of texts given as word numbers, and open them.

        Args:
            b: how much a long text is held against its terms, from 0 to 1.
        """
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as aside:
            chunks, lengths = _counted(Path(aside), terms, texts)
            parts = [_scored(_in_order(chunks, number), lengths, b) for number in range(RANGES)]
        for name in ("terms", "texts", "scores"):
            np.save(folder / f"{name}.npy", np.concatenate([getattr(part, name) for part in parts]))
        starts = np.cumsum(np.concatenate([[0], *(part.found_in for part in parts)]))
        np.save(folder / "starts.npy", starts.astype(np.uint32 if starts[-1] < 1 << 32 else np.int64))
        return cls(folder, len(texts))


def _step(size: int) -> float:
    """What a stored score of 1 stands for: scores are kept in a byte, and none exceeds the idf of a term of one text."""
    return math.log(1 + size) / 255 if size else 1.0


def _known(vocabulary: Hashes, terms: Hashes) -> npt.NDArray[np.int64]:
    """Places of terms in the sorted vocabulary; those that are not in it left out."""
    if not len(vocabulary):
        return np.zeros(0, np.int64)
    places: npt.NDArray[np.int64] = np.minimum(np.searchsorted(vocabulary, terms), len(vocabulary) - 1)
    return np.asarray(places[vocabulary[places] == terms])


class Chunk(NamedTuple):
    """Terms and counts of some texts on disk, by term and then by text; and where each range of terms begins."""

    first_text: int
    keys: Path
    counts: Path
    bounds: npt.NDArray[np.int64]


class Occurrences(NamedTuple):
    """Which term is in which text, and how often."""

    terms: Hashes
    texts: npt.NDArray[np.uint32]
    counts: npt.NDArray[np.uint8]


def _counted(aside: Path, terms: WordTerms, texts: Words) -> tuple[list[Chunk], npt.NDArray[np.int64]]:
    """The chunks, and the number of terms of each text."""
    chunks = []
    lengths = np.zeros(len(texts), np.int64)
    limits = np.arange(1, RANGES, dtype=np.uint64) << np.uint64(64 - RANGES.bit_length() + 1)
    for start in range(0, len(texts), CHUNK):
        found, owners = terms.of(texts[start : start + CHUNK])
        lengths[start : start + CHUNK] = np.bincount(owners, minlength=len(texts[start : start + CHUNK]))
        keys = np.sort(found & ~IN_CHUNK | owners.astype(np.uint64))
        first = _starts_of_runs(keys)
        counts = np.minimum(np.diff(first, append=len(keys)), 255).astype(np.uint8)
        keys = keys[first]
        bounds = np.concatenate([[0], np.searchsorted(keys, limits), [len(keys)]])
        chunks.append(Chunk(start, aside / f"{start}.keys", aside / f"{start}.counts", bounds))
        keys.tofile(chunks[-1].keys)
        counts.tofile(chunks[-1].counts)
    return chunks, lengths


def _in_order(chunks: list[Chunk], number: int) -> Occurrences:
    """One range of the terms of all texts, by term and then by text."""
    found = [Occurrences(np.zeros(0, np.uint64), np.zeros(0, np.uint32), np.zeros(0, np.uint8))]
    for chunk in chunks:
        start, count = int(chunk.bounds[number]), int(chunk.bounds[number + 1] - chunk.bounds[number])
        keys = np.fromfile(chunk.keys, np.uint64, count, offset=8 * start)
        texts = (keys & IN_CHUNK).astype(np.uint32) + np.uint32(chunk.first_text)
        found.append(Occurrences(keys & ~IN_CHUNK, texts, np.fromfile(chunk.counts, np.uint8, count, offset=start)))
    together = Occurrences(*(np.concatenate(arrays) for arrays in zip(*found, strict=True)))
    order = np.argsort(together.terms, kind="stable")
    return Occurrences(together.terms[order], together.texts[order], together.counts[order])


class Kept(NamedTuple):
    """Terms, in how many texts each is, these texts and their scores."""

    terms: Hashes
    found_in: npt.NDArray[np.int64]
    texts: npt.NDArray[np.uint16 | np.uint32]
    scores: npt.NDArray[np.uint8]


def _scored(found: Occurrences, lengths: npt.NDArray[np.int64], b: float) -> Kept:
    """The terms worth keeping, with their scores."""
    size = len(lengths)
    first = _starts_of_runs(found.terms)
    found_in = np.diff(first, append=len(found.terms))
    keep = (found_in > (size >= SMALL)) & (found_in <= max(COMMON * size, SMALL))
    kept = np.repeat(keep, found_in)
    vocabulary, found_in = found.terms[first[keep]], found_in[keep]
    texts, counts = found.texts[kept], found.counts[kept].astype(np.float64)
    idf = np.repeat(np.log(1 + (size - found_in + 0.5) / (found_in + 0.5)), found_in)
    norm = K1 * (1 - b + b * lengths / max(1.0, float(lengths.mean()) if size else 1.0))
    scores = np.clip(np.rint(idf * counts / (norm[texts] + counts) / _step(size)), 1, 255)
    narrow = texts.astype(np.uint16) if size < 1 << 16 else texts
    return Kept(vocabulary, found_in, narrow, scores.astype(np.uint8))


def _starts_of_runs(ordered: Hashes) -> npt.NDArray[np.int64]:
    """Where each run of equal values begins."""
    return np.flatnonzero(np.concatenate([np.ones(min(1, len(ordered)), bool), ordered[1:] != ordered[:-1]]))
