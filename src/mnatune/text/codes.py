"""Many texts as one array of code points, so that a property of every text is one pass of numpy.

With a million short texts, a Python-level look at each costs more than the work on the few that need it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Codes:
    """Texts end to end.

    Attributes:
        points: code points of all texts.
        starts, ends: where each text begins and ends in `points`.
    """

    points: npt.NDArray[np.uint32]
    starts: Ints
    ends: Ints

    @classmethod
    def of(cls, texts: Sequence[str]) -> Self:
        """The texts' code points."""
        points = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32)
        ends = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)))
        return cls(points, np.concatenate(([0], ends[:-1])).astype(np.int64), ends)

    @property
    def lengths(self) -> Ints:
        """Characters of each text."""
        return self.ends - self.starts

    def sums(self, values: npt.NDArray[np.generic]) -> Ints:
        """The sum over each text of one value per code point."""
        running = np.zeros(len(values) + 1, np.int64)
        np.cumsum(values, out=running[1:])
        return running[np.minimum(self.ends, len(values))] - running[np.minimum(self.starts, len(values))]

    def look_up(self, table: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """A table's entry for every code point; beyond the table's end its last entry counts."""
        found: npt.NDArray[np.uint8] = table[np.minimum(self.points, len(table) - 1)]
        return found

    def without(self, table: npt.NDArray[np.uint8]) -> "Codes":
        """The texts without the code points whose table entry is not zero."""
        stay = self.look_up(table) == 0
        ends = np.cumsum(self.sums(stay))
        return Codes(self.points[stay], np.concatenate(([0], ends[:-1])).astype(np.int64), ends)

    def pieces(self, length: int) -> tuple[npt.NDArray[np.uint64], Bools]:
        """A hash of the `length` code points from each position on, and whether they lie within one text."""
        count = len(self.points) - length + 1
        if count <= 0:
            return np.zeros(0, np.uint64), np.zeros(0, bool)
        hashes = self.points.astype(np.uint64)
        have, powers = 1, MULTIPLIER
        while have < length:  # hash of 2n code points = hash of n · m^n + hash of the next n
            step = min(have, length - have)
            hashes = hashes[: len(hashes) - step] * _power(powers, step) + hashes[step:]
            have += step
        hashes ^= hashes >> np.uint64(32)
        hashes *= MULTIPLIER
        whole = np.ones(count, bool)
        for end in range(1, length):  # positions less than `length` before a text's end
            at = self.ends - end
            whole[at[(at >= 0) & (at < count)]] = False
        short = self.lengths < length
        for start, end in zip(self.starts[short], self.ends[short], strict=True):
            whole[start:end] = False
        return hashes[:count], whole


def _power(base: np.uint64, exponent: int) -> np.uint64:
    return np.uint64(pow(int(base), exponent, 1 << 64))
