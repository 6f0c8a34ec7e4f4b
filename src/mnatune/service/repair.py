"""An answer with evidence on its way out: each sentence is checked before it is sent.

A sentence with a citation that does not hold is asked for anew, once, with passages that fit it. If the new one does not hold
either, its citations are struck: "~~상법 제999조~~(없는 조문)". So no citation known to be wrong leaves the server unmarked.
"""

import re
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from ..law.support import SENTENCE_END, CheckedCitation
from ..model.engine.protocol import Engine, Piece, Pieces, Stream, Task
from ..model.engine.refusals import Refusal
from ..model.evidence_prompt import PASSAGE_LENGTHS
from .evidence import Evidence, LawEvidence, citation_report, passages

MOST_REWRITES = 3  # of one answer; further faulty sentences have their citations struck
REWRITE_TOKENS = 256
LONGEST_END = 16  # characters that end a sentence: full stops, quotation marks, brackets
LONGEST_GROWTH = 3  # a new sentence may be so many times as long as the old one, and 100 characters
LEAD = re.compile(r"\s*+(?:(?:[-*•]|\d{1,3}[.)])\s++)?")

Background = Callable[[Coroutine[Any, Any, None]], object]


@dataclass
class GroundedEngine:
    """Opens answers that are asked and checked with evidence.

    Attributes:
        background: runs what must end even if its request does not.
    """

    engine: Engine
    law: LawEvidence
    background: Background

    async def open(self, task: Task, evidence: Evidence) -> tuple[Stream, Evidence]:
        """Have the engine accept the task with the passages, as long as its context takes them, or with none."""
        if self.law.words is None or not self.law.usable:
            return await self.engine.open(task), evidence
        quoting, longest = replace(task.sampling, quoting=True), PASSAGE_LENGTHS[0]
        for longest in PASSAGE_LENGTHS if evidence.hits else ():
            messages = self.law.words.dialogue(task.messages, passages(evidence.hits, evidence), longest)
            try:
                stream = await self.engine.open(replace(task, messages=messages, sampling=quoting))
            except Refusal as error:
                if error.code != "context_length_exceeded":
                    raise
                continue
            if longest != PASSAGE_LENGTHS[0]:
                note = f"모델의 문맥이 짧아 조문을 {longest}자까지만 보고 답했습니다."
                evidence = replace(evidence, note=note)
            break
        else:
            stream = await self.engine.open(task)
            if evidence.hits:
                note = "모델의 문맥이 짧아 조문을 보지 않고 답했습니다."
                evidence = replace(evidence, status="no_room", hits=(), note=note)
        return replace(stream, pieces=CheckedPieces(self, task, stream, evidence, longest)), evidence


@dataclass
class _Sentence:
    """A sentence that was settled: its text, and its citations at their places in that text."""

    text: str
    citations: list[CheckedCitation] = field(default_factory=list)

    @classmethod
    def marked(cls, text: str, checked: Sequence[CheckedCitation]) -> Self:
        """The sentence with a mark behind each citation that does not hold."""
        made, at, placed = "", 0, []
        for citation in checked:
            begin = max(citation.start, at)
            made += text[at:begin]
            stroke = "~~" if citation.fault and not citation.denied else ""
            made += stroke
            placed.append(replace(citation, start=len(made), end=len(made) + citation.end - begin))
            made += text[begin : citation.end] + stroke + (f"({citation.label})" if citation.fault else "")
            at = citation.end
        return cls(made + text[at:], placed)


