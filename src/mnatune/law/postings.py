"""BM25 over hashed terms: built in chunks into arrays on disk, scored by bm25s over those arrays, memory-mapped.

Terms of a single text, unless it is short, and of more than a twentieth of all texts are left out: they cost half of the
space and time and decide nothing. bm25s could index by itself, but wants every text as a list of Python numbers: 2 GB
for 200,000 articles.
"""

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from ..runs.errors import DataError
from .terms import Hashes, WordTerms

K1, B = 1.2, 0.6
CHUNK = 1_000  # texts at a time
MERGED = 16  # chunks whose terms are merged at once
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
        self._step = np.float32(_step(size))
        self._bm25.scores = {"data": scores, "indices": texts, "indptr": starts, "num_docs": size}

    def scores(self, terms: Hashes) -> Scores:
        """The score of every text for the terms of a question; a term given twice counts twice."""
        known = _known(self._terms, terms)
        if not len(known):
            return np.zeros(self._size, np.float32)
        return np.asarray(self._bm25.get_scores_from_ids(known) * self._step, np.float32)

    @classmethod
    def build(cls, folder: Path, terms: WordTerms, texts: Words) -> Self:
        """Write the arrays of texts given as word numbers, and open them."""
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as aside:
            chunks, lengths = _counted(Path(aside), terms, texts)
            vocabulary, found_in = _vocabulary(chunks, len(texts))
            _write(folder, chunks, vocabulary, found_in, lengths)
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


def _counted(aside: Path, terms: WordTerms, texts: Words) -> tuple[list[Path], npt.NDArray[np.int64]]:
    """Files of (term, text, count), sorted by term, one per chunk; and the number of terms of each text."""
    files = []
    lengths = np.zeros(len(texts), np.int64)
    for start in range(0, len(texts), CHUNK):
        found, owners = terms.of(texts[start : start + CHUNK])
        lengths[start : start + CHUNK] = np.bincount(owners, minlength=len(texts[start : start + CHUNK]))
        distinct, numbers = np.unique(found, return_inverse=True)
        keys, counts = np.unique(numbers.astype(np.int64) * CHUNK + owners, return_counts=True)
        files.append(aside / f"{start}.npz")
        of, text = (keys // CHUNK).astype(np.uint32), (keys % CHUNK + start).astype(np.uint32)
        np.savez(files[-1], terms=distinct, of=of, text=text, count=np.minimum(counts, 255).astype(np.uint8))
    return files, lengths


def _vocabulary(files: list[Path], size: int) -> tuple[Hashes, npt.NDArray[np.int64]]:
    """The terms worth keeping, sorted, and in how many texts each is."""
    vocabulary, found_in = np.zeros(0, np.uint64), np.zeros(0, np.int64)
    waiting: list[tuple[Hashes, npt.NDArray[np.int64]]] = []
    for number, file in enumerate(files, 1):
        with np.load(file) as chunk:
            waiting.append((chunk["terms"], np.bincount(chunk["of"], minlength=len(chunk["terms"]))))
        if len(waiting) == MERGED or number == len(files):
            parts = [(vocabulary, found_in), *waiting]
            vocabulary, numbers = np.unique(np.concatenate([terms for terms, _ in parts]), return_inverse=True)
            found_in = np.bincount(numbers, np.concatenate([counts for _, counts in parts])).astype(np.int64)
            waiting = []
    keep = (found_in > (size >= SMALL)) & (found_in <= max(COMMON * size, SMALL))
    return vocabulary[keep], found_in[keep]


def _write(
    folder: Path,
    files: list[Path],
    vocabulary: Hashes,
    found_in: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int64],
) -> None:
    """Fill the arrays, each term's texts in order, without holding more than a chunk."""
    size, total = len(lengths), int(found_in.sum())
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(found_in)])
    idf = np.log(1 + (size - found_in + 0.5) / (found_in + 0.5))
    norm = K1 * (1 - B + B * lengths / max(1.0, float(lengths.mean()) if size else 1.0))
    np.save(folder / "terms.npy", vocabulary)
    np.save(folder / "starts.npy", starts.astype(np.uint32 if total < 1 << 32 else np.int64))
    if not total:
        np.save(folder / "texts.npy", np.zeros(0, np.uint16))
        np.save(folder / "scores.npy", np.zeros(0, np.uint8))
        return
    texts = np.lib.format.open_memmap(folder / "texts.npy", "w+", np.uint16 if size < 1 << 16 else np.uint32, (total,))
    scores = np.lib.format.open_memmap(folder / "scores.npy", "w+", np.uint8, (total,))
    cursor = starts[:-1].copy()
    for file in files:
        with np.load(file) as chunk:
            distinct, of, text, count = (chunk[part] for part in ("terms", "of", "text", "count"))
        places = np.searchsorted(vocabulary, distinct)
        places[places == len(vocabulary)] = 0
        known = vocabulary[places] == distinct if len(vocabulary) else np.zeros(len(distinct), bool)
        keep = known[of]
        of, text, count = places[of[keep]], text[keep], count[keep].astype(np.float64)
        at = cursor[of] + np.arange(len(of)) - np.searchsorted(of, of)
        texts[at] = text
        scores[at] = np.clip(np.rint(idf[of] * count / (norm[text] + count) / _step(size)), 1, 255)
        cursor += np.bincount(of, minlength=len(cursor))
    texts.flush()
    scores.flush()
