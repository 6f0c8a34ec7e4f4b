"""Reads HWP, HWPX, DOCX and PPTX with dochan, with tracked changes accepted."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..runs.errors import needs
from .blocks import Block, Reading, Spot, Unreadable, repeat_merged

COMMENT = re.compile(r"\[comment[ :][^\]]*\]")
NOTE_KINDS = {"footnote": "각주", "endnote": "미주"}
CHARS_PER_PAGE = 1800  # for HWP, HWPX and DOCX, which do not store pages


def read_office(path: Path, kind: str) -> Reading:
    """The blocks of a HWP, HWPX, DOCX or PPTX file.

    Raises:
        Unreadable: dochan refuses it, or it holds no text.
    """
    with needs("dochan", "documents"):
        from dochan import Dochan
    accepted = {"revision_mode": "final"} if kind in ("hwp", "hwpx") else {}
    try:
        document = Dochan(str(path), **accepted).doc
    except ValueError as error:  # the package is not what its name says
        raise Unreadable("damaged file") from error
    faults = [text for text in document.errors if text.startswith("ERR")]
    reading = Reading()
    number = 0
    for section in document.sections:
        for element in section.elements:
            number += 1
            _add(reading, element, _spot(element, number))
    if faults and not reading.blocks:
        encrypted = any("암호" in fault or "DRM" in fault for fault in faults)
        raise Unreadable("encrypted" if encrypted else "damaged file")
    if faults:
        reading.flags.append("partly-read")
    if not reading.blocks:
        raise Unreadable("images without text" if document.find_all("image") else "no text")
    if kind == "pptx":
        reading.pages = len(document.sections)
    else:
        reading.pages = 1 + sum(len(block.text) for block in reading.blocks) // CHARS_PER_PAGE
    return reading


def _spot(element: Any, number: int) -> Spot:
    slide = getattr(getattr(element, "provenance", None), "slide", None) or _slide_within(element)
    return Spot("슬라이드", slide, slide) if slide else Spot("문단", number, number)


def _slide_within(element: Any) -> int | None:
    """The slide of a table, from the first cell that records one."""
    cells = (cell for row in getattr(element, "rows", []) for cell in row)
    found = (
        getattr(part.provenance, "slide", None)
        for cell in cells
        for part in (cell, *cell.paragraphs)
        if hasattr(part, "provenance")
    )
    return next((slide for slide in found if slide), None)


def _add(reading: Reading, element: Any, spot: Spot) -> None:
    kind = getattr(element, "type", "")
    if kind in ("header", "footer"):
        reading.running.append(element.text.strip())
    elif kind == "comment":
        reading.left_out["comments"] += 1
    elif kind in NOTE_KINDS:
        reading.add("note", f"[{NOTE_KINDS[kind]} {element.number or ''}".rstrip() + f"] {element.text}", spot)
    elif hasattr(element, "rows"):
        _add_table(reading, element, spot)
    elif hasattr(element, "ocr_text"):
        reading.left_out["images"] += 1
        reading.add("paragraph", element.caption_text, spot)
    elif hasattr(element, "script"):
        reading.add("paragraph", element.latex or element.script, spot)
    else:
        _add_paragraph(reading, element, spot)


def _add_paragraph(reading: Reading, paragraph: Any, spot: Spot) -> None:
    text = _text_of(paragraph)
    plain = COMMENT.sub("", text)
    if plain != text and getattr(paragraph.provenance, "slide", None):
        reading.left_out["comments"] += 1  # in slides a comment is a paragraph; elsewhere only a reference to one
    level = paragraph.heading_level if len(plain) <= 120 else 0
    reading.add("heading" if level else "paragraph", plain, spot, level)


def _text_of(paragraph: Any) -> str:
    return "".join(f"[{run.note_ref}]" if run.note_ref else run.text for run in paragraph.runs)


def _add_table(reading: Reading, table: Any, spot: Spot) -> None:
    caption = table.caption_text.strip()
    above = table.caption_side.upper() in ("TOP", "LEFT")
    if above:
        reading.add("paragraph", caption, spot)
    rows, spans = _grid(table.rows)
    reading.repeated += repeat_merged(rows, spans)
    reading.add_table(rows, spot)
    if not above:
        reading.add("paragraph", caption, spot)
    for cell in (cell for row in table.rows for cell in row):
        for inner in cell.paragraphs:
            if getattr(inner, "type", "") in NOTE_KINDS or getattr(inner, "type", "") == "comment":
                _add(reading, inner, spot)


def _grid(cells: list[list[Any]]) -> tuple[list[list[str]], list[tuple[int, int, int, int]]]:
    """The grid and its merged cells; rows that omit covered cells are laid out around them."""
    wide = max(map(len, cells), default=0)
    taken: set[tuple[int, int]] = set()
    rows: list[list[str]] = []
    spans = []
    for r, row in enumerate(cells):
        rows.append([""] * wide)
        column = 0
        for cell in row:
            if len(row) < wide:
                if cell.is_merged_away:
                    continue
                while (r, column) in taken:
                    column += 1
            if column < wide:
                rows[-1][column] = COMMENT.sub("", cell.text)
            if cell.row_span > 1 or cell.col_span > 1:
                spans.append((r, column, cell.row_span, cell.col_span))
                below = range(r + 1, min(r + cell.row_span, len(cells)))
                taken |= {(y, x) for y in below for x in range(column, column + cell.col_span)}
            column += max(1, cell.col_span) if len(row) < wide else 1
    return rows, spans


def with_numbers(reading: Reading, numbered: Iterable[tuple[str, str]], *, replace: bool = False) -> int:
    """Prefix paragraphs with the automatic numbers of (number, text), in order; returns how many.

    Args:
        replace: drop the first word of a paragraph whose rest is the text: dochan numbers some Word paragraphs itself,
            but knows neither the lists of styles nor 가, 나, 다.
    """
    shown: dict[str, list[str]] = {}
    for number, text in numbered:
        shown.setdefault(_squeezed(text), []).append(number)
    restored = 0
    for at, block in enumerate(reading.blocks):
        if block.kind not in ("heading", "paragraph"):
            continue
        texts = [block.text, *([block.text.partition(" ")[2]] if replace else [])]
        bare = next((text for text in texts if shown.get(_squeezed(text))), None)
        if bare:
            number = shown[_squeezed(bare)].pop(0)
            reading.blocks[at] = Block(block.kind, f"{number} {bare}", block.spot, block.level)
            restored += 1
    return restored


def _squeezed(text: str) -> str:
    return "".join(text.split())
