"""Cuts a document at its headings and numbered articles, and keeps the place of each section."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from .blocks import Block, Reading, Spot, markdown_table

ARTICLE = re.compile(
    r"^(?P<head>제\s?\d+\s?조(?:의\s?\d+)?\s*(?:[(\[【（](?P<topic>[^)\]】）\n]{1,60})[)\]】）])?)(?P<body>.*)$",
    re.DOTALL,
)
CHAPTER = re.compile(
    r"^(?:제\s?\d+\s?(?:편|장|절|관)\b|\[?(?:별지|별첨|별표|부속서|부록)\s?(?:제?\s?\d+|[A-Z])?).{0,60}$"
)
ARTICLE_LEVEL = 9  # deeper than any other heading
MOST_CHARS = 4000  # per section; longer ones are cut between blocks to keep their place precise
MOST_ROWS = 20  # per table; longer ones are cut, and the header is repeated


@dataclass(frozen=True, slots=True)
class DocumentSection:
    """A piece of a document under one heading.

    Attributes:
        heading: the path of headings; empty before the first.
        place: such as 3–4쪽, 슬라이드 2, 12–30문단 or 실사 목록!A3:F20.
    """

    heading: str
    text: str
    place: str
    tables: int


def sections(reading: Reading) -> list[DocumentSection]:
    """The sections of a document in order, each under the path of its headings."""
    found: list[DocumentSection] = []
    path: list[Block] = []
    held: list[Block] = []
    told = True  # False until some section carries the last heading

    def close() -> None:
        nonlocal told
        if not told and not held:
            held.append(path[-1])
        for piece in _pieces(held):
            text = "\n\n".join(block.text for block in piece)
            place = piece[0].spot.until(piece[-1].spot)
            tables = sum(block.kind == "table" for block in piece)
            found.append(DocumentSection(_heading(path), text, str(place), tables))
        held.clear()
        told = True

    for number, block in enumerate(_with_articles(reading.blocks)):
        if not number and block.text == reading.title and len(reading.blocks) > 1:
            continue
        if block.kind != "heading":
            held.append(block)
        else:
            if held or (path and path[-1].level >= block.level):
                close()
            path = [*(above for above in path if above.level < block.level), block]
            told = False
    close()
    return found


def _heading(path: list[Block]) -> str:
    """The path of headings as one title; an article follows its chapter without a separator, as it is cited."""
    texts = [" ".join(block.text.split()) for block in path]
    return (" " if texts and ARTICLE.match(texts[-1]) else " › ").join(texts)


def _with_articles(blocks: list[Block]) -> Iterator[Block]:
    """The blocks, with paragraphs that open an article or a chapter turned into headings."""
    for block in blocks:
        article = ARTICLE.match(block.text) if block.kind in ("paragraph", "heading") else None
        if article and (article["topic"] or not article["body"].strip()):
            head = re.sub(r"제\s?(\d+)\s?조(의)?\s?(?=\d)?", r"제\1조\2", " ".join(article["head"].split()))
            yield Block("heading", head, block.spot, ARTICLE_LEVEL)
            if article["body"].strip():
                yield Block("paragraph", article["body"].strip(), block.spot)
        elif block.kind == "paragraph" and CHAPTER.match(block.text):
            yield Block("heading", block.text, block.spot, 1)
        else:
            yield block


def _pieces(blocks: list[Block]) -> Iterator[list[Block]]:
    """Groups of blocks of at most `MOST_CHARS`; a table of a sheet stands alone, so that its place is its cell range."""
    piece: list[Block] = []
    size = 0
    for block in (part for whole in blocks for part in _narrow(whole)):
        alone = bool(block.spot.cells and (block.rows or (piece and piece[-1].rows)))
        if piece and (alone or size + len(block.text) > MOST_CHARS):
            yield piece
            piece, size = [], 0
        piece.append(block)
        size += len(block.text)
    if piece:
        yield piece


def _narrow(block: Block) -> Iterator[Block]:
    """A long table in parts, each with the header and its own cell range; any other block unchanged."""
    if len(block.rows) <= MOST_ROWS + 1:
        yield block
        return
    head, *rows = block.rows
    for start in range(0, len(rows), MOST_ROWS):
        part = (head, *rows[start : start + MOST_ROWS])
        yield Block("table", markdown_table(part), _part_of(block.spot, start, len(part) - 1), rows=part)


def _part_of(spot: Spot, start: int, rows: int) -> Spot:
    if not spot.cells:
        return spot
    (left, top), (right, _) = (re.match(r"([A-Z]+)(\d+)", end).groups() for end in spot.cells.split(":"))  # type: ignore[union-attr]
    first = int(top) + 1 + start
    return Spot(spot.unit, first, first + rows - 1, f"{left}{first}:{right}{first + rows - 1}")
