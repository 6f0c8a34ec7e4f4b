"""Replaces the parties that a contract defines by 갑, 을, 병 …, consistently within the file.

A definition has the usual form: 주식회사 한빛(이하 "매도인"이라 한다). The first name becomes 갑, the second 을, unless the
contract itself assigns these labels.

Does not: find names that no definition introduces.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from functools import partial

LABELS = ("갑", "을", "병", "정", "무", "기", "경", "신", "임", "계")
FORM = r"(?:주식회사|유한회사|유한책임회사|합자회사|합명회사|㈜|\(주\))"
NAME = re.compile(
    rf"(?P<name>{FORM}\s?[가-힣A-Za-z0-9&·]{{1,30}}|[가-힣A-Za-z0-9&·]{{1,30}}\s?{FORM}|[가-힣]{{2,5}})"
    r"\s*\(이하\s*[\"“'‘「](?P<label>[^\"”'’」\n]{1,20})[\"”'’」]"
)
# Each particle → its forms after a final consonant and after none.
PARTICLE = {one: pair for pair in ("은는", "이가", "을를", "과와") for one in pair}
TAIL = rf"(?:(?P<particle>[{''.join(PARTICLE)}])(?![가-힣]))?"
CORE = re.compile(rf"{FORM}\s?|\s?{FORM}")


class Parties:
    """The defined names of each file, by its group, with their labels."""

    def __init__(self) -> None:
        self._names: dict[str, dict[str, str]] = defaultdict(dict)

    def learn(self, group: str, text: str) -> None:
        """Collect the definitions of a text; the first one of a name counts."""
        known = self._names[group] if "(이하" in text else {}
        for found in NAME.finditer(text) if "(이하" in text else ():
            core = CORE.sub("", found["name"]).strip()
            if core and core not in known:
                own = found["label"].strip() if found["label"].strip() in LABELS else ""
                free = (label for label in LABELS if label not in known.values())
                known[core] = own or next(free, LABELS[-1])

    def replace(self, groups: Iterable[str], texts: Iterable[str]) -> list[str]:
        """The texts with the names of their file replaced, longer names first."""
        return [self._replaced(self._names.get(group, {}), text) for group, text in zip(groups, texts, strict=True)]

    @staticmethod
    def _replaced(names: dict[str, str], text: str) -> str:
        for name, label in sorted(names.items(), key=lambda item: -len(item[0])):
            if name in text:
                whole = rf"(?:{FORM}\s?)?(?<![가-힣A-Za-z0-9]){re.escape(name)}(?:\s?{FORM})?{TAIL}"
                text = re.sub(whole, partial(_labelled, label), text)
        return text


def _labelled(label: str, found: re.Match[str]) -> str:
    """The label with the particle that fits its final sound."""
    open_syllable = (ord(label) - ord("가")) % 28 == 0
    return label + (PARTICLE[found["particle"]][open_syllable] if found["particle"] else "")
