"""Readers of HTML, Markdown, plain text and mail in the encodings of Korean offices."""

import re
import unicodedata
from collections.abc import Iterator
from email import policy
from email.parser import BytesParser
from typing import Any

from ..runs.errors import needs
from .blocks import Reading, Spot, Unreadable, repeat_merged

CHARS_PER_PAGE = 1800
HEADING = re.compile(r"^(#{1,6}) +([^ #].*)$")
PIPED = re.compile(r"^\s*\|.*\|\s*$")
DASHES = re.compile(r"^[\s|:-]+$")
STARTS_ANEW = re.compile(r"^\s*(?:제\s?\d+\s?(?:조|장|절|관|편)|[①-⑳•·▪■□○●※▶*-]|\(?\d+[.)]|[가-하][.)])")
HEADS = ("h1", "h2", "h3", "h4", "h5", "h6")
UNSEEN = ("script", "style", "head", "template", "noscript", "iframe", "object", "svg")
INLINE = (
    "a", "b", "strong", "i", "em", "u", "s", "span", "font", "sub", "sup", "mark", "small", "code", "abbr", "q", "ins",
)  # fmt: skip
MOST_SPAN = 1000
MOST_SLOTS = 500_000  # of a table


def decoded(data: bytes) -> str:
    """The text in NFC: UTF-8, UTF-16 with or without a BOM, or cp949.

    Raises:
        Unreadable: it is none of these.
    """
    head = data[:4096]
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encodings = ["utf-16"]
    elif head.count(0):
        encodings = ["utf-16-le" if head[1::2].count(0) >= head[::2].count(0) else "utf-16-be"]
    else:
        encodings = ["utf-8-sig", "cp949"]
    for encoding in encodings:
        try:
            return unicodedata.normalize("NFC", data.decode(encoding).replace("\r\n", "\n").replace("\r", "\n"))
        except UnicodeDecodeError as error:
            if error.start and error.start >= len(data) - 3:  # cut within its last character
                return decoded(data[: error.start])
    raise Unreadable("neither UTF-8, UTF-16 nor cp949")


def read_text(data: bytes, *, marked: bool) -> Reading:
    """Plain text, or Markdown if `marked`; the place is the line."""
    reading = Reading()
    _add_lines(reading, decoded(data).split("\n"), marked=marked)
    return _finished(reading)


def read_html(data: bytes) -> Reading:
    """All visible text of a page, with headings and tables; the place is the paragraph's number."""
    reading = Reading()
    _add_html(reading, decoded(data))
    return _finished(reading)


def read_mail(data: bytes) -> Reading:
    """Subject and body of a message, plain text preferred; attachments are counted."""
    message = BytesParser(policy=policy.default).parsebytes(data)
    reading = Reading(title=unicodedata.normalize("NFC", str(message["subject"] or "")).strip())
    reading.running = [f"{name}: {message[name]}" for name in ("from", "to", "date") if message[name]]
    reading.left_out["attachments"] = sum(1 for _ in message.iter_attachments())
    body = message.get_body(("plain", "html"))
    if body is None:
        raise Unreadable("no text")
    raw = body.get_payload(decode=True)
    try:
        text = body.get_content()
    except (LookupError, UnicodeError):  # an unknown charset, or another than declared
        text = decoded(raw if isinstance(raw, bytes) else b"")
    reading.add("heading", reading.title, Spot("줄", 0, 0), 1)
    if body.get_content_type() == "text/html":
        _add_html(reading, str(text))
    else:
        _add_lines(reading, unicodedata.normalize("NFC", str(text)).split("\n"), marked=False)
    return _finished(reading)


def _finished(reading: Reading) -> Reading:
    if not reading.blocks:
        raise Unreadable("no text")
    reading.pages = 1 + sum(len(block.text) for block in reading.blocks) // CHARS_PER_PAGE
    return reading


