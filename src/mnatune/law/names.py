"""Names under which laws are cited: official, short and earlier names, laws without an index, words that point back.

Names are compared without spaces, quotation marks and middle dots; the longest known name at the end of a text wins.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

SPLIT = re.compile(r"[\s「」『』‘’“”'\"<>〈〉《》\[\]【】〔〕［］{}*_`:：ㆍ·・∙‧\u318d]")


@dataclass(frozen=True, slots=True)
class Law:
    """What a name stands for.

    Attributes:
        name: the official name; for a law outside the index, the name as known or written.
        indexed: the index has its articles.
        old: an earlier version is meant, so that the history can say yes and nothing can say no.
        note: in Korean, why no verdict is possible; otherwise empty.
        start: where the name begins in the text, or -1.
    """

    name: str
    indexed: bool
    old: bool = False
    note: str = ""
    start: int = -1


class LawNames:
    """The names of a pack's citations.yaml and of its statute index."""

    def __init__(self, table: Mapping[str, Any], indexed: Iterable[str]) -> None:
        laws = set(indexed)
        former = {compact(name) for name in table.get("former_names", [])}
        self._names = {compact(name): Law(name, indexed=False) for name in table.get("unindexed", [])}
        self._names |= {compact(law): Law(law, indexed=True) for law in laws}
        for law, aliases in table.get("aliases", {}).items():
            self._names |= {compact(a): Law(law, law in laws, old=compact(a) in former) for a in aliases}
        self._lengths = sorted({len(name) for name in self._names}, reverse=True)
        self._back = sorted((compact(word) for word in table.get("anaphora", [])), key=len, reverse=True)
        self._no_acts = frozenset(table.get("own_act_words", []))
        self._foreign = tuple(table.get("foreign", []))

    def lookup(self, text: str, local: Mapping[str, Law]) -> tuple[Law, int] | None:
        """The law whose name ends the compacted text, and the length of the name.

        Args:
            local: names that the text itself has defined; they win over the pack's unless a longer name fits.
        """
        for length in sorted({*map(len, local)}, reverse=True):
            if text[-length:] in local:
                return self._known(text, length + 1) or (local[text[-length:]], length)
        return self._known(text, 1)

    def points_back(self, text: str) -> str:
        """The back-reference ("같은법") at the end of the compacted text, or an empty string."""
        return next((word for word in self._back if text.endswith(word)), "")

    def is_no_act(self, word: str) -> bool:
        """Whether the word ends like an Act's name but is not one ("방법", "국제법")."""
        return word in self._no_acts

    def is_foreign(self, before: str) -> bool:
        """Whether a country stands right before the law's name."""
        return before.rstrip().endswith(self._foreign) if self._foreign else False

    def _known(self, text: str, at_least: int) -> tuple[Law, int] | None:
        for length in self._lengths:
            if length < at_least:
                return None
            tail = text[-length:]
            if len(tail) == length and tail in self._names:
                return self._names[tail], length
        return None


def compact(text: str) -> str:
    """A name without spaces, quotation marks and middle dots, in NFC."""
    return SPLIT.sub("", unicodedata.normalize("NFC", text))
