"""Reads PDF with pdfium: paragraphs from lines, tables from ruling lines, running heads kept apart."""

import ctypes
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..runs.errors import needs
from .blocks import Reading, Spot, Unreadable
from .pdf_tables import Box, tables_of

STARTS_ANEW = re.compile(r"^(?:제\s?\d+\s?[조장절관]|[①-⑳㉠-㉭•·▪■□○●※▶-]|\(?\d+[.)]|[가-하][.)]|\([가-하0-9]\))")
HANGUL = re.compile(r"[가-힣]")
INDENT = 30.0  # points; lines of one column begin within this distance
REPEATS = 3  # a line at the top or bottom of this many pages may be a running head


@dataclass
class Line:
    """A line of text with its box.

    Attributes:
        spaced: True if it ends with a space, as where a line broke between words.
        full: True if it reaches the right edge of its column.
    """

    text: str
    box: Box
    spaced: bool = False
    full: bool = False


def read_pdf(path: Path, most_pages: int) -> Reading:
    """The text and tables of a PDF.

    Raises:
        Unreadable: it is damaged, encrypted or too long, or a scan.
    """
    with needs("pypdfium2", "documents"):
        import pypdfium2 as pdfium
    try:
        document = pdfium.PdfDocument(str(path))
    except pdfium.PdfiumError as error:
        raise Unreadable("encrypted" if "password" in str(error).lower() else "damaged file") from error
    if len(document) > most_pages:
        raise Unreadable(f"more than {most_pages:,} pages")
    reading = Reading(pages=len(document))
    pages, bare = [], 0
    for number in range(len(document)):
        try:
            page = document[number]
            found = _page(page, pdfium)
            page.close()
        except pdfium.PdfiumError:
            reading.flags = ["partly-read"]
            continue
        bare += not found
        pages.append((number + 1, found))
    document.close()
    running = _running([found for _, found in pages])
    writer = _Writer(reading, _Joints([found for _, found in pages]))
    for number, found in pages:
        writer.write(number, found, running)
    writer.close()
    reading.running = sorted(running)
    if not reading.blocks:
        raise Unreadable("images without text" if bare else "no text")
    if bare:
        reading.left_out["pages without text"] = bare
    return reading


Found = list[Line | list[list[str]]]


def _page(page: Any, pdfium: Any) -> Found:
    """The lines and tables of a page; a table takes the position of its first line."""
    text = page.get_textpage()
    if not text.count_chars():
        return []

    def bounded(*box: float) -> str:
        return " ".join(text.get_text_bounded(*box).split())

    rulings = _rulings(page, pdfium.raw)
    tables = [(table, [[bounded(*box) for box in row] for row in table.cells]) for table in tables_of(rulings)]
    found: Found = []
    placed: set[int] = set()
    for line in _lines(text, pdfium.raw):
        within = next((n for n, (table, _) in enumerate(tables) if table.box.holds(line.box)), None)
        if within is None:
            found.append(line)
        elif within not in placed:
            placed.add(within)
            found.append(tables[within][1])
    text.close()
    _mark_full([part for part in found if isinstance(part, Line)])
    return found


def _mark_full(lines: list[Line]) -> None:
    """Mark lines that reach the right edge of their column, that is, of lines that begin at about the same place."""
    columns: dict[int, list[float]] = {}
    for line in lines:
        columns.setdefault(round(line.box.left / INDENT), []).append(line.box.right)
    for line in lines:
        at = round(line.box.left / INDENT)
        edges = sorted(edge for near in (at - 1, at, at + 1) for edge in columns.get(near, ()))
        edge = edges[int(0.9 * (len(edges) - 1))]  # not the last: a title may span the columns
        line.full = line.box.right > edge - max(40.0, 4 * (line.box.top - line.box.bottom))


