"""The letter that an answer chooses, as people write letters: B, ②, 2번, (나), **B**, "A가 아니라 C".

An answer that names several is unreadable.
"""

import re
import unicodedata

LETTERS = "ABCD"
MARKUP = re.compile(
    r"\\(?:boxed|text|mathbf|textbf|mathrm)\b|[*_`$\"'“”‘’「」『』【】{}<>]|\[(?=[^\]]{0,3}\])|(?<=\w)\]"
)
CIRCLED = str.maketrans("①②③④ⒶⒷⒸⒹⓐⓑⓒⓓ㉮㉯㉰㉱", LETTERS * 4)
SPACES = re.compile(r"\s+")
# Read in text whose runs of spaces are one: with \s? between its optional words no pattern has to try where a run splits.
MARK = (
    r"(?:[(]?\s?(?P<{0}l>[A-Da-d])\s?[)]?(?![A-Za-z0-9])(?!\s?사(?![가-힣]*답))"
    r"|[(]\s?(?P<{0}h>[가나다라])\s?[)]|(?P<{0}b>[가나다라])(?=\s?(?:번|입니다|이다|[.)]|$))"
    r"|[(]?\s?(?P<{0}n>[1-4])\s?(?:번|[)])|(?P<{0}d>[1-4])(?=\s?(?:입니다|이다|\.?\s?$)))"
)


def _mark(name: str) -> str:
    return MARK.replace("{0}", name)


SAYS = r"(?:번|항|보기)?\s?(?:이|가|은|는|을|를)?\s?"
NOT = r"\s?(?:번)?\s?(?:이|가|은|는|도)?\s?(?:정답이\s?)?(?:아니라|아니고|아닌|아니며|아닙니다|아니다|틀리|틀린|틀렸|오답)"
NEGATED = re.compile(rf"{_mark('x')}{NOT}|오답(?:은|이)?\s?{_mark('y')}")
STATED = re.compile(rf"(?<!오)(?:정답|답변|답)\s?(?:은|는|이|:|으로는)?\s?:?\s?(?:보기|선택지)?\s?{_mark('x')}")
CLAIMED = re.compile(
    rf"(?<![A-Za-z0-9가-힣]){_mark('x')}{SAYS}(?:정답(?!이\s?아)|답(?:입니다|이다)|맞(?!지)|옳(?!지)|적절(?!하지)|타당(?!하지)|고르|선택)"
    rf"|(?<![A-Za-z0-9가-힣]){_mark('y')}\s?(?:번)?\s?(?:입니다|이다)"
)
LEADING = re.compile(rf"^\s?(?:보기|선택지)?\s?{_mark('x')}(?!\s?(?:인지|일지|도))")
JOIN = r" ?(?:번)? ?(?:,|/|·|와|과|및|또는|혹은|그리고|이나|나| ) ?"
JOINED = re.compile(rf"{JOIN}{_mark('x')}")
BEFORE = re.compile(rf"{_mark('x')}{JOIN}$")
ITEMS = re.compile(rf"^\s?{_mark('x')}", re.MULTILINE)
NEAR = 24  # characters before a letter in which another that is listed with it stands


def read_letter(text: str) -> str:
    """The letter that an answer chooses; empty if it chooses none, or more than one."""
    plain = unicodedata.normalize("NFC", text).translate(CIRCLED)
    plain = MARKUP.sub("", "".join(unicodedata.normalize("NFKC", c) if "！" <= c <= "～" else c for c in plain)).strip()
    rest = _single_spaced(NEGATED.sub(" ", _single_spaced(plain)))
    for pattern in (STATED, CLAIMED):
        if found := {letter for match in pattern.finditer(rest) for letter in _with_neighbours(rest, match)}:
            return found.pop() if len(found) == 1 else ""
    match = LEADING.match(rest)
    if match is None or len(_with_neighbours(rest, match)) > 1:
        return ""
    listed = {_letter(item) for item in ITEMS.finditer(rest) if item.lastgroup == match.lastgroup}
    return listed.pop() if len(listed) == 1 else ""


def _single_spaced(text: str) -> str:
    """Each run of spaces as one, a line's end where the run holds one."""
    return SPACES.sub(lambda run: "\n" if "\n" in run[0] else " ", text)


def _with_neighbours(text: str, match: re.Match[str]) -> set[str]:
    """The letter of a match, and those that it is listed with: "A 또는 C입니다"."""
    near = (match, JOINED.match(text, match.end()), BEFORE.search(text[max(match.start() - NEAR, 0) : match.start()]))
    return {_letter(one) for one in near if one}


def _letter(match: re.Match[str]) -> str:
    """The letter of a mark in any of its forms."""
    name, found = next((name, found) for name, found in match.groupdict().items() if found)
    letters = {"l": LETTERS, "n": "1234", "d": "1234"}.get(name[1:], "가나다라")
    return LETTERS[letters.index(found.upper())]
