"""Masking of Korean personal data by the patterns of a pack's `pii.yaml`.

Before matching, the text is brought into one writing, so that width, style, kind of dash, invisible characters and line
breaks hide nothing; a match is masked where it stands in the original.

Does not: find names or street addresses; check check digits (those of resident numbers are random since October 2020).
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from ..runs.errors import DataError
from .codes import Bools, Codes
from .normalize import INVISIBLE

LEAST_DIGITS, WITHIN = 6, 48  # a personal number has six digits within this many characters, and no Hangul among them
DIGIT, SIGN, BRACKET = 1, 2, 3
DASHES = "‐‑‒–—―−－﹣﹘⁃➖ㅡᅳ─━"
SPACES_OF_ALL_KINDS = "\t\u00a0\u202f\u205f\u3000\u3164" + "".join(map(chr, range(0x2000, 0x200B)))
BROKEN_LINE = re.compile(r"(?<=[\d\-.)]) {0,3}[\r\n]{1,2} {0,3}(?=[\d\-.(])")
LETTERS_OF_AT = np.array([ord("a"), ord("A"), ord("@")])
SPOKEN = "공일"  # 010 as it is said


class Kind(BaseModel):
    """One kind of personal data; see the pack's `pii.yaml`. `match` and `no_match` are its own examples."""

    model_config = ConfigDict(extra="forbid")
    kind: str
    label: str
    mask: str
    pattern: str
    context: str = ""
    after: str = ""
    not_after: str = ""
    named: bool = False
    enabled: bool = True
    match: list[str] = []
    no_match: list[str] = []


class PersonalData(BaseModel):
    """The whole of `pii.yaml`."""

    model_config = ConfigDict(extra="forbid")
    version: int = 1
    context_chars: int = 20
    labels: str = ""
    kinds: list[Kind]


@dataclass(frozen=True, slots=True)
class Found:
    """A place of personal data in a text."""

    start: int
    end: int
    kind: str
    mask: str


@dataclass(frozen=True, slots=True)
class _Rule:
    """A kind, compiled."""

    kind: str
    mask: str
    pattern: re.Pattern[str]
    near: tuple[re.Pattern[str] | None, re.Pattern[str] | None]
    never: re.Pattern[str] | None

    @classmethod
    def of(cls, kind: Kind, labels: str) -> Self:
        context, after = (re.compile(text) if text else None for text in (kind.context, kind.after))
        never = "|".join(filter(None, ("" if kind.named else labels, kind.not_after)))
        excluded = re.compile(never) if never else None
        return cls(kind.kind, kind.mask, re.compile(kind.pattern), (context, after), excluded)

    def holds(self, before: str, after: str) -> bool:
        """True if the surroundings confirm the match and no label excludes it."""
        if self.never and self.never.search(before):
            return False
        ahead, behind = self.near
        near = [bool(p.search(part)) for p, part in ((ahead, before), (behind, after)) if p]
        return any(near) or not near


class Personal:
    """The patterns, compiled.

    Raises:
        DataError: a wrong key, or a pattern that is no regular expression.
    """

    def __init__(self, rules: dict[str, Any], *, every: bool = False) -> None:
        try:
            data = PersonalData.model_validate(rules)
            kinds = [kind for kind in data.kinds if kind.enabled or every]
            self._kinds = [_Rule.of(kind, data.labels) for kind in kinds]
        except (ValidationError, re.error) as error:
            raise DataError(f"the patterns of personal data are wrong: {error}", where="pii.yaml") from None
        self._context = data.context_chars
        examples = [example for kind in kinds for example in kind.match]
        proven = all(kind.match for kind in kinds) and bool(suspects(Codes.of(examples)).all())
        self._suspects = suspects if proven else lambda codes: np.ones(len(codes.ends), bool)

    def find(self, text: str) -> list[Found]:
        """All places, in order; where kinds overlap the one listed first wins."""
        plain, places = _folded(text)
        found: list[Found] = []
        taken = bytearray(len(plain))
        for rule in self._kinds:
            for match in rule.pattern.finditer(plain):
                start, end = match.span()
                around = plain[max(0, start - self._context) : start], plain[end : end + self._context]
                if start < end and 1 not in taken[start:end] and rule.holds(*around):
                    taken[start:end] = bytes([1]) * (end - start)
                    found.append(Found(places[start], places[end - 1] + 1, rule.kind, rule.mask))
        return sorted(found, key=lambda f: f.start)

    def mask_all(self, texts: Sequence[str], counts: Counter[str]) -> list[str]:
        """`mask` for many texts: a look at all code points leaves the few to be searched.

        That look is taken only if every example of the patterns passes it.
        """
        masked = list(texts)
        for row in np.flatnonzero(self._suspects(Codes.of(masked))):
            masked[row] = self.mask(masked[row], counts)
        return masked

    def mask(self, text: str, counts: Counter[str] | None = None) -> str:
        """The text with each place replaced by its kind's mask; `counts` gets one more per kind and place."""
        found = self.find(text)
        if not found:
            return text
        pieces: list[str] = []
        at = 0
        for place in found:
            pieces += [text[at : place.start], place.mask]
            at = place.end
            if counts is not None:
                counts[place.kind] += 1
        return "".join([*pieces, text[at:]])


