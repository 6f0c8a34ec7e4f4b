"""What a law memory gives: hits of a search or a look-up, and changes between two days."""

from dataclasses import dataclass
from typing import Literal

from .article_numbers import written

Kind = Literal["article", "decision", "document"]
KINDS: tuple[Kind, ...] = ("article", "decision", "document")


@dataclass(frozen=True, slots=True)
class Hit:
    """An article, a part of a decision or a document.

    Attributes:
        law, article: "상법" and "522의3"; a decision's court and case number; empty for a document.
        title: of the article or document; a decision's issue.
        text: of the article or document; a decision's holding. Empty if the memory does not have it.
        first, last: days between which the article is in force, `last` empty without an end; the day of a decision.
        since: from when on the text is in force.
        note: in Korean, what is to be known of the text; mostly empty.
        origin: of a document, its file and the place in it: "계약/주식매매계약서.docx, 12–30문단".
        score: 0 if not searched for.
    """

    kind: Kind
    law: str
    article: str
    title: str
    text: str
    first: str
    last: str
    since: str = ""
    note: str = ""
    origin: str = ""
    score: float = 0.0

    @property
    def name(self) -> str:
        """How it is cited: "상법 제522조의3(합병반대주주의 주식매수청구권)"."""
        if self.kind == "article":
            return f"{self.law} {written(self.article)}" + (f"({self.title})" if self.title else "")
        return f"{self.law} {self.first} 선고 {self.article}" if self.kind == "decision" else self.title


@dataclass(frozen=True, slots=True)
class Change:
    """What became of an article between two days: "added", "repealed" or "amended", and its texts where known."""

    kind: Literal["added", "repealed", "amended"]
    number: str
    title: str
    day: str
    before: str
    after: str
