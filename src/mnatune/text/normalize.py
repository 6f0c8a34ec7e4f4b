"""Plain text in one form, and the folded forms that texts are compared in.

`normalize` is what is kept: NFC, no markup of web pages, no invisible characters, tidy white space. The indentation of
lists and the inside of code fences stay. `folded` is what is searched: half-width and lower-case too. `sameness` is what
decides whether two questions are one: letters and digits alone.

Does not: repair text that was decoded wrongly; remove markup that is no HTML.
"""

import hashlib
import html
import re
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache, partial

import numpy as np
import numpy.typing as npt

from .codes import Bools, Codes

INVISIBLE = re.compile(
    "[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u0084\u0086-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e"
    "\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
SPACES = re.compile("[ \t\u00a0\u1680\u2000-\u200a\u202f\u205f\u2800\u3000\u3164\uffa0]+")  # and blank fillers
LINE_ENDS = re.compile("\r\n|[\r\u0085\u2028\u2029]")
BREAKS = re.compile(r"\n{3,}")
SURROGATES = re.compile("[\ud800-\udfff]")
SYMBOL_FONT = re.compile("[\uf020-\uf0ff\U000f0000-\U0010fffd]")  # Wingdings, Symbol and 한글's own signs
BOXED = {0xF02B1 + n: chr(0x2460 + n) for n in range(9)}  # 한글's boxed 1–9 → ①–⑨

WIDE_SIGN = re.compile("[\uff01-\uff5e]")

AMPERSANDS = re.compile(r"&(?:(?:amp|#0{0,6}38|#[xX]0{0,6}26);)+")
ENTITY = re.compile(
    r"&(?:#\d{1,8}|#[xX][0-9a-fA-F]{1,8}|[A-Za-z][A-Za-z0-9]{1,31});|&(?:nbsp|amp|lt|gt|quot)(?![A-Za-z0-9;=])"
)
BLOCK = "br|p|div|li|ul|ol|dl|dt|dd|tr|table|thead|tbody|tfoot|h[1-6]|hr|section|article|header|footer|blockquote|pre"
INLINE = (
    "a|abbr|b|big|body|caption|center|code|col|colgroup|del|em|font|head|html|i|img|ins|label|link|mark|meta|nav|nobr|q|"
    "rp|rt|ruby|s|small|span|strike|strong|style|sub|sup|title|tt|u|var|wbr|script|input|form|button"
)
TAG = re.compile(
    rf"</?(?:(?P<block>{BLOCK})|(?P<cell>t[dh])|(?P<inline>{INLINE}))(?:[\s/][^<>]*)?>|<!--[^<>]*-->", re.IGNORECASE
)
CLOSING = re.compile(r"</([A-Z])\s*>")
HIDDEN = re.compile(r"<(script|style)\b[^<>]*>[^<]*+</\1\s*>", re.IGNORECASE)
NESTED = 4  # layers of markup within markup that are taken off; what has more is no page

FENCE = re.compile(r"^[ \t]*(?:```|~~~)", re.MULTILINE)
LIST_MARK = re.compile(r"[-*+•·▪▫■□◦○●‣※▶▷→①-⑳㉠-㉾⑴-⒇ⅰ-ⅹⅠ-Ⅹ]|\(?\d{1,3}[.)]|\(?[가-하a-zA-Z][.)]")
LEAST_INDENT, MOST_INDENT = 2, 16  # one space before a line is no level of a list
WIDTHS = {"\t": 4, "\u3000": 2}
ASKED = re.compile(r"(?:q(?:uestion)?|질문|질의|문제|문의|물음|문)\d{0,3}[.:)\]]+|[\[(](?:q|질문|문제)[\])]")
PLAIN, SPACE, BREAK, ODD = range(4)


def normalize(text: str) -> str:
    """The stored form of a text. Idempotent; lone surrogates become U+FFFD."""
    if not (_look().search(text) or text[:1].isspace() or text[-1:].isspace()):
        return text
    text = _without_markup(text)
    text = BREAKS.sub("\n\n", "\n".join(_tidy_lines(text))) if "\n" in text else SPACES.sub(" ", text)
    return unicodedata.normalize("NFC", text.strip())


def normalize_all(texts: Sequence[str]) -> list[str]:
    """`normalize` for many texts; one pass over their code points finds the few that need it."""
    tidied = list(texts)
    for row in np.flatnonzero(untidy(Codes.of(tidied))):
        tidied[row] = normalize(tidied[row])
    return tidied


def decoded(raw: bytes, unicode: str = "utf-8") -> str | None:
    """The bytes as UTF-8 (or "utf-8-sig"), else as cp949; None if they are neither."""
    for encoding in (unicode, "cp949"):
        with suppress(UnicodeDecodeError):
            return raw.decode(encoding)
    return None


def folded(text: str) -> str:
    """The search form of a text: normalised, NFKC, case-folded. Spaces stay."""
    return unicodedata.normalize("NFKC", normalize(text)).casefold()


def sameness(question: str) -> str:
    """The comparison key of a question: letters and digits only, without a leading "Q." or "질문:"."""
    text = "".join(folded(question).split())
    mark = ASKED.match(text)
    return "".join(filter(str.isalnum, text[mark.end() :] if mark else text)) or text


def sameness_key(text: str) -> int:
    """`sameness` as a number of 64 bits, for keeping questions without their texts."""
    return int.from_bytes(hashlib.blake2b(sameness(text).encode(), digest_size=8).digest(), "little")


def _characters(text: str) -> str:
    """NFC, ASCII width, "\\n" line ends, no invisible characters, bullets for symbol-font characters."""
    text = LINE_ENDS.sub("\n", SURROGATES.sub("\ufffd", text))
    text = SYMBOL_FONT.sub(lambda match: BOXED.get(ord(match[0]), "•"), text)
    text = WIDE_SIGN.sub(lambda match: chr(ord(match[0]) - 0xFEE0), text)
    return unicodedata.normalize("NFC", INVISIBLE.sub("", text))


def _without_markup(text: str) -> str:
    """Plain characters without HTML entities and tags, however nested; `<상법>` and `<NAME>` stay."""
    text = _characters(text)
    for _ in range(NESTED):
        if "<" not in text and "&" not in text:
            return text
        before = text
        text = ENTITY.sub(lambda match: html.unescape(match[0].rstrip(";") + ";"), AMPERSANDS.sub("&", text))
        closed = set(CLOSING.findall(text))
        text = TAG.sub(partial(_instead_of, closed), HIDDEN.sub("", text))
        text = _characters(text)
        if text == before:
            return text
    return _characters(text.replace("<", "").replace("&", ""))


def _instead_of(closed: set[str], tag: re.Match[str]) -> str:
    """The replacement of a tag; a lone capital such as `<A>` that nothing closes is a party's name and stays."""
    if len(tag[0]) == 3 and tag[0][1].isupper() and tag[0][1] not in closed:
        return tag[0]
    return "\n" if tag["block"] else " " if tag["cell"] else ""


def _tidy_lines(text: str) -> Iterator[str]:
    """The lines with single spaces; list items keep their indentation and closed code fences stay as they are."""
    fences = sum(1 for _ in FENCE.finditer(text))
    fenced = listed = False
    for line in text.split("\n"):
        if FENCE.match(line):
            fences -= 1
            fenced = not fenced and fences > 0
            listed = False
        elif fenced:
            yield line.rstrip()
            continue
        body = SPACES.sub(" ", line).strip()
        indent = sum(WIDTHS.get(sign, 1) for sign in line[: len(line) - len(line.lstrip())])
        listed = bool(LIST_MARK.match(body)) or (listed and (indent >= LEAST_INDENT or not body))
        yield " " * min(indent, MOST_INDENT) + body if listed and body and indent >= LEAST_INDENT else body


def untidy(codes: Codes) -> Bools:
    """Mask of the texts that `normalize` may change."""
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
    for pattern in (INVISIBLE, SPACES, LINE_ENDS, SURROGATES, SYMBOL_FONT, WIDE_SIGN, re.compile(r"[\s<&]+")):
        for match in pattern.finditer(every):
            table[match.start() : match.end()] = ODD
    table[0x20], table[0x0A], table[0x10000] = SPACE, BREAK, ODD
    return table


@cache
def _look() -> re.Pattern[str]:
    """The pattern of what `untidy` looks for inside a text."""
    odd = np.flatnonzero(np.diff((_kinds()[:0x10000] == ODD).astype(np.int8), prepend=0, append=0)).reshape(-1, 2)
    ranges = "".join(f"\\u{first:04x}-\\u{last - 1:04x}" for first, last in odd.tolist())
    return re.compile(rf"[{ranges}\U00010000-\U0010ffff]|  | \n|\n |\n\n\n")
