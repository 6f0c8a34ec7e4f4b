"""Documents cut into passages: by heading, then by paragraph, never longer than so many tokens."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from ...runs.records import Document, content_id
from .sentences import outside

HEADING = re.compile(r"^#{1,6} +(.+)$", re.MULTILINE)
SENTENCE_END = re.compile(r"(?<=[다요음됨함][.])\s+|(?<=[.!?])\s+(?=[가-힣A-Z])")
SHORTEST_CHARS = 40  # a passage below this carries no answer

Count = Callable[[str], int]


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document. `title` is the document's, with the heading above the piece."""

    id: str
    title: str
    text: str
    document: Document


def passages(document: Document, longest: int, count: Count) -> Iterator[Passage]:
    """The passages of a document in order.

    Args:
        longest: tokens at most; a single sentence beyond that is left out.
        count: tokens of a text.
    """
    for heading, body in _sections(document.text):
        title = f"{document.title} – {heading}" if heading and heading not in document.title else document.title
        for text in _packed(_units(body, longest, count), longest, count):
            if len(text) >= SHORTEST_CHARS:
                yield Passage(content_id(document.id, text), title, text, document)


def _sections(text: str) -> Iterator[tuple[str, str]]:
    marks = list(HEADING.finditer(text))
    if not marks or text[: marks[0].start()].strip():
        yield "", text[: marks[0].start()] if marks else text
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    for mark, end in zip(marks, ends, strict=False):
        yield mark[1].strip(), text[mark.end() : end]


def _units(text: str, longest: int, count: Count) -> Iterator[str]:
    """Paragraphs, and sentences of those that are too long; an empty one where a sentence beyond that is left out."""
    for paragraph in re.split(r"\n\s*\n", text):
        if not paragraph.strip():
            continue
        if count(paragraph) <= longest:
            yield paragraph.strip()
            continue
        for line in paragraph.split("\n"):
            for piece in [line] if count(line) <= longest else _sentences(line):
                if piece.strip():
                    yield piece.strip() if count(piece) <= longest else ""


def _sentences(line: str) -> Iterator[str]:
    """A line cut between sentences, but not in a parenthesis: its rest would be a passage without a beginning."""
    start = 0
    for gap in outside(SENTENCE_END, line):
        yield line[start : gap.start()]
        start = gap.end()
    yield line[start:]


def _packed(units: Iterable[str], longest: int, count: Count) -> Iterator[str]:
    """Neighbouring units joined as long as they fit; what stood before and after a gap are no neighbours."""
    held = ""
    for unit in units:
        joined = f"{held}\n\n{unit}" if held else unit
        if held and (not unit or count(joined) > longest):
            yield held
            joined = unit
        held = joined
    if held:
        yield held
