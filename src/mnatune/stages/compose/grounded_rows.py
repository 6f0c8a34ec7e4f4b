"""Rows asked with evidence: what the answer cites stands among articles that a search brings, in random order.

A model that is trained so reads before it answers. In a part of the rows what the answer rests on is left out, and the
answer becomes that the passages do not tell (RAFT, Zhang et al. 2024, trains on both kinds). The rendering is that of
serving, and so are the number of passages and the day that a question is about.

A row that is drawn and cannot be rendered so stays as it is, and is counted:

no-citation         the answer cites no article
citation-unknown    it cites one that does not exist, is not in force on the day, or whose text is not known
too-many-articles   it cites so many that no other passage has room beside them
not-supported       what it says is not in the articles that it cites (`law.support`)
nothing-found       the search brings nothing to put beside them
too-long            it exceeds max_length, and the articles cut shorter would not carry it

Does not: know whether another article answers the question too, where the cited one is left out.
"""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from ...law import Hit, LawIndex
from ...law.evidence_search import PASSAGES, articles_for, asked_day
from ...law.support import check_citations, contradicts, shared
from ...model.evidence_prompt import PASSAGE_LENGTHS, EvidenceWords, NumberedPassage
from ...model.load import load_tokenizer
from ...model.prompt import Message, examples
from ...runs.errors import DataError
from ...runs.job import Job
from ...runs.records import QA

# Share of the rows without the article that they rest on. RAFT found the best share to lie between none and 40 % by data
# set; a fifth is enough to be learnt and leaves most rows to teach reading.
WITHOUT = 0.2
SHOWN = 0.5  # of what an answer shares with its articles, this much has to be left where they are cut


class Unfit(Exception):
    """A row that cannot be asked with evidence; its text is the reason."""


@dataclass(frozen=True, slots=True)
class EvidenceRow:
    """A row as it is asked with evidence.

    Attributes:
        facts: {"kind": "right" or "missing", "day", "passages": names, "question" and "answer": those without evidence}.
    """

    messages: list[Message]
    facts: dict[str, Any]


@dataclass(frozen=True)
class EvidenceWriter:
    """Renders rows with evidence from a pack's law memory."""

    memory: LawIndex
    words: EvidenceWords
    seed: int

    @classmethod
    def of(cls, job: Job) -> Self:
        """The writer of a pack.

        Raises:
            DataError: the pack has no law memory, or its prompts lack the words around the passages.
        """
        try:
            words = EvidenceWords.of(job.pack.prompts)
        except KeyError as error:
            raise DataError(
                f"prompts.yaml lacks {error}", where=str(job.pack.root), next_step="mnatune pack check"
            ) from None
        return cls(LawIndex.open(job.pack.path("law")), words, job.recipe.seed)

    def row(self, row: QA, asked: Sequence[Message], fits: Callable[[Sequence[Message]], bool]) -> EvidenceRow:
        """A row with its passages, as long as there is room for.

        Args:
            asked: the dialogue up to the question.
            fits: whether a whole dialogue has room.

        Raises:
            Unfit: it cannot be asked so.
        """
        questions = [*row.history[::2], row.question]
        day = asked_day(questions, self.memory.as_of).day
        cited, claim = self._cited(row, day)
        names = {(hit.law, hit.article) for hit in cited}
        found = articles_for(self.memory, questions, day, top=PASSAGES + len(cited), hidden=[row.question])
        others = [hit for hit in found if (hit.law, hit.article) not in names]
        if not others:
            raise Unfit("nothing-found")
        draw = random.Random(f"{self.seed}/evidence/{row.id}")
        without = draw.random() < WITHOUT
        shown = others[:PASSAGES] if without else [*cited, *others[: PASSAGES - len(cited)]]
        draw.shuffle(shown)
        passages = [NumberedPassage.of(hit, day) for hit in shown]
        answer = self.words.abstaining(cited) if without else row.answer
        facts = {
            "kind": "missing" if without else "right",
            "day": day,
            "passages": [f"{hit.law} {hit.article}" for hit in shown],
            "question": row.question,
            "answer": row.answer,
        }
        for longest in PASSAGE_LENGTHS:
            visible = [replace(hit, text=hit.text[:longest]) for hit in cited]
            less = shared(claim, visible) < SHOWN * shared(claim, cited) or contradicts(claim, visible, row.question)
            if visible != cited and less:  # what is shown of an article has to carry the answer
                raise Unfit("too-long")
            turns = [*self.words.dialogue(asked, passages, longest), Message(role="assistant", content=answer)]
            if fits(turns):
                return EvidenceRow(turns, facts)
        raise Unfit("too-long")

    def _cited(self, row: QA, day: str) -> tuple[list[Hit], str]:
        """The articles that the answer cites and that carry it, and the answer without its citations."""
        checked = check_citations(self.memory, row.answer, day=day, question=row.question)
        if not checked:
            raise Unfit("no-citation")
        if any(one.fault not in ("", "unsupported") or one.support == "unchecked" for one in checked):
            raise Unfit("citation-unknown")
        if any(one.support == "unsupported" for one in checked):
            raise Unfit("not-supported")
        found = [
            self.memory.article(*name, at=day) for name in dict.fromkeys((one.law, one.article) for one in checked)
        ]
        cited = [hit for hit in found if hit]
        if len(cited) >= PASSAGES:
            raise Unfit("too-many-articles")
        claim = row.answer
        for one in reversed(checked):
            claim = f"{claim[: one.start]} {claim[one.end :]}"
        return cited, claim


def evidence_rows(
    job: Job, rows: Sequence[tuple[QA, Sequence[Message]]]
) -> tuple[dict[str, EvidenceRow], dict[str, Any]]:
    """By id, the rows that are asked with evidence, and what there is to tell of them; nothing if the recipe wants none.

    Args:
        rows: those to draw from, each with its dialogue up to the question.
    """
    share = job.recipe.compose.evidence
    if not share:
        return {}, {}
    writer, limit = EvidenceWriter.of(job), job.recipe.model.max_length
    tokenizer = load_tokenizer(job.recipe.model.id, job.recipe.model.revision)
    drawn = [one for one in rows if random.Random(f"{job.recipe.seed}/drawn/{one[0].id}").random() < share]
    made: dict[str, EvidenceRow] = {}
    kept_out: Counter[str] = Counter()

    def length(turns: Sequence[Message]) -> int:
        return len(examples(tokenizer, turns)[-1])

    for row, asked in job.track(drawn, "finding evidence"):
        try:
            made[row.id] = writer.row(row, asked, lambda turns: length(turns) <= limit)
        except Unfit as reason:
            kept_out[str(reason)] += 1
    lengths = [length(one.messages) for one in made.values()]
    kinds = Counter(one.facts["kind"] for one in made.values())
    facts = {
        "share": share,
        "rows": len(rows),
        "drawn": len(drawn),
        "right": kinds["right"],
        "missing": kinds["missing"],
        "left_as_they_are": dict(sorted(kept_out.items())),
        "tokens": {"mean": round(sum(lengths) / len(lengths)), "most": max(lengths)} if lengths else {},
    }
    return made, facts
