"""Masking of Korean personal data by the patterns of a pack's `pii.yaml`.

Digits are folded to ASCII before matching, without changing the length of the text, so that full-width digits hide
nothing and a match's place is its place in the original.

Does not: find names or street addresses; check check digits (those of resident numbers are random since October 2020).
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from ..runs.errors import DataError
from .codes import Bools, Codes

LEAST_DIGITS, WITHIN = 6, 48  # a personal number has six digits within this many characters, and no Hangul among them
DIGIT, SIGN, BRACKET = 1, 2, 3


class Kind(BaseModel):
    """One kind of personal data; see the pack's `pii.yaml`. `match` and `no_match` are its own examples."""

    model_config = ConfigDict(extra="forbid")
    kind: str
    label: str
    mask: str
    pattern: str
    context: str = ""
    enabled: bool = True
    match: list[str] = []
    no_match: list[str] = []


class PersonalData(BaseModel):
    """The whole of `pii.yaml`."""

    model_config = ConfigDict(extra="forbid")
    version: int = 1
    context_chars: int = 20
    kinds: list[Kind]


@dataclass(frozen=True, slots=True)
class Found:
    """A place of personal data in a text."""

    start: int
    end: int
    kind: str
    mask: str


class Personal:
    """The patterns, compiled.

    Raises:
        DataError: a wrong key, or a pattern that is no regular expression.
    """

    def __init__(self, rules: dict[str, Any], *, every: bool = False) -> None:
        try:
            data = PersonalData.model_validate(rules)
            kinds = [kind for kind in data.kinds if kind.enabled or every]
            self._kinds = [(k, re.compile(k.pattern), re.compile(k.context) if k.context else None) for k in kinds]
        except (ValidationError, re.error) as error:
            raise DataError(f"the patterns of personal data are wrong: {error}", where="pii.yaml") from None
        self._context = data.context_chars
        examples = [example for kind in kinds for example in kind.match]
        proven = all(kind.match for kind in kinds) and bool(suspects(Codes.of(examples)).all())
        self._suspects = suspects if proven else _all_suspect

    def find(self, text: str) -> list[Found]:
        """All places, in order; where kinds overlap the one listed first wins."""
        text = fold_digits(text)
        found: list[Found] = []
        for kind, pattern, context in self._kinds:
            for match in pattern.finditer(text):
                start, end = match.span()
                if context and not context.search(text[max(0, start - self._context) : start]):
                    continue
                if start < end and not any(f.start < end and start < f.end for f in found):
                    found.append(Found(start, end, kind.kind, kind.mask))
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
    sign[:-1] |= (kinds[:-1] == BRACKET) & (codes.points[1:] == ord("a"))
    return codes.sums(dense | sign) > 0


def _all_suspect(codes: Codes) -> Bools:
    return np.ones(len(codes.ends), bool)


def fold_digits(text: str) -> str:
    """The text with every digit of another width or style as an ASCII digit; its length stays."""
    return text if text.isascii() else text.translate(_folding())


@cache
def _folding() -> dict[int, str]:
    table: dict[int, str] = {}
    for block in (range(0x80, 0x10000), range(0x1D7CE, 0x1D800)):
        for code in block:
            if unicodedata.digit(chr(code), None) is not None:
                plain = unicodedata.normalize("NFKC", chr(code))
                if len(plain) == 1 and plain.isascii() and plain.isdigit():
                    table[code] = plain
    return table


@cache
def _kinds() -> npt.NDArray[np.uint8]:
    """DIGIT, SIGN (of an e-mail address) or 0 for every code point."""
    table = np.zeros(0x1D801, np.uint8)
    table[ord("0") : ord("9") + 1] = DIGIT
    table[list(_folding())] = DIGIT
    table[[ord(char) for char in "@＠골"]] = SIGN
    table[[ord(char) for char in "(["]] = BRACKET
    return table
