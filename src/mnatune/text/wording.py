"""Do two texts say the same in other words of grammar? Particles, endings, spacing and punctuation may differ, nothing else.

Similar texts of law differ in the one word that matters: 가능/불가능, 매수인/매도인, 삼십/육십, ①/④, "갑이 을에게" and
"을이 갑에게". So the rule lists what may differ instead of what may not: whatever is in no table below is a difference.

Does not: parse. Two wordings that are the same to a reader are often called different, never the reverse on purpose.
"""

from collections.abc import Iterator

from .normalize import folded

LONGEST = 8  # characters of a difference
AGREE = 2  # characters after a difference that must be equal again
SIGNS = frozenset(".,;:!?\"'“”‘’()[]{}「」『』《》〈〉【】·ㆍ・*_#`…。、")
NUMERIC = frozenset(".,:·")  # between two figures these belong to the number

# A particle's role in the sentence. Particles of one role replace each other, topic marks replace subject and object,
# and some may be left out. 에게 and 이 are never the same.
TOPIC, ALSO, SUBJECT, OBJECT, PLACE, OWNER, WITH, BY = range(8)
PARTICLES = {
    **dict.fromkeys(("은", "는", "이란", "란"), TOPIC),
    **dict.fromkeys(("도",), ALSO),
    **dict.fromkeys(("이", "가", "께서"), SUBJECT),
    **dict.fromkeys(("을", "를"), OBJECT),
    **dict.fromkeys(("에", "에는", "에서", "에서는", "서", "서는"), PLACE),
    **dict.fromkeys(("의",), OWNER),
    **dict.fromkeys(("와", "과", "하고"), WITH),
    **dict.fromkeys(("로", "으로", "로서", "으로서", "로써", "으로써"), BY),
}
LEFT_OUT = {TOPIC, SUBJECT, OBJECT, PLACE, OWNER}
REPLACED = ({TOPIC, SUBJECT}, {TOPIC, OBJECT}, {TOPIC, PLACE}, {ALSO, TOPIC}, {ALSO, SUBJECT}, {ALSO, OBJECT})

# Endings of one verb in one sense: the style differs (합니다체, 해요체, 평서형, 명사형) or the tense of a report.
ENDINGS = tuple(
    frozenset(forms.split())
    for forms in (
        "ㄴ다 는다 다 ㅂ니다 습니다 ㅁ 음",
        "ㄴ가 ㄴ가요 ㅂ니까",
        "한다 하다 합니다 해요 하였다 했다 하였습니다 했습니다 하였음 했음 함",
        "된다 되다 됩니다 돼요 되었다 됐다 되었습니다 됐습니다 되었음 됨",
        "다 입니다 이다 이에요 예요 임 이었다 였다 이었습니다 였습니다",
        "있다 있습니다 있어요 있음",
        "는다 다 습니다 음 었다 었습니다 았다 았습니다 어요 아요 었음 았음",
        "하여 해 하여서 해서 하고 하며 하면서 하였고 했고 하였으며 했으며 한다",
        "하여야 해야 하여야만 해야만",
        "되어야 돼야",
        "되어 돼 되어서 돼서 되고 되며 되었고 되었으며",
        "고 며 으며 이고 이며",
        "세요 십시오 시오 으세요 으십시오",
        "까 까요 습니까 나요 는가 는가요 은가요 은가",
        "인가 인가요 입니까 인지요",
        "하나요 합니까 하는가 하는가요 한가요",
        "되나요 됩니까 되는가 되는가요",
        "있나요 있습니까 있는가 있는가요",
    )
)
# Whole words that carry no fact of their own.
WORDS = tuple(
    frozenset(forms.split())
    for forms in (
        "관하여 대하여 관해 대해 관해서 대해서",
        "관한 대한",
        "위하여 위해 위해서",
        "의하여 의해 따라 의하면 따르면",
        "따라서 그러므로 그래서",
        "또한 또 그리고",
        "그러나 하지만 그렇지만",
    )
)
ADDED = frozenset(("이다", "입니다", "요"))  # to a noun or to a plain ending
FINALS = {4: "ㄴ", 16: "ㅁ", 17: "ㅂ"}  # number of the final consonant in a syllable → its letter
CLOSING = frozenset(["이상입니다", "이상이다", "감사합니다", "고맙습니다", "끝", "끝이다"])


