"""Evidence for an answer: the articles and own documents that fit the question, as of its day, and the check of citations.

Without a usable law memory everything goes on without evidence, and the reply says why. Search and checks hold the processor
for milliseconds and the memory's analyser for good, so they run in a thread, one at a time, never on the event loop.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self, TypeVar

from ..law import Hit, LawIndex
from ..law.evidence_search import OWN_DOCUMENTS, articles_for, asked_day, documents_for
from ..law.support import CheckedCitation, check_citations
from ..model.evidence_prompt import EvidenceWords, NumberedPassage, in_force
from ..model.prompt import Message
from ..pack import Pack
from ..runs.errors import MnatuneError, log_failure

log = logging.getLogger(__name__)

T = TypeVar("T")
MORE_PASSAGES = 2  # further ones that a faulty sentence itself leads to
UNKNOWN_SINCE = "{}까지의 법령입니다. 그 뒤의 개정은 알 수 없습니다."


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was found for a question.

    Attributes:
        status: "found"; "nothing" if no word of the question is known; "no_room" if the model's context cannot take the
            passages; "unavailable" if there is no usable law memory.
        day: the day whose law is meant; `words` of the question say so, empty if it is today.
        note: in Korean, what the reader is to know.
    """

    status: str
    question: str = ""
    day: str = ""
    words: str = ""
    as_of: str = ""
    note: str = ""
    hits: tuple[Hit, ...] = ()

    def report(self) -> dict[str, Any]:
        """The `evidence` field of a reply."""
        return {
            "status": self.status,
            "at": self.day,
            "at_words": self.words,
            "as_of": self.as_of,
            "note": self.note,
            "passages": [_passage_report(number, hit, self.day) for number, hit in enumerate(self.hits, 1)],
        }