def suspects(codes: Codes) -> Bools:
    """Texts that may hold personal data: six digits close together, or what every e-mail address has."""
    kinds = codes.look_up(_kinds())
    digits = np.flatnonzero(kinds == DIGIT)
    hangul = np.cumsum((codes.points >= 0xAC00) & (codes.points <= 0xD7A3))
    first, last = digits[: 1 - LEAST_DIGITS], digits[LEAST_DIGITS - 1 :]
    dense = np.zeros(len(kinds), bool)
    dense[first] = (last - first < WITHIN) & (hangul[last] == hangul[first])
    sign = kinds == SIGN
    sign[:-1] |= (kinds[:-1] == BRACKET) & np.isin(codes.points[1:], LETTERS_OF_AT)
    sign[:-1] |= (codes.points[:-1] == ord(SPOKEN[0])) & (codes.points[1:] == ord(SPOKEN[1]))
    return codes.sums(dense | sign) > 0


def _folded(text: str) -> tuple[str, Sequence[int]]:
    """The text in the one writing that the patterns know, and where each of its characters stands in the original.

    Digits, letters and signs of any width and style become ASCII, every dash "-" and every space " ", also a line break
    between figures; invisible characters are left out.
    """
    places: Sequence[int] = range(len(text))
    if INVISIBLE.search(text):
        places = [at for at, sign in enumerate(text) if sign in "\n\t" or not INVISIBLE.match(sign)]
        text = "".join(map(text.__getitem__, places))
    text = _foldable().sub(lambda match: _folding()[ord(match[0])], text)
    return BROKEN_LINE.sub(lambda match: " " * len(match[0]), text) if "\n" in text else text, places


@cache
def _folding() -> dict[int, str]:
    table = dict.fromkeys(map(ord, DASHES), "-") | dict.fromkeys(map(ord, SPACES_OF_ALL_KINDS), " ")
    table |= dict.fromkeys(map(ord, "ㆍ・･‧∙•"), "·")
    for code in (*range(0x80, 0x10000), *range(0x1D7CE, 0x1D800), *range(0x1F100, 0x1F10B)):
        digit = unicodedata.digit(chr(code), None)
        if code not in table and (digit is not None or 0xFF01 <= code <= 0xFF5E):
            table[code] = unicodedata.normalize("NFKC", chr(code)) if digit is None else str(digit)
    return table


@cache
def _foldable() -> re.Pattern[str]:
    return re.compile(f"[{''.join(re.escape(chr(code)) for code in _folding())}]")


@cache
def _kinds() -> npt.NDArray[np.uint8]:
    """DIGIT, SIGN (of an e-mail address) or 0 for every code point."""
    table = np.zeros(0x1F10B, np.uint8)
    table[ord("0") : ord("9") + 1] = DIGIT
    table[[code for code, plain in _folding().items() if plain.isdigit() and code < len(table)]] = DIGIT
    table[[ord(char) for char in "@＠골"]] = SIGN
    table[[ord(char) for char in "(["]] = BRACKET
    return table