def same_statement(one: str, other: str) -> bool:
    """True if the texts differ in particles, endings, spacing and punctuation alone."""
    first, second = _letters(one), _letters(other)
    return first == second or _Walk(first, second).agrees()


def _letters(text: str) -> list[str]:
    """The text's letters and signs without spaces and punctuation; a letter that ends a word carries a space."""
    found: list[str] = []
    text = folded(text)
    for at, letter in enumerate(text):
        numeric = letter in NUMERIC and text[at - 1 : at].isdigit() and text[at + 1 : at + 2].isdigit()
        if not letter.isspace() and (letter not in SIGNS or numeric):
            found.append(letter)
        elif found:
            found[-1] = found[-1][0] + " "
    return found


class _Walk:
    """Walks two texts in parallel and skips each difference that is pure grammar, shortest first."""

    def __init__(self, one: list[str], other: list[str]) -> None:
        self._ends = tuple([False, *(len(letter) > 1 for letter in text[:-1]), True] for text in (one, other))
        self._texts = tuple("".join(letter[0] for letter in text) for text in (one, other))

    def agrees(self) -> bool:
        one, other = self._texts
        i = j = 0
        while True:
            same = _common(one, other, i, j)
            i, j = i + same, j + same
            if i == len(one) and j == len(other):
                return True
            step = next(self._steps(i, j), None)
            if step is None:
                return False
            i, j = i + step[0], j + step[1]

    def _steps(self, i: int, j: int) -> Iterator[tuple[int, int]]:
        """Sizes of the pieces from here that may be exchanged for one another, the shortest first."""
        one, other = self._texts
        for total in range(1, 2 * LONGEST + 1):
            for size in range(max(0, total - LONGEST), min(LONGEST, total) + 1):
                here, there = i + size, j + total - size
                after = min(AGREE, len(one) - here, len(other) - there)
                if after < 0 or one[here : here + after] != other[there : there + after]:
                    continue
                if not after and not (self._ends[0][here] and self._ends[1][there]):
                    continue  # one text is over, the other's word is not
                if self._allowed(i, j, here, there):
                    yield size, total - size

    def _allowed(self, i: int, j: int, here: int, there: int) -> bool:
        """True if the two pieces, extended to the end of the word, differ in grammar only."""
        one, other = self._texts
        ends_one, ends_other = self._ends
        for more in range(LONGEST):
            a, b = one[i : here + more], other[j : there + more]
            if ends_one[here + more] or ends_other[there + more]:
                begins = (bool(a) and (not i or ends_one[i])) or (bool(b) and (not j or ends_other[j]))
                return _same_word(a, b) or _same_ending(a, b) or (not begins and _same_particle(a, b))
            if here + more >= len(one) or one[here + more] != other[there + more : there + more + 1]:
                return False
        return False


def _common(one: str, other: str, i: int, j: int) -> int:
    """Length of the common run from here."""
    same, stretch = 0, 32
    while (piece := one[i + same : i + same + stretch]) and piece == other[j + same : j + same + stretch]:
        same += len(piece)
    for a, b in zip(one[i + same : i + same + stretch], other[j + same : j + same + stretch], strict=False):
        if a != b:
            break
        same += 1
    return same


def _same_particle(a: str, b: str) -> bool:
    if not a or not b:
        return PARTICLES.get(a or b) in LEFT_OUT or (a or b) in ADDED
    roles = {PARTICLES.get(a), PARTICLES.get(b)}
    return None not in roles and (len(roles) == 1 or roles in REPLACED)


def _same_ending(a: str, b: str) -> bool:
    """한다 and 합니다; 따른다 and 따릅니다 too, whose stems end in the syllable in which the endings begin."""
    if any(a in forms and b in forms for forms in ENDINGS):
        return True
    (stem, first), (other, second) = _opened(a), _opened(b)
    return bool(stem) and stem == other and any(first in forms and second in forms for forms in ENDINGS)


def _opened(piece: str) -> tuple[str, str]:
    """A syllable with ㄴ, ㅁ or ㅂ at its end as (syllable without it, the rest): 른다 → 르, ㄴ다."""
    code = ord(piece[0]) - 0xAC00 if piece else -1
    if 0 <= code < 11172 and code % 28 in FINALS:
        return chr(0xAC00 + code - code % 28), FINALS[code % 28] + piece[1:]
    return piece[:1], piece[1:]


def _same_word(a: str, b: str) -> bool:
    if not a or not b:
        return (a or b) in CLOSING
    return any(a in forms and b in forms for forms in WORDS)
