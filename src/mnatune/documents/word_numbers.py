"""The automatic numbers of a Word file (제1조, 가., 1.1), which its text does not contain.

Does not: number by the rules of legal style (`isLgl`), or restart numbers at sections.
"""

import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ..runs.errors import needs

W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
GANADA = "가나다라마바사아자차카타파하"
CHOSUNG = "ㄱㄴㄷㄹㅁㅂㅅㅇㅈㅊㅋㅌㅍㅎ"
ROMAN = ((1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"), (40, "xl"), (10, "x"),
    (9, "ix"), (5, "v"), (4, "iv"), (1, "i"))  # fmt: skip


class Level(NamedTuple):
    """A level of a list: its first number, its format, and its pattern such as 제%1조."""

    start: int
    form: str
    pattern: str


def word_numbers(path: Path) -> Iterator[tuple[str, str]]:
    """(number, text) of every paragraph that Word numbers, in order; nothing from a file with damaged lists."""
    with zipfile.ZipFile(path) as archive:
        numbering, styles, body = (_parsed(archive, f"word/{part}.xml") for part in ("numbering", "styles", "document"))
    if numbering is None or body is None:
        return
    lists = _lists(numbering)
    by_style = _numbered_styles(styles) if styles is not None else {}
    counts: dict[str, dict[int, int]] = defaultdict(dict)
    for paragraph in body.iter(f"{W}p"):
        number, level = _numbering_of(paragraph, by_style)
        abstract, levels = lists.get(number, ("", {}))
        if level not in levels:
            continue
        count = counts[abstract]
        count[level] = count.get(level, levels[level].start - 1) + 1
        for deeper in [other for other in count if other > level]:
            del count[deeper]
        shown = _shown(level, levels, count)
        text = "".join(node.text or "" for node in paragraph.iter(f"{W}t"))
        if shown and text.strip():
            yield shown, text


def _parsed(archive: zipfile.ZipFile, name: str) -> Any:
    with needs("lxml", "documents"):
        from lxml import etree
    try:
        return etree.fromstring(archive.read(name), etree.XMLParser(resolve_entities=False, no_network=True))
    except (KeyError, etree.LxmlError):
        return None


def _number(text: str, default: int) -> int:
    return int(text) if text.isdecimal() else default


def _value(node: Any, path: str) -> str:
    """The `w:val` of the element at a path of names."""
    found = node.find("/".join(W + name for name in path.split("/")))
    return "" if found is None else str(found.get(f"{W}val") or "")


def _lists(numbering: Any) -> dict[str, tuple[str, dict[int, Level]]]:
    """List → its definition's name and levels."""
    abstract = {}
    for definition in numbering.iter(f"{W}abstractNum"):
        levels = {}
        for level in definition.iter(f"{W}lvl"):
            form = Level(_number(_value(level, "start"), 1), _value(level, "numFmt"), _value(level, "lvlText"))
            levels[_number(level.get(f"{W}ilvl") or "", 0)] = form
        abstract[str(definition.get(f"{W}abstractNumId"))] = levels
    names = {str(item.get(f"{W}numId")): _value(item, "abstractNumId") for item in numbering.iter(f"{W}num")}
    return {number: (name, abstract.get(name, {})) for number, name in names.items()}


def _numbered_styles(styles: Any) -> dict[str, tuple[str, int]]:
    """Style → (list, level), inherited where the style is based on another."""
    own, bases = {}, {}
    for style in styles.iter(f"{W}style"):
        name = str(style.get(f"{W}styleId"))
        bases[name] = _value(style, "basedOn")
        number, level = _value(style, "pPr/numPr/numId"), _value(style, "pPr/numPr/ilvl")
        if number:
            own[name] = (number, _number(level, 0))
    found = {}
    for name in bases:
        ancestor, seen = name, set[str]()
        while ancestor and ancestor not in own and ancestor not in seen:
            seen.add(ancestor)
            ancestor = bases.get(ancestor, "")
        if ancestor in own:
            found[name] = own[ancestor]
    return found


def _numbering_of(paragraph: Any, by_style: dict[str, tuple[str, int]]) -> tuple[str, int]:
    """List and level of a paragraph: its own before its style's."""
    inherited = by_style.get(_value(paragraph, "pPr/pStyle"), ("", 0))
    number, level = _value(paragraph, "pPr/numPr/numId"), _value(paragraph, "pPr/numPr/ilvl")
    return number or inherited[0], _number(level, inherited[1])


def _shown(level: int, levels: dict[int, Level], count: dict[int, int]) -> str:
    """The number as it stands before the paragraph; empty for bullets."""
    if levels[level].form in ("bullet", "none"):
        return ""
    text = levels[level].pattern
    for place in range(level + 1):
        here = levels.get(place, levels[level])
        text = text.replace(f"%{place + 1}", FORMS.get(here.form, str)(count.get(place, here.start)))
    return text.strip()


def _of(letters: str) -> Callable[[int], str]:
    return lambda number: letters[(number - 1) % len(letters)] * ((number - 1) // len(letters) + 1)


def _roman(number: int) -> str:
    text = ""
    for value, letters in ROMAN:
        text += letters * (number // value)
        number %= value
    return text


FORMS: dict[str, Callable[[int], str]] = {
    "ganada": _of(GANADA),
    "chosung": _of(CHOSUNG),
    "lowerLetter": _of("abcdefghijklmnopqrstuvwxyz"),
    "upperLetter": _of("ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
    "lowerRoman": _roman,
    "upperRoman": lambda number: _roman(number).upper(),
    "decimalEnclosedCircle": lambda number: chr(0x245F + number) if 1 <= number <= 20 else f"({number})",
    "decimalZero": lambda number: f"{number:02d}",
}
