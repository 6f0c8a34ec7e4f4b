"""The parts of a document: blocks of Markdown, each with its place; and the error for files that have none."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Kind = Literal["heading", "paragraph", "table", "note"]


class Unreadable(Exception):
    """A file is skipped; the message is the reason that the manifest counts."""


class Spot(NamedTuple):
    """Where a block stands.

    Attributes:
        unit: 쪽, 슬라이드, 문단, 줄, or the name of a sheet.
        cells: the range of a sheet, such as A3:F20; empty elsewhere.
    """

    unit: str
    first: int
    last: int
    cells: str = ""

    def until(self, other: "Spot") -> "Spot":
        """The range from this place to the other."""
        if self.unit != other.unit:
            return self
        cells = f"{self.cells.split(':')[0]}:{other.cells.split(':')[-1]}" if self.cells else ""
        return self._replace(last=max(self.last, other.last), cells=cells)

    def __str__(self) -> str:
        if self.cells:
            return f"{self.unit}!{self.cells}"
        span = f"{self.first}" if self.first == self.last else f"{self.first}–{self.last}"
        return f"슬라이드 {span}" if self.unit == "슬라이드" else f"{span}{self.unit}"


@dataclass(frozen=True, slots=True)
class Block:
    """A heading, a paragraph, a table or a note.

    Attributes:
        level: of a heading, from 1.
        rows: of a table, its cells; merged ones repeated.
    """

    kind: Kind
    text: str
    spot: Spot
    level: int = 0
    rows: tuple[tuple[str, ...], ...] = ()


@dataclass
class Reading:
    """What a reader found in a file.

    Attributes:
        running: headers and footers, kept apart from the text.
        repeated: copies made by writing out merged cells.
        left_out: what the text omits or adds, such as comments or automatic numbers, and how often.
        flags: remarks for every record of the file.
    """

    title: str = ""
    pages: int = 0
    blocks: list[Block] = field(default_factory=list)
    running: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    flags: list[str] = field(default_factory=list)

    def add(self, kind: Kind, text: str, spot: Spot, level: int = 0) -> None:
        """Append a block; empty text is ignored."""
        text = text.strip()
        if text:
            self.blocks.append(Block(kind, text, spot, level))

    def add_table(self, rows: list[list[str]], spot: Spot) -> None:
        """Append a table; a single cell, as text boxes often are, becomes a paragraph."""
        rows = [[" ".join(cell.split()) for cell in row] for row in rows]
        rows = [row for row in rows if any(row)]
        wide = max(map(len, rows), default=0)
        if wide > 1 or len(rows) > 1:
            cells = tuple(tuple(row + [""] * (wide - len(row))) for row in rows)
            self.blocks.append(Block("table", markdown_table(cells), spot, rows=cells))
        elif rows:
            self.add("paragraph", rows[0][0], spot)


def markdown_table(rows: tuple[tuple[str, ...], ...]) -> str:
    """The rows as a Markdown table; the first is the header."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def repeat_merged(rows: list[list[str]], spans: list[tuple[int, int, int, int]]) -> list[str]:
    """Copy each merged cell, given as (row, column, rows, columns), into the cells it covers; returns the copies."""
    added = []
    for top, left, height, width in spans:
        if top >= len(rows) or left >= len(rows[top]):
            continue
        text = rows[top][left]
        for row in rows[top : top + height]:
            for column in range(left, min(left + width, len(row))):
                if not row[column] and text:
                    row[column] = text
                    added.append(text)
    return added