def _add_lines(reading: Reading, lines: list[str], *, marked: bool) -> None:
    loose = any(not line.strip() for line in lines[:-1])  # blank lines separate the paragraphs
    held: list[str] = []
    start = 1
    table: list[list[str]] = []

    def close(number: int) -> None:
        nonlocal start
        if len(table) == 1:
            held.append(" ".join(cell.strip() for cell in table.pop()))  # a tab within a line of text
        elif table:
            reading.add_table(list(table), Spot("줄", start, number - 1))
            table.clear()
        reading.add("paragraph", "\n".join(held), Spot("줄", start, max(start, number - 1)))
        held.clear()
        start = number

    for number, line in enumerate([*lines, ""], 1):
        heading = HEADING.match(line) if marked else None
        cells = _cells(line, marked)
        if (table and cells is None) or (held and cells is not None):
            close(number)
        if cells is not None:
            if not DASHES.match(line):
                table.append(cells)
        elif heading:
            close(number)
            reading.add("heading", heading[2].rstrip(" #"), Spot("줄", number, number), len(heading[1]))
            start = number + 1
        elif not line.strip():
            close(number)
            start = number + 1
        else:
            if held and (not loose or STARTS_ANEW.match(line)):
                close(number)
            held.append(line.strip())
    close(len(lines) + 1)


def _cells(line: str, marked: bool) -> list[str] | None:
    if marked and PIPED.match(line):
        return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]]
    return line.split("\t") if not marked and "\t" in line.strip() else None


def _add_html(reading: Reading, text: str) -> None:
    with needs("lxml", "documents"):
        from lxml import etree, html
    parser = html.HTMLParser(encoding="utf-8", no_network=True, remove_comments=True, remove_pis=True)
    try:
        root = html.document_fromstring(text.encode("utf-8", "replace"), parser=parser)
    except etree.LxmlError as error:
        raise Unreadable("damaged file") from error
    except AssertionError as error:  # raised by lxml for a page without any element
        raise Unreadable("no text") from error
    number = 0

    def spot() -> Spot:
        nonlocal number
        number += 1
        return Spot("문단", number, number)

    held: list[str] = []
    for kind, value in _events(root):
        if kind == "text":
            held.append(value)
            continue
        if held:
            reading.add("paragraph", " ".join("".join(held).split()), spot())
            held = []
        if kind in HEADS:
            reading.add("heading", " ".join(value.text_content().split()), spot(), int(kind[1]))
        elif kind == "table":
            rows, spans = _grid(value)
            reading.repeated += repeat_merged(rows, spans)
            reading.add_table(rows, spot())
    reading.add("paragraph", " ".join("".join(held).split()), spot())


def _events(root: Any) -> Iterator[tuple[str, Any]]:
    """The page as events: ("text", str), ("h1", element), ("table", element), ("break", None); iterative, at any depth."""
    waiting: list[tuple[str, Any]] = [("open", root)]
    while waiting:
        kind, node = waiting.pop()
        if kind != "open":
            yield kind, node
            continue
        tag = node.tag if isinstance(node.tag, str) else ""
        after = [("text", node.tail)] if node.tail else []
        if tag in UNSEEN:
            waiting += after
        elif tag in HEADS or tag == "table":
            waiting += after
            yield tag, node
        else:
            block = [] if tag in INLINE else [("break", None)]
            inside = [("text", node.text)] if node.text else []
            waiting += [*after, *block, *(("open", child) for child in reversed(node)), *inside, *block]


def _grid(table: Any) -> tuple[list[list[str]], list[tuple[int, int, int, int]]]:
    """The grid of a table, and its merged cells."""
    taken: dict[tuple[int, int], str] = {}
    spans = []
    rows = table.xpath("./tr | ./thead/tr | ./tbody/tr | ./tfoot/tr")
    for r, row in enumerate(rows):
        column = 0
        for cell in row.xpath("./td | ./th"):
            while (r, column) in taken:
                column += 1
            height, width = (_span(cell.get(name)) for name in ("rowspan", "colspan"))
            height = min(height, len(rows) - r)
            if len(taken) + height * width > MOST_SLOTS:
                raise Unreadable(f"a table of more than {MOST_SLOTS:,} cells")
            for y in range(r, r + height):
                for x in range(column, column + width):
                    taken[y, x] = ""
            taken[r, column] = " ".join(cell.text_content().split())
            if (height, width) != (1, 1):
                spans.append((r, column, height, width))
            column += width
    wide = max((x for _, x in taken), default=-1) + 1
    return [[taken.get((y, x), "") for x in range(wide)] for y in range(len(rows))], spans


def _span(value: str | None) -> int:
    return min(MOST_SPAN, max(1, int(value))) if value and value.strip().isdecimal() else 1
