"""Does a sentence rest on the articles that it cites? Existence, force on a day, and whether the cited text can carry it.

"Supported" is a cheap necessary condition, not a proof: for the sentence and its question the search does not find another
article that fits far better, and no period or ratio of the sentence contradicts the cited text. Values of the question
count as said.

Does not: understand the sentence. A wrong conclusion about the article's own subject passes, and half of the articles beside
the right one do; what an article delegates to a decree is not followed.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from ..runs.errors import DataError
from ..text.values import Value, values

if TYPE_CHECKING:
    from .citations import Citation
    from .hits import Hit
    from .law_memory import LawIndex

Fault = Literal["", "missing", "not_in_force", "unsupported"]
Support = Literal["supported", "unsupported", "unchecked"]

SENTENCE_END = re.compile(
    r"(?:(?<=[다까요오죠함음임됨])|(?<=[)\]」』”’\"']))[.?!。]+[\"'”’)\]]*(?=\s)|\n+"
)  # followed by white space: at the end of a stream nobody knows yet what comes
OLD_LAW = re.compile(r"(?:^|[^가-힣])(?:구|옛|종전의?|개정\s?전의?|폐지된)\s?[「『‘“'\"]?\Z")
DENIED = re.compile(r"존재하지\s?않|삭제(?:되|된)|폐지(?:되|된)|없는\s?(?:조문|규정)|(?:조문|규정)(?:은|이|도)?\s?없")
CITABLE = re.compile(r"[조항§①-⑳]")  # a text without any of these ends no citation
WORD = re.compile(r"[가-힣]{2,}")
FEWEST_PAIRS = 3  # letter pairs of a sentence; fewer say nothing of what it is about
LEAST_FIT = 0.4  # of the best article's score; chosen on half of the pack's answers, measured on the others (bench)
CONTRADICTED = ("period", "ratio")
LABELS: dict[Fault, str] = {"missing": "없는 조문", "not_in_force": "시행되지 않는 조문", "unsupported": "근거와 다름"}


@dataclass(frozen=True, slots=True)
class CheckedCitation:
    """A citation with what was found out about it.

    Attributes:
        start, end: its place in the text.
        verdict: whether the article exists: "valid", "invalid" or "unresolved".
        support: whether its text can carry the sentence.
        fault: why it must not go out as it is; empty if nothing speaks against it.
        denied: the sentence says itself that the article does not exist.
    """

    start: int
    end: int
    text: str
    law: str
    article: str
    title: str
    verdict: str
    support: Support
    fault: Fault
    note: str = ""
    denied: bool = False

    @property
    def label(self) -> str:
        """What is written behind a citation that does not hold."""
        return "없는 항" if self.fault == "missing" and self.title else LABELS.get(self.fault, "")


def check_citations(
    memory: "LawIndex", text: str, *, day: str, question: str = "", start: int = 0, hidden: Collection[str] = ()
) -> list[CheckedCitation]:
    """The citations of a text that end behind `start`, judged for a day; what stands before gives them their law.

    Args:
        hidden: as in `LawIndex.search`.
    """
    if not CITABLE.search(text, start):
        return []
    found = [citation for citation in memory.checker.on(day).find(text) if citation.end > start]
    bounds = [start, *(match.end() for match in SENTENCE_END.finditer(text, start)), len(text)]
    checked: list[CheckedCitation] = []
    for begin, end in pairwise(bounds):
        cited = [citation for citation in found if begin < citation.end <= end]
        if cited:
            claim = _claim(text, (begin, end), cited)
            known = [_known(memory, citation, day) for citation in cited]
            articles = [hit for hit in known if hit]
            all_known = len(articles) == len(known)
            carried = _carried(memory, claim, articles, day, question, hidden) if all_known else None
            denied = bool(DENIED.search(text, begin, end))
            checked += [_checked(text, citation, carried, denied=denied) for citation in cited]
    return checked


def _claim(text: str, span: tuple[int, int], cited: "Sequence[Citation]") -> str:
    """A sentence without its citations."""
    begin, end = span
    claim = text[begin:end]
    for citation in reversed(cited):
        claim = f"{claim[: max(0, citation.start - begin)]} {claim[citation.end - begin :]}"
    return claim


def _known(memory: "LawIndex", citation: "Citation", day: str) -> "Hit | None":
    """The cited article if its text of that day is known."""
    if citation.verdict != "valid" or citation.law not in memory.statutes.laws:
        return None
    hit = memory.article(citation.law, citation.article, at=day)
    return hit if hit and hit.text and not hit.note else None


def _checked(text: str, citation: "Citation", carried: bool | None, *, denied: bool) -> CheckedCitation:
    old = bool(OLD_LAW.search(text[max(0, citation.start - 12) : citation.start]))
    fault: Fault = ""
    if citation.verdict == "invalid":
        fault = "missing" if citation.in_force else "not_in_force"
    elif citation.verdict == "valid" and not citation.in_force and not old:
        fault = "not_in_force"
    elif carried is False and not denied:
        fault = "unsupported"
    support: Support = "unchecked" if carried is None else "supported" if carried else "unsupported"
    return CheckedCitation(
        citation.start,
        citation.end,
        text[citation.start : citation.end],
        citation.law,
        citation.article,
        citation.title,
        citation.verdict,
        support,
        fault,
        citation.note,
        denied,
    )


def _carried(
    memory: "LawIndex", claim: str, cited: "Sequence[Hit]", day: str, question: str, hidden: Collection[str]
) -> bool | None:
    """Whether the cited articles can carry a claim whose citations have been taken out; None if the search is damaged."""
    if contradicts(claim, cited, question):
        return False
    if len(_pairs(claim)) < FEWEST_PAIRS:
        return True
    try:
        return memory.fit(f"{claim} {question}", cited, day, hidden) >= LEAST_FIT
    except DataError:
        return None


def contradicts(claim: str, cited: "Sequence[Hit]", question: str) -> bool:
    """Whether the cited texts have periods or ratios, the claim has some of its own, and none of them are the same."""
    given, told = values(_text(cited)), values(question)
    claimed = [value for value in values(claim) if not _among(value, told)]
    return any(_contradicted(kind, claimed, given) for kind in CONTRADICTED)


def shared(claim: str, cited: "Sequence[Hit]") -> int:
    """How many letter pairs of a claim stand in the cited texts."""
    return len(_pairs(claim) & _pairs(_text(cited)))


def _text(hits: "Sequence[Hit]") -> str:
    return " ".join(f"{hit.title} {hit.text}" for hit in hits)


def _contradicted(kind: str, claimed: Sequence[Value], given: Sequence[Value]) -> bool:
    """The texts have values of a kind, and none of the claim's is among them."""
    wanted, known = ([value for value in side if value.kind == kind] for side in (claimed, given))
    return bool(wanted and known) and not any(_among(value, known) for value in wanted)


def _among(value: Value, known: Sequence[Value]) -> bool:
    return any(value.agrees(one) for one in known)


def _pairs(text: str) -> set[str]:
    return {word[at : at + 2] for word in WORD.findall(text) for at in range(len(word) - 1)}