class CheckedPieces:
    """The pieces of an answer, a whole sentence at a time, each checked and if need be mended.

    Attributes:
        citations: of what was sent, in order, as the reply tells them.
        rewritten: sentences that were replaced.
        unchecked: whether the check itself failed somewhere.
    """

    def __init__(self, grounded: GroundedEngine, task: Task, stream: Stream, evidence: Evidence, longest: int) -> None:
        self.citations: list[dict[str, Any]] = []
        self.rewritten = 0
        self.unchecked = False
        self._grounded = grounded
        self._law = grounded.law
        self._task = task
        self._evidence = evidence
        self._longest = longest  # characters of a passage that the context takes
        self._pieces: Pieces = stream.pieces
        self._sent = ""
        self._tries = 0
        self._spent = 0  # tokens of rewriting that no piece has told yet
        self._prompt = stream.prompt_tokens
        self._read = 0  # prompt tokens of rewriting
        self._made = self._run()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Piece:
        return await self._made.__anext__()

    async def aclose(self) -> None:
        """Cancel the answer if it is still being made."""
        await self._made.aclose()
        await self._pieces.aclose()

    async def _run(self) -> AsyncGenerator[Piece, None]:
        waiting = ""
        async for piece in self._pieces:
            waiting += piece.text
            settled, seen = "", max(0, len(waiting) - len(piece.text) - LONGEST_END)
            while found := SENTENCE_END.search(waiting, seen):
                settled += await self._settled(waiting[: found.end()])
                waiting, seen = waiting[found.end() :], 0
            if piece.finish and waiting:
                settled += await self._settled(waiting)
            spent, self._spent = self._spent, 0
            read = (piece.prompt_tokens or self._prompt) + self._read if piece.finish else piece.prompt_tokens
            yield replace(piece, text=settled, tokens=piece.tokens + spent, prompt_tokens=read)

    async def _settled(self, text: str) -> str:
        """What is sent in place of a sentence."""
        checked = await self._check(text)
        sentence = None
        if any(one.fault and not one.denied for one in checked):
            sentence = await self._rewritten(text, checked)
        sentence = sentence or _Sentence.marked(text, checked)
        for one in sentence.citations:
            placed = replace(one, start=one.start + len(self._sent), end=one.end + len(self._sent))
            self.citations.append(
                citation_report(placed, struck=bool(one.fault) and not one.denied, hits=self._evidence.hits)
            )
        self._sent += sentence.text
        return sentence.text

    async def _check(self, text: str) -> list[CheckedCitation]:
        """The citations of a sentence, at their places in it; what was sent before gives them their law."""
        start = len(self._sent)
        checked = await self._law.check(self._sent + text, start, self._evidence)
        if checked is None:
            self.unchecked = True
            return []
        return [replace(one, start=max(0, one.start - start), end=one.end - start) for one in checked]

    async def _rewritten(self, text: str, checked: Sequence[CheckedCitation]) -> _Sentence | None:
        """The sentence as the model writes it with fitting passages; None if that does not hold either."""
        words, self._tries = self._law.words, self._tries + 1
        if words is None or self._tries > MOST_REWRITES or "|" in text:  # a row of a table must keep its columns
            return None
        lead = LEAD.match(text)
        begin, end = lead.end() if lead else 0, len(text.rstrip())
        bad = [one for one in checked if one.fault]
        faults = ", ".join(f"{one.text}: {one.note or one.label}" for one in bad)
        hits = await self._law.better(text[begin:end], bad, self._evidence)
        shown = passages(hits, self._evidence)
        turn = words.rewriting(self._evidence.question, text[begin:end], faults, shown, self._longest)
        made = " ".join((await self._answer(turn)).split())
        if not made or len(made) > LONGEST_GROWTH * len(text) + 100:
            return None
        whole = text[:begin] + made + text[end:]
        again = await self._check(whole)
        if not again or any(one.fault or one.verdict != "valid" for one in again):
            return None
        self.rewritten += 1
        return _Sentence(whole, again)

    async def _answer(self, turn: str) -> str:
        """The engine's whole answer to a single turn; empty if it cannot give one."""
        system = [message for message in self._task.messages[:1] if message["role"] == "system"]
        limit = min(REWRITE_TOKENS, self._task.sampling.max_tokens or REWRITE_TOKENS)
        sampling = replace(self._task.sampling, max_tokens=limit, stop=(), quoting=True)
        task = replace(self._task, messages=[*system, {"role": "user", "content": turn}], sampling=sampling)
        try:
            stream = await self._grounded.engine.open(task)
        except Refusal:
            return ""
        text, read = "", stream.prompt_tokens
        try:
            async for piece in stream.pieces:
                text += piece.text
                self._spent += piece.tokens
                read = piece.prompt_tokens or read
                if piece.finish == "length":
                    return ""
        except Refusal:
            return ""
        finally:
            self._read += read
            self._grounded.background(_closed(stream.pieces))
        return text.strip()


async def _closed(pieces: Pieces) -> None:
    await pieces.aclose()
