"""Plain text in one form: NFC, no invisible characters, single spaces, at most one empty line."""

import re
import unicodedata
from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt

from .codes import Bools, Codes

INVISIBLE = re.compile(
    "[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u0084\u0086-\u009f\u00ad\u200b-\u200f\u202a-\u202e\u2060\ufeff]"
)
SPACES = re.compile("[ \t\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]+")
LINE_ENDS = re.compile("\r\n|[\r\u0085\u2028\u2029]")
AROUND_BREAK = re.compile(r" ?\n ?")
BREAKS = re.compile(r"\n{3,}")
SURROGATES = re.compile("[\ud800-\udfff]")
PLAIN, SPACE, BREAK, ODD = range(4)


def normalize(text: str) -> str:
    """The text in NFC with tidy white space; a lone surrogate becomes U+FFFD. Idempotent."""
    text = unicodedata.normalize("NFC", SURROGATES.sub("\ufffd", text))
    text = SPACES.sub(" ", INVISIBLE.sub("", LINE_ENDS.sub("\n", text)))
    text = BREAKS.sub("\n\n", AROUND_BREAK.sub("\n", text)).strip()
    return unicodedata.normalize("NFC", text)


def normalize_all(texts: Sequence[str]) -> list[str]:
    """`normalize` for many texts: only those are touched that one look at their code points shows to need it."""
    tidied = list(texts)
    for row in np.flatnonzero(untidy(Codes.of(tidied))):
        tidied[row] = normalize(tidied[row])
    return tidied


def untidy(codes: Codes) -> Bools:
    """The texts that `normalize` may change; all others it leaves as they are."""
    if not len(codes.points):
        return np.zeros(len(codes.ends), bool)
    kinds = codes.look_up(_kinds())
    space, line = kinds == SPACE, kinds == BREAK
    blank = space | line
    bad = kinds == ODD
    bad[1:] |= blank[1:] & blank[:-1] & ~(line[1:] & line[:-1])
    bad[2:] |= line[2:] & line[1:-1] & line[:-2]
    full = codes.ends > codes.starts
    bad[codes.starts[full]] |= blank[codes.starts[full]]
    bad[codes.ends[full] - 1] |= blank[codes.ends[full] - 1]
    return codes.sums(bad) > 0


@cache
def _kinds() -> npt.NDArray[np.uint8]:
    """PLAIN, SPACE, BREAK or ODD for every code point of the Basic Multilingual Plane; all beyond it are ODD."""
    table = np.zeros(0x10001, np.uint8)
    for code in (*range(0x3400), *range(0xA000, 0xAC00), *range(0xD7A4, 0x10000)):  # all but Han and Hangul syllables
        char = chr(code)
        if not unicodedata.is_normalized("NFC", char) or unicodedata.combining(char):
            table[code] = ODD
    table[0x1100:0x1200] = ODD  # jamo compose
    table[0xD7B0:0xE000] = ODD
    every = "".join(map(chr, range(0x10000)))
    for pattern in (INVISIBLE, SPACES, LINE_ENDS, SURROGATES, re.compile(r"\s+")):
        for match in pattern.finditer(every):
            table[match.start() : match.end()] = ODD
    table[0x20], table[0x0A], table[0x10000] = SPACE, BREAK, ODD
    return table
