"""Near-duplicates of Korean rows: MinHash by Daft, bands of equal hashes, exact check, connected components.

Two questions are answered at once. *Clusters* join rows whose character n-grams resemble each other, whatever their
numbers: a split keeps them together. *Merges* join only rows of a cluster that say the same but for particles, endings,
spacing and punctuation (`text.wording`): all but one of them are dropped. A hash of the numbers and negations puts rows
that may say the same next to each other.

Signatures: 100 MinHash values (Broder 1997) in 20 bands of 5, so that a pair of similarity s shares a band with
probability 1 - (1 - s^5)^20: 0.9996 at 0.8, 0.47 at 0.5. Within a band's bucket a row is compared with the next rows in
order of the next band's hash, not with all: buckets of template rows stay linear.

Does not: find paraphrases that share few characters; merge across languages.
"""

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...text.shingles import LONG, NEGATIONS, NUMBERS, SHORT, SHORT_BELOW, resemblance
from ...text.wording import same_statement

BANDS, WIDTH = 20, 5
HASHES = BANDS * WIDTH
NEIGHBOURS = 3  # rows of a bucket that a row is compared with
SEED = 1
GLOB_SIGNS = re.compile(r"[\\\[\]{}*?]")  # Daft takes every path for a pattern
# Texts up to this length are signed as short ones too, so that a pair on both sides of SHORT_BELOW is found.
SHORT_UPTO = int(SHORT_BELOW * 1.3)
# The estimate from 100 hashes has a standard deviation of 0.04 at 0.8: this far below the limit nothing is lost.
SLACK = 0.16

Rows = npt.NDArray[np.int64]


@dataclass
class Signatures:
    """MinHash values of rows, cut to 16 bits, and the hash of their facts.

    Attributes:
        rows: row numbers, ascending.
        values: rows × 100.
        facts: rows.
    """

    rows: Rows
    values: npt.NDArray[np.uint16]
    facts: npt.NDArray[np.uint64]


def frame(paths: Sequence[Path], *, text: bool = False) -> Any:
    """A Daft frame of (row, facts, is_long, is_short, long, short) and perhaps text, in any order of rows.

    `long` and `short` are the MinHash values as a long and as a short text, where the text is one.
    """
    import daft
    import daft.functions as F
    from daft import col

    parts = [F.list_join(col("history"), "\n"), daft.lit("\n"), col("question"), daft.lit("\n"), col("answer")]
    whole = functools.reduce(F.concat, parts)
    bare = F.replace(F.replace(col("text"), " ", ""), "\n", "")
    spaced = F.strip(F.list_join(F.split(col("bare"), ""), " "))
    size = F.length(col("bare"))

    def signed(wanted: Any, length: int) -> Any:
        chosen = F.when(wanted, col("spaced")).otherwise("")
        return F.minhash(chosen, num_hashes=HASHES, ngram_size=length, seed=SEED, hash_function="xxhash3_64")

    numbers = F.replace(F.list_join(F.regexp_extract_all(col("text"), NUMBERS), "|"), " ", "")
    negations = F.list_join(F.regexp_extract_all(col("text"), NEGATIONS), "|")
    facts = F.hash(F.concat(F.concat(numbers, daft.lit("#")), negations))
    files = [GLOB_SIGNS.sub(r"\\\g<0>", str(path)) for path in paths]
    rows = daft.read_parquet(files).select(col("row"), whole.alias("text"))
    rows = rows.with_column("bare", bare).with_column("spaced", spaced)
    return rows.select(
        col("row"),
        *([col("text")] if text else []),
        facts.alias("facts"),
        (size >= SHORT_BELOW).alias("is_long"),
        (size < SHORT_UPTO).alias("is_short"),
        signed(size >= SHORT_BELOW, LONG).alias("long"),
        signed(size < SHORT_UPTO, SHORT).alias("short"),
    )


def sign(paths: Sequence[Path]) -> tuple[Signatures, Signatures]:
    """The signatures of all rows of the files: of the long texts, and of the short ones (some are in both)."""
    parts: dict[str, list[tuple[Any, Any, Any]]] = {"long": [], "short": []}
    for batch in frame(paths).to_arrow_iter():
        rows = batch.column("row").to_numpy(zero_copy_only=False)
        facts = batch.column("facts").to_numpy(zero_copy_only=False)
        for name, found in parts.items():
            mask = batch.column(f"is_{name}").to_numpy(zero_copy_only=False).astype(bool)
            values = batch.column(name).flatten().to_numpy(zero_copy_only=False).reshape(-1, HASHES)
            found.append((rows[mask], values[mask].astype(np.uint16), facts[mask]))
    return _joined(parts["long"]), _joined(parts["short"])