@dataclass
class LawEvidence:
    """A law memory at the server's service.

    Attributes:
        memory: None if the pack has none that can be used; `fault` then says why, in Korean.
    """

    memory: LawIndex | None
    words: EvidenceWords | None
    fault: str = ""
    _matters: dict[tuple[str, int], LawIndex] = field(default_factory=dict, repr=False)
    _one_at_a_time: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @classmethod
    def of(cls, pack: Pack) -> Self:
        """The law memory of a pack; a missing or damaged one is logged and named in every reply that wants evidence."""
        if not (pack.root / "law").is_dir():
            return cls(None, None, "이 팩에는 법 기억이 없습니다.")
        try:
            memory = LawIndex.open(pack.root)
            if not memory.statutes.laws:
                return cls(None, None, "법 기억이 비어 있습니다.")
        except MnatuneError as error:
            log.error("answers have no evidence: %s", error)
            return cls(None, None, "법 기억을 읽을 수 없습니다.")
        try:
            return cls(memory, EvidenceWords.of(pack.prompts))
        except KeyError as error:
            log.error("answers have no evidence: prompts.yaml of %s lacks %s", pack.root, error)
            return cls(memory, None, "팩의 prompts.yaml에 근거를 보여 줄 말이 없습니다.")

    @property
    def usable(self) -> bool:
        """Whether questions can be asked with evidence."""
        return self.memory is not None and self.words is not None

    async def warm(self) -> None:
        """Load the analyser and the arrays before the first question needs them."""
        if self.memory is not None:
            await self.gather([{"role": "user", "content": "합병"}])

    async def gather(self, messages: Sequence[Message], matter: str = "") -> Evidence:
        """The passages for the last question, articles as of the day that it or an earlier question names.

        Args:
            matter: a law memory whose documents are shown before the common ones; empty for none.
        """
        questions = [message["content"] for message in messages if message["role"] == "user"]
        memory = self.memory
        if memory is None or self.words is None:
            return Evidence("unavailable", note=self.fault)
        told = await self._apart(lambda: asked_day(questions, memory.today))
        asked = Evidence("found", questions[-1], told.day, told.words, memory.as_of)
        try:
            found = await self._apart(
                lambda: [
                    *articles_for(memory, questions, asked.day),
                    *self._documents(memory, matter, asked.question),
                ]
            )
        except Exception as error:  # whatever a damaged memory raises: the question is answered without it
            log_failure(log, "the law memory cannot be searched", error)
            return replace(asked, status="unavailable", note="법 기억에서 찾지 못했습니다.")
        if not found:
            return replace(asked, status="nothing", note="질문에 맞는 조문을 찾지 못했습니다.")
        later = told.words and asked.day > memory.as_of
        return replace(asked, hits=tuple(found), note=UNKNOWN_SINCE.format(memory.as_of) if later else "")

    async def check(self, text: str, start: int, evidence: Evidence) -> list[CheckedCitation] | None:
        """The citations of a text that end behind `start`; None if they cannot be checked."""
        memory = self.memory
        if memory is None:
            return None
        try:
            return await self._apart(
                lambda: check_citations(memory, text, day=evidence.day, question=evidence.question, start=start)
            )
        except Exception as error:
            log_failure(log, "citations cannot be checked", error)
            return None

    async def better(self, sentence: str, cited: Sequence[CheckedCitation], evidence: Evidence) -> list[Hit]:
        """The passages to rewrite a sentence from: what it leads to itself, then what the question led to."""
        memory = self.memory
        if memory is None:
            return list(evidence.hits)
        for one in cited:  # a wrong citation would put the wrong article first
            sentence = sentence.replace(one.text, " ")
        try:
            found = await self._apart(lambda: memory.search(sentence, evidence.day, top=MORE_PASSAGES))
        except Exception as error:
            log_failure(log, "the law memory cannot be searched", error)
            found = []
        return list({(hit.name, hit.origin): hit for hit in [*found, *evidence.hits]}.values())

    def _documents(self, memory: LawIndex, matter: str, question: str) -> list[Hit]:
        """Passages of a matter's own documents, then of the common ones; a matter that cannot be read is logged."""
        own: list[Hit] = []
        if matter:
            try:
                own = documents_for(self._matter(Path(matter)), question)
            except Exception as error:  # whatever a damaged folder raises: the question is answered without it
                log_failure(log, "a matter's documents cannot be searched", error)
        return [*own, *documents_for(memory, question)][:OWN_DOCUMENTS]

    def _matter(self, folder: Path) -> LawIndex:
        """The law memory of a folder, opened anew when it was built anew."""
        key = str(folder), (folder / "law.json").stat().st_mtime_ns
        if key not in self._matters:
            self._matters = {other: kept for other, kept in self._matters.items() if other[0] != key[0]}
            self._matters[key] = LawIndex.open(folder)
        return self._matters[key]

    async def _apart(self, work: Callable[[], T]) -> T:
        def alone() -> T:
            with self._one_at_a_time:
                return work()

        return await asyncio.to_thread(alone)


def passages(hits: Sequence[Hit], evidence: Evidence) -> list[NumberedPassage]:
    """The hits as the prompt shows them, for the day of the question."""
    return [NumberedPassage.of(hit, evidence.day) for hit in hits]


def citation_report(citation: CheckedCitation, *, struck: bool, hits: Sequence[Hit]) -> dict[str, Any]:
    """A citation of the `citations` field of a choice."""
    passage = next(
        (
            at
            for at, hit in enumerate(hits, 1)
            if hit.kind == "article" and (hit.law, hit.article) == (citation.law, citation.article)
        ),
        None,
    )
    return asdict(citation) | {"label": citation.label, "struck": struck, "passage": passage}


def _passage_report(number: int, hit: Hit, day: str) -> dict[str, Any]:
    return {
        "number": number,
        "kind": hit.kind,
        "name": hit.name,
        "law": hit.law,
        "article": hit.article,
        "title": hit.title,
        "text": hit.text,
        "in_force": in_force(hit, day),
        "since": hit.since or hit.first,
        "until": hit.last,
        "note": hit.note,
        "origin": hit.origin,
    }