def _lines(text: Any, raw: Any) -> list[Line]:
    """The lines as pdfium finds them, in content order."""
    lines: list[Line] = []
    whole = text.get_text_range()
    shifted = len(whole) != text.count_chars()  # pdfium omits some characters
    for found in re.finditer(r"[^\r\n]+", whole):
        piece = found.group()
        if piece.startswith(" ") and lines:
            lines[-1].spaced = True
        if not piece.strip():
            continue
        first = found.start() + len(piece) - len(piece.lstrip())
        last = found.start() + len(piece.rstrip()) - 1
        places: Iterable[int] = {first, (first + last) // 2, last}
        if shifted:
            places = {raw.FPDFText_GetCharIndexFromTextIndex(text, place) for place in places} - {-1}
        boxes = [Box(*text.get_charbox(place)) for place in places]
        if boxes:
            lines.append(Line(piece.strip(), reduce(Box.around, boxes), piece.endswith(" ")))
    return lines


def _rulings(page: Any, raw: Any) -> list[Box]:
    """Horizontal and vertical strokes of a page, including thin rectangles and the edges of boxes."""
    found: list[Box] = []
    for item in page.get_objects(filter=[raw.FPDF_PAGEOBJ_PATH], max_depth=4):
        left, bottom, right, top = item.get_bounds()
        if raw.FPDFPath_CountSegments(item.raw) > 5:
            found += _strokes(item, raw)
        elif right - left <= 3 or top - bottom <= 3:
            found.append(Box(left, bottom, right, top))
        else:
            found += [Box(left, y, right, y) for y in (bottom, top)]
            found += [Box(x, bottom, x, top) for x in (left, right)]
        if len(found) > 20_000:
            return []  # a drawing, not a table
    return found


def _strokes(item: Any, raw: Any) -> list[Box]:
    """The straight horizontal and vertical segments of a longer path."""
    matrix = item.get_matrix()
    x, y = ctypes.c_float(), ctypes.c_float()
    last: tuple[float, float] | None = None
    found = []
    for number in range(min(raw.FPDFPath_CountSegments(item.raw), 20_000)):
        segment = raw.FPDFPath_GetPathSegment(item.raw, number)
        raw.FPDFPathSegment_GetPoint(segment, x, y)
        here = matrix.on_point(x.value, y.value)
        kind = raw.FPDFPathSegment_GetType(segment)
        if kind == raw.FPDF_SEGMENT_LINETO and last and (abs(here[0] - last[0]) <= 1 or abs(here[1] - last[1]) <= 1):
            xs, ys = sorted((last[0], here[0])), sorted((last[1], here[1]))
            found.append(Box(xs[0], ys[0], xs[1], ys[1]))
        last = here
    return found


def _edges(found: Found) -> list[Line]:
    """The lowest and the highest line of a page."""
    lines = sorted((part for part in found if isinstance(part, Line)), key=lambda line: line.box.bottom)
    return [lines[0], lines[-1]] if len(lines) > 1 else lines


def _masked(text: str) -> str:
    return re.sub(r"\d+", "#", text)


def _running(pages: list[Found]) -> set[str]:
    """Lines that at least half of the pages have at the top or bottom, whatever their digits."""
    counts = Counter(key for found in pages for key in {_masked(line.text) for line in _edges(found)})
    least = max(REPEATS, len(pages) // 2)
    return {key for key, count in counts.items() if count >= least and not key.startswith("제#조")}


class _Joints:
    """Decides whether a line break stood for a space or cut a word.

    Some programs keep the space at the end of the line; a line without one was then cut within a word. Others drop it;
    then the document's own vocabulary tells whether its lines are cut within words, and where.
    """

    def __init__(self, pages: list[Found]) -> None:
        lines = [part for found in pages for part in found if isinstance(part, Line) and HANGUL.search(part.text)]
        self._keeps_spaces = sum(line.spaced for line in lines) * 20 > len(lines)
        self._words = Counter(word for line in lines for word in line.text.split()[1:-1])
        broken = sum(self._is_broken(a, b) for a, b in pairwise(lines))
        self._breaks_words = broken * 20 > len(lines)

    def between(self, line: Line, following: Line) -> str:
        """What joins two lines: a space, or nothing within a word."""
        if line.spaced:
            return " "
        if self._keeps_spaces:
            return ""
        return "" if self._breaks_words and self._is_one_word(*_ends(line, following)) else " "

    def _is_broken(self, line: Line, following: Line) -> bool:
        last, first = _ends(line, following)
        return bool(self._words[last + first]) and not (self._words[last] and self._words[first])

    def _is_one_word(self, last: str, first: str) -> bool:
        if self._words[last + first]:
            return self._words[last + first] >= min(self._words[last], self._words[first])
        unknown = [piece for piece in (last, first) if not self._words[piece]]
        return len(unknown) == 2 or any(len(piece) <= 2 for piece in unknown)


def _ends(line: Line, following: Line) -> tuple[str, str]:
    return line.text.split()[-1], following.text.split()[0]


class _Writer:
    """Joins lines into paragraphs, across pages too, and adds them to a reading."""

    def __init__(self, reading: Reading, joints: _Joints) -> None:
        self._reading = reading
        self._joints = joints
        self._held = ""
        self._spot = Spot("쪽", 1, 1)
        self._last: Line | None = None

    def write(self, page: int, found: Found, running: set[str]) -> None:
        """Add the parts of a page, without running heads."""
        edges = {id(line) for line in _edges(found)}
        spot = Spot("쪽", page, page)
        first = True
        for part in found:
            if not isinstance(part, Line):
                self.close()
                self._reading.add_table(part, spot)
            elif not (id(part) in edges and _masked(part.text) in running):
                self._line(part, spot, over_page=first)
            else:
                continue
            first = False

    def _line(self, line: Line, spot: Spot, *, over_page: bool) -> None:
        last = self._last
        if self._held and last and _continues(last, line, over_page=over_page):
            self._held += f"{self._joints.between(last, line)}{line.text}"
            self._spot = self._spot.until(spot)
        else:
            self.close()
            self._held, self._spot = line.text, spot
        self._last = line

    def close(self) -> None:
        """Add the open paragraph."""
        self._reading.add("paragraph", self._held, self._spot)
        self._held, self._last = "", None


def _continues(last: Line, line: Line, *, over_page: bool) -> bool:
    """True if the line continues the paragraph of the line before it, maybe in the next column or on the next page."""
    height = last.box.top - last.box.bottom
    below = last.box.bottom - line.box.bottom
    near = over_page or 0 < below < 2.6 * height or (below < 0 and line.box.left > last.box.right)
    return last.full and near and not STARTS_ANEW.match(line.text)
