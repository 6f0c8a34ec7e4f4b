"""A deal document as a description: headings, paragraphs, tables and footnotes, so that its words and cells are known."""

import random
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, field

WORD = re.compile(r"[0-9A-Za-z가-힣]+")


@dataclass
class Grid:
    """A table; `merged` are (row, column, rows, columns), the text standing in their first cell."""

    rows: list[list[str]]
    merged: list[tuple[int, int, int, int]] = field(default_factory=list)

    def filled(self) -> list[list[str]]:
        """The rows with the text of merged cells repeated."""
        rows = [list(row) for row in self.rows]
        for row, column, height, width in self.merged:
            for r in range(row, row + height):
                for c in range(column, column + width):
                    rows[r][c] = self.rows[row][column]
        return rows

    def span(self, row: int, column: int) -> tuple[int, int] | None:
        """Rows and columns of the cell; None for one that another covers."""
        for r, c, height, width in self.merged:
            if (r, c) == (row, column):
                return height, width
            if r <= row < r + height and c <= column < c + width:
                return None
        return 1, 1


@dataclass
class Part:
    """A heading with its paragraphs, tables and footnotes."""

    heading: str
    paragraphs: list[str] = field(default_factory=list)
    grids: list[Grid] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass
class Paper:
    """A document."""

    title: str
    parts: list[Part]

    def words(self, notes: bool = True) -> Counter[str]:
        """All its words; text of merged cells counts once."""
        texts = [self.title]
        for part in self.parts:
            texts += [part.heading, *part.paragraphs, *(part.notes if notes else [])]
            texts += [cell for grid in part.grids for row in grid.rows for cell in row]
        return words_of("\n".join(texts))

    def cells(self) -> Counter[str]:
        """All cells that are not empty, merged ones repeated."""
        return Counter(c for part in self.parts for grid in part.grids for row in grid.filled() for c in row if c)


def words_of(text: str) -> Counter[str]:
    return Counter(WORD.findall(unicodedata.normalize("NFC", text)))


TERMS = ["매수인", "매도인", "대상회사", "거래종결", "진술 및 보장", "손해배상", "선행조건", "에스크로", "주식매매대금", "경업금지",
    "기업결합신고", "영업양도", "우선협상대상자", "실사", "인허가", "근로관계", "지식재산권", "소송", "조세", "중대한 부정적 영향"]  # fmt: skip
VERBS = [
    "통지하여야 한다.",
    "이행하여야 한다.",
    "승계한다.",
    "면책된다.",
    "동의하여야 한다.",
    "해제할 수 있다.",
    "보전한다.",
]
KINDS = ("주식매매계약서", "텀시트", "실사 요청 목록", "이사회 의사록")


def sentence(draw: random.Random) -> str:
    """A sentence in the manner of a contract."""
    a, b, c = draw.sample(TERMS, 3)
    return f"{a}은 {b}에 관하여 {draw.randint(3, 90)}일 이내에 {c} {draw.randint(1, 999)}호에 따라 {draw.choice(VERBS)}"


def table_of(draw: random.Random, rows: int) -> Grid:
    """A table with a heading row and a merged first column."""
    body = [
        [f"{draw.choice(TERMS)} {n}", f"{draw.randint(1, 9999):,}백만원", f"{draw.choice(TERMS)} 자료 {n}"]
        for n in range(rows)
    ]
    grid = Grid([["구분", "금액", "비고"], *body])
    if rows >= 3:
        grid.merged.append((1, 0, 2, 1))
        grid.rows[2][0] = ""
    return grid


def paper(seed: int, pages: int = 3) -> Paper:
    """A deal document of about so many pages of 1,800 characters: articles, schedules, tables, footnotes."""
    draw = random.Random(seed)
    parts = []
    for number in range(1, max(2, pages) + 1):
        grids = [table_of(draw, draw.randint(3, 8))] if number % 2 == 0 else []
        lines = [f"{mark} {sentence(draw)} {sentence(draw)}" for mark in "①②③④⑤⑥⑦⑧⑨⑩⑪⑫⑬"]
        notes = [f"각주로서 {sentence(draw)}"] if number % 3 == 0 else []
        parts.append(Part(f"제{number}조 ({draw.choice(TERMS)})", lines, grids, notes))
    return Paper(f"{draw.choice(KINDS)} {seed}", parts)
