"""Which texts cite the articles that have changed in substance.

A text is read as a whole, so that "같은 법" and lists keep their law. An article without a law's name counts for the one law
that the text names, if it names just one; citations of an old law ("구 상법") and of addenda do not count.

Does not: find a text that rests on an article without citing it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .amendments import Amendment
from .citations import Citation, CitationChecker
from .support import OLD_LAW

ADDENDA = re.compile(r"부칙\s*\Z")


@dataclass(frozen=True, slots=True)
class CitingText:
    """A text that may cite articles.

    Attributes:
        kind: "training", "held-out", "pack", "exam", "glossary", "rated" or "canned".
        place: the file and line, or the store, that it is in.
        text: all that it says.
        question, answer: empty where the text is not one question with its answer.
    """

    kind: str
    id: str
    place: str
    text: str
    question: str = ""
    answer: str = ""


@dataclass(frozen=True, slots=True)
class AffectedText:
    """A text with the changes of what it cites, and whether it names one of the changed paragraphs or a whole article."""

    source: CitingText
    amendments: tuple[Amendment, ...]
    direct: bool


def affected(
    texts: Iterable[CitingText], changed: Mapping[str, Amendment], checker: CitationChecker
) -> Iterator[AffectedText]:
    """The texts that cite a changed article, in their order.

    Args:
        changed: amendments by "상법 522의3".
        checker: knows the names of the laws.
    """
    for one in texts:
        cited = cited_articles(one.text, checker)
        hit = {key: found for key, found in cited.items() if key in changed}
        if hit:
            direct = any(_names(changed[key], paragraph) for key, found in hit.items() for paragraph in found)
            yield AffectedText(one, tuple(changed[key] for key in sorted(hit)), direct)


def cited_articles(text: str, checker: CitationChecker) -> dict[str, set[int]]:
    """The articles that a text cites as the law of now, each with the paragraphs named; 0 is the article as a whole."""
    found = [one for one in checker.find(text) if not _outside(text, one)]
    laws = {one.law for one in found if one.law}
    only = next(iter(laws)) if len(laws) == 1 else ""
    cited: dict[str, set[int]] = {}
    for one in found:
        law = one.law or only
        if law:
            cited.setdefault(f"{law} {one.article}", set()).add(one.paragraph)
    return cited


def strings(value: Any) -> Iterator[str]:
    """All texts of a row, in order, at any depth."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from strings(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from strings(part)


def _outside(text: str, one: Citation) -> bool:
    """The citation is of an old law, or of addenda."""
    before = text[max(0, one.start - 12) : one.start]
    return bool(OLD_LAW.search(before)) or (not one.law and bool(ADDENDA.search(before)))


def _names(amendment: Amendment, paragraph: int) -> bool:
    return not paragraph or not amendment.paragraphs or paragraph in amendment.paragraphs
