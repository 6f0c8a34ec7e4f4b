"""The one rendering of a question with evidence: numbered passages, then the question, in the words of the pack.

The result is the text of a user turn. Training, evaluation, serving and exports put it into a dialogue and render that with
`prompt.prompt_ids`, so one question with the same passages has the same tokens everywhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from ..text.untrusted import fill, without_markers
from .prompt import Message

if TYPE_CHECKING:
    from ..law import Hit

PASSAGE_LENGTHS = (1_200, 600, 300)  # characters of a passage, the rest left out: the first that a context has room for


@dataclass(frozen=True, slots=True)
class NumberedPassage:
    """A passage that an answer may rest on.

    Attributes:
        name: how it is cited: "상법 제522조의3(합병반대주주의 주식매수청구권)".
        in_force: from when on its text is in force, in words: "2016-03-02 시행 법령"; of a document, where it stands.
    """

    name: str
    in_force: str
    text: str

    @classmethod
    def of(cls, hit: "Hit", day: str) -> Self:
        """An article or document for a question about a day; what is to be known of its version stands before its text."""
        return cls(hit.name, in_force(hit, day), f"({hit.note})\n{hit.text}" if hit.note else hit.text)


def without_passages(row: Mapping[str, Any]) -> list[Message]:
    """The dialogue of a row, with its own question and answer where it was rendered with evidence and says them."""
    messages: list[Message] = list(row["messages"])
    plain = row.get("evidence")
    if not plain:
        return messages
    question, answer = messages[-2:]
    asked, told = plain.get("question", question["content"]), plain.get("answer", answer["content"])
    return [*messages[:-2], {**question, "content": asked}, {**answer, "content": told}]


def in_force(hit: "Hit", day: str) -> str:
    """Of which law the text of an article is, by the day from which that is in force, or that it was the same on the day asked.

    The article itself may be far older, so "from then on in force" would be wrong. An own document has no such day; its
    file and place stand instead.
    """
    if hit.kind == "document":
        return hit.origin or "회사 문서"
    if not hit.since:
        return f"{hit.first}부터 시행"
    return f"{hit.since} 시행 법령" if hit.since <= day or hit.note else f"{day} 시행 중"


@dataclass(frozen=True, slots=True)
class EvidenceWords:
    """The pack's words around the evidence (`prompts.yaml`), read once."""

    user: str
    passage: str
    rewrite: str
    missing: str
    markers: tuple[str, str]

    @classmethod
    def of(cls, prompts: Mapping[str, Any]) -> Self:
        """The words of a pack's prompts."""
        texts = {name: str(prompts[f"evidence_{name}"]) for name in ("user", "passage", "rewrite", "missing")}
        return cls(**texts, markers=(str(prompts["data_begin"]), str(prompts["data_end"])))

    def question(self, question: str, passages: Sequence[NumberedPassage], longest: int = PASSAGE_LENGTHS[0]) -> str:
        """The user turn that asks with passages, of `longest` characters each at most; without any, the question."""
        if not passages:
            return question
        return fill(self.user, {"passages": self._numbered(passages, longest), "question": question})

    def rewriting(
        self,
        question: str,
        sentence: str,
        faults: str,
        passages: Sequence[NumberedPassage],
        longest: int = PASSAGE_LENGTHS[0],
    ) -> str:
        """The user turn that asks for a sentence anew, because its citation does not hold."""
        outside = {name: self._bare(text) for name, text in (("sentence", sentence), ("question", question))}
        return fill(self.rewrite, {"passages": self._numbered(passages, longest), "faults": faults, **outside})

    def abstaining(self, articles: "Sequence[Hit]") -> str:
        """The answer to a question whose passages lack what it rests on: it says which articles, by what they are about.

        It names no article number: one that stands in no passage could only be recited.
        """
        subjects = [f"{hit.law}의 {hit.title}" if hit.title else hit.law for hit in articles]
        return fill(self.missing, {"missing": ", ".join(dict.fromkeys(subjects))})

    def dialogue(
        self, messages: Sequence[Message], passages: Sequence[NumberedPassage], longest: int = PASSAGE_LENGTHS[0]
    ) -> list[Message]:
        """A dialogue whose last question is asked with passages; earlier turns stay as they are."""
        *earlier, last = messages
        return [*earlier, {"role": last["role"], "content": self.question(last["content"], passages, longest)}]

    def _numbered(self, passages: Sequence[NumberedPassage], longest: int) -> str:
        return "\n\n".join(
            fill(
                self.passage,
                {
                    "number": str(number),
                    "name": without_markers(one.name, self.markers, longest),
                    "in_force": one.in_force,
                    "text": without_markers(one.text, self.markers, longest),
                },
            )
            for number, one in enumerate(passages, 1)
        )

    def _bare(self, text: str) -> str:
        return without_markers(text, self.markers, PASSAGE_LENGTHS[0])
