"""What new texts of statutes change against a law memory, article by article, and whether it is more than form.

A change is one of form if only spacing, punctuation, or the marks of amendment and deletion with their dates differ. All else
is a change in substance: whether a new word has a new meaning is for a lawyer to say. An article whose text stands under
another number now is named as moved, since citations of the old number lead elsewhere.

Does not: notice that an Act has another name now, or read addenda; a law that the folder lacks counts as unchanged.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..runs.errors import DataError
from .hits import Change, Hit
from .law_memory import LawIndex
from .layouts import PARAGRAPH, ArticleText, LawFiles
from .names import compact

MARK = re.compile(
    r"[<\[][^<>\[\]]{0,400}\d{4}\.\s?\d{1,2}\.\s?\d{1,2}[^<>\[\]]{0,400}[>\]]|[<\[](?:제목개정|시행일)[^<>\[\]]{0,400}[>\]]"
)
JOINING = re.compile(r"(?<=\d)[./~-](?=\d)")  # in a number or a range it is no punctuation: 1.5 is not 15
SAME_TEXT = 30  # letters from which two articles of one text are one article that has moved


@dataclass(frozen=True, slots=True)
class Amendment:
    """A change of one article.

    Attributes:
        change: what became of it, from which day, and its texts.
        substantial: more than form has changed.
        moved_to: the number ("382의5") under which the old text stands now; empty if under none.
        paragraphs: which paragraphs changed; empty if the article has none, or if it came or went whole.
    """

    law: str
    change: Change
    substantial: bool
    moved_to: str = ""
    paragraphs: tuple[int, ...] = ()

    @property
    def key(self) -> str:
        """ "상법 522의3"."""
        return f"{self.law} {self.change.number}"


@dataclass
class LawUpdate:
    """All changes that a folder brings; `unknown` laws are not in the memory, `faults` were left out and say why."""

    amendments: list[Amendment] = field(default_factory=list)
    laws: int = 0
    unknown: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def substantial(self) -> dict[str, Amendment]:
        """The changes in substance, by "상법 522의3"."""
        return {one.key: one for one in self.amendments if one.substantial}


def law_update(memory: LawIndex, folder: Path) -> LawUpdate:
    """Compare the newest text of each law in a folder (legalize-kr layout) with the memory's.

    Raises:
        DataError: the folder holds no statute.
    """
    files = LawFiles()
    files.read(folder)
    newest: dict[str, list[ArticleText]] = {}
    for text in files.articles:
        held = newest.get(text.law)
        if held is None or text.since > held[0].since:
            newest[text.law] = [text]
        elif text.since == held[0].since:
            held.append(text)
    if not newest:
        told = f" ({files.faults[0]})" if files.faults else ""
        raise DataError(f"no statute found{told}", where=str(folder), next_step="give a legalize-kr checkout")
    update = LawUpdate(faults=list(files.faults))
    for law, texts in sorted(newest.items()):
        if law not in memory.statutes.laws:
            update.unknown.append(law)
            continue
        known = memory.since(law)
        if known > texts[0].since:
            update.faults.append(
                f"{law}: the memory has the text of {known}, the folder an older one of {texts[0].since}"
            )
            continue
        update.laws += 1
        update.amendments += _of_law(memory, law, texts)
    return update


def plain_form(text: str) -> str:
    """What of a text is substance: letters, digits and what joins numbers; no spacing, punctuation or marks."""
    return "".join(filter(str.isalnum, compact(JOINING.sub("점", MARK.sub("", text)))))


def _of_law(memory: LawIndex, law: str, texts: list[ArticleText]) -> Iterator[Amendment]:
    day = texts[0].since
    after = {text.number: text for text in texts if text.text}
    before = {number: hit for number in memory.statutes.laws[law] if (hit := _held(memory, law, number, day))}
    places: dict[str, str] = {}
    for number, text in after.items():
        old = before.get(number)
        form = plain_form(text.text)
        if len(form) >= SAME_TEXT and (old is None or plain_form(old.text) != form):
            places.setdefault(form, number)
    for number in dict.fromkeys([*before, *after]):
        old, new = before.get(number), after.get(number)
        if old and new and (old.text, old.title) == (new.text, new.title):
            continue
        kind: Literal["added", "repealed", "amended"] = "amended" if old and new else "repealed" if old else "added"
        title = new.title if new else old.title if old else ""
        texts_of = old.text if old else "", new.text if new else ""
        change = Change(kind, number, title, day, *texts_of)
        substantial = not (old and new and _whole(old) == _whole(new))
        moved = places.get(plain_form(old.text), "") if old and substantial else ""
        pair = _paragraphs(*texts_of) if kind == "amended" and substantial else ()
        yield Amendment(law, change, substantial, moved if moved != number else "", pair)


def _held(memory: LawIndex, law: str, number: str, day: str) -> Hit | None:
    """An article of the memory that has a text and is not repealed before a day."""
    hit = memory.article(law, number, at=day)
    return hit if hit and hit.text and not (hit.last and hit.last < day) else None


def _whole(one: Hit | ArticleText) -> str:
    return plain_form(one.title) + "\n" + plain_form(one.text)


def _paragraphs(before: str, after: str) -> tuple[int, ...]:
    """Numbers of the paragraphs that differ; empty if there are none, or if what stands before them differs."""
    old, new = (dict(_numbered(text)) for text in (before, after))
    changed = sorted(number for number in old.keys() | new.keys() if old.get(number) != new.get(number))
    return () if 0 in changed or set(old) | set(new) == {0} else tuple(changed)


def _numbered(text: str) -> Iterable[tuple[int, str]]:
    """(number, substance) of the paragraphs of a text; 0 is what stands before the first."""
    marks = list(PARAGRAPH.finditer(text))
    yield 0, plain_form(text[: marks[0].start()] if marks else text)
    for place, mark in enumerate(marks):
        end = marks[place + 1].start() if place + 1 < len(marks) else len(text)
        yield place + 1, plain_form(text[mark.end() : end])
