"""Finds tables by their ruling lines: the grid that they span, and the slots that form one merged cell."""

from dataclasses import dataclass
from typing import NamedTuple

NEAR = 3.0  # points within which two coordinates are one


class Box(NamedTuple):
    """A rectangle, or a horizontal or vertical stroke, in points; in pdfium's order."""

    left: float
    bottom: float
    right: float
    top: float

    def holds(self, other: "Box") -> bool:
        """True if the centre of the other lies inside."""
        x, y = (other.left + other.right) / 2, (other.bottom + other.top) / 2
        return self.left <= x <= self.right and self.bottom <= y <= self.top

    def around(self, other: "Box") -> "Box":
        """The smallest rectangle around both."""
        left, bottom = min(self.left, other.left), min(self.bottom, other.bottom)
        return Box(left, bottom, max(self.right, other.right), max(self.top, other.top))

    @property
    def flat(self) -> bool:
        """True if horizontal."""
        return self.right - self.left >= self.top - self.bottom

    def touches(self, other: "Box") -> bool:
        """True if the two meet within `NEAR`."""
        return (
            self.left - NEAR <= other.right
            and other.left - NEAR <= self.right
            and self.bottom - NEAR <= other.top
            and other.bottom - NEAR <= self.top
        )


@dataclass(frozen=True)
class RuledTable:
    """A table: its box, and for every slot of the grid, from the top row down, the box of its cell."""

    box: Box
    cells: list[list[Box]]


def tables_of(rulings: list[Box]) -> list[RuledTable]:
    """The tables that the strokes draw; a single frame is not a table."""
    found = []
    for group in _connected(rulings):
        flat = [r for r in group if r.flat]
        upright = [r for r in group if not r.flat]
        xs = _distinct([(r.left + r.right) / 2 for r in upright])
        ys = _distinct([(r.bottom + r.top) / 2 for r in flat])[::-1]
        if len(xs) >= 2 and len(ys) >= 2 and (len(xs) - 1) * (len(ys) - 1) >= 2:
            found.append(RuledTable(Box(xs[0], ys[-1], xs[-1], ys[0]), _cells(xs, ys, flat, upright)))
    return found


def _connected(rulings: list[Box]) -> list[list[Box]]:
    """Groups of strokes that touch, by a sweep from the top of the page."""
    groups: list[list[Box]] = []
    floors: list[Box] = []  # the bounds of each group
    for ruling in sorted(set(rulings), key=lambda r: -r.top):
        joined = [n for n, bounds in enumerate(floors) if bounds.touches(ruling)]
        group, bounds = [ruling], ruling
        for n in reversed(joined):
            group += groups.pop(n)
            bounds = bounds.around(floors.pop(n))
        groups.append(group)
        floors.append(bounds)
    return groups


def _distinct(values: list[float]) -> list[float]:
    found: list[float] = []
    for value in sorted(values):
        if not found or value - found[-1] > NEAR:
            found.append(value)
    return found


def _cells(xs: list[float], ys: list[float], flat: list[Box], upright: list[Box]) -> list[list[Box]]:
    """The cell box of every slot; slots without a stroke between them form one cell."""
    rows, columns = len(ys) - 1, len(xs) - 1
    owner = list(range(rows * columns))

    def root(n: int) -> int:
        while owner[n] != n:
            n = owner[n]
        return n

    for r in range(rows):
        for c in range(columns):
            x, y = (xs[c] + xs[c + 1]) / 2, (ys[r] + ys[r + 1]) / 2
            if c + 1 < columns and not any(
                abs((u.left + u.right) / 2 - xs[c + 1]) <= NEAR and u.bottom - NEAR <= y <= u.top + NEAR
                for u in upright
            ):
                owner[root(r * columns + c + 1)] = root(r * columns + c)
            if r + 1 < rows and not any(
                abs((f.bottom + f.top) / 2 - ys[r + 1]) <= NEAR and f.left - NEAR <= x <= f.right + NEAR for f in flat
            ):
                owner[root((r + 1) * columns + c)] = root(r * columns + c)
    boxes: dict[int, Box] = {}
    for n in range(rows * columns):
        r, c = divmod(n, columns)
        box = Box(xs[c], ys[r + 1], xs[c + 1], ys[r])
        boxes[root(n)] = boxes[root(n)].around(box) if root(n) in boxes else box
    return [[boxes[root(r * columns + c)] for c in range(columns)] for r in range(rows)]