def _joined(parts: list[tuple[Any, Any, Any]]) -> Signatures:
    rows = np.concatenate([np.zeros(0, np.int64), *(p[0] for p in parts)])
    values = np.concatenate([np.zeros((0, HASHES), np.uint16), *(p[1] for p in parts)])
    facts = np.concatenate([np.zeros(0, np.uint64), *(p[2] for p in parts)])
    if not np.all(rows[1:] > rows[:-1]):
        order = np.argsort(rows, kind="stable")
        rows, values, facts = rows[order], values[order], facts[order]
    return Signatures(rows, values, facts)


def band_keys(values: npt.NDArray[np.uint16], band: int) -> npt.NDArray[np.uint64]:
    """One 64-bit key per row for a band."""
    keys = np.zeros(len(values), np.uint64)
    for column in range(band * WIDTH, (band + 1) * WIDTH):
        keys = (keys ^ values[:, column].astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        keys ^= keys >> np.uint64(29)
    return keys


def next_of(values: npt.NDArray[np.uint16], band: int) -> npt.NDArray[np.uint16]:
    """By what a band's bucket is ordered: the first hash of the next band, so that near rows become neighbours."""
    return values[:, (band + 1) % BANDS * WIDTH]


def neighbours(key: Any, facts: Any, order_by: Any, rows: Any) -> Iterator[tuple[Any, Any]]:
    """Index pairs of rows with the same key that stand close in order, with and without the same facts."""
    for keys in ((rows, order_by, key), (rows, order_by, facts, key)):
        order = np.lexsort(keys)
        sorted_key, sorted_facts = key[order], facts[order]
        for step in range(1, NEIGHBOURS + 1):
            same = sorted_key[step:] == sorted_key[:-step]
            if len(keys) == 4:
                same &= sorted_facts[step:] == sorted_facts[:-step]
            at = np.flatnonzero(same)
            yield order[at], order[at + step]


def candidates(signed: Signatures, limit: float) -> npt.NDArray[np.int64]:
    """Pairs of row numbers (n × 2, first < second) that share a band and whose estimated similarity nears `limit`."""
    found = [np.zeros((0, 2), np.int64)]
    for band in range(BANDS):
        keys = band_keys(signed.values, band)
        order = np.argsort(keys)
        same = keys[order][1:] == keys[order][:-1]
        shared = np.zeros(len(keys), bool)
        shared[1:] |= same
        shared[:-1] |= same
        crowd = np.sort(order[shared])
        rows = signed.rows[crowd]
        for one, other in neighbours(keys[crowd], signed.facts[crowd], next_of(signed.values, band)[crowd], rows):
            near = _estimate(signed.values, crowd[one], crowd[other]) >= limit - SLACK
            pairs = np.stack((rows[one[near]], rows[other[near]]), axis=1)
            found.append(np.sort(pairs, axis=1))
        if len(found) > 40:
            found = [np.unique(np.concatenate(found), axis=0)]
    return np.unique(np.concatenate(found), axis=0)


def _estimate(values: npt.NDArray[np.uint16], one: Rows, other: Rows) -> npt.NDArray[np.float64]:
    result = np.empty(len(one))
    for start in range(0, len(one), 65_536):
        part = slice(start, start + 65_536)
        result[part] = (values[one[part]] == values[other[part]]).mean(axis=1)
    return result


class Components:
    """Connected components of row numbers (union–find with path halving); the smallest row is a component's root."""

    def __init__(self) -> None:
        self._parent: dict[int, int] = {}

    def root(self, row: int) -> int:
        """The smallest row of the row's component."""
        parent = self._parent
        while parent.get(row, row) != row:
            parent[row] = parent.get(parent[row], parent[row])
            row = parent[row]
        return row

    def join(self, one: int, other: int) -> None:
        """Make one component of two."""
        one, other = self.root(one), self.root(other)
        self._parent[max(one, other)] = min(one, other)
        self._parent.setdefault(min(one, other), min(one, other))

    def groups(self) -> dict[int, list[int]]:
        """Root → rows, ascending, of every component of two or more."""
        found: dict[int, list[int]] = {}
        for row in sorted(self._parent):
            found.setdefault(self.root(row), []).append(row)
        return {root: rows for root, rows in found.items() if len(rows) > 1}


def connect(
    pairs: npt.NDArray[np.int64], texts: dict[int, str], facts: dict[int, Any], limit: float
) -> tuple[Components, Components]:
    """Check the pairs exactly; returns the components of similar rows, and of those that say the same."""
    clusters, merges = Components(), Components()
    for one, other in pairs.tolist():
        alike = facts[one] == facts[other]
        if merges.root(one) == merges.root(other) or (not alike and clusters.root(one) == clusters.root(other)):
            continue
        if resemblance(texts[one], texts[other]) >= limit:
            clusters.join(one, other)
            if alike and same_statement(texts[one], texts[other]):
                merges.join(one, other)
    return clusters, merges
