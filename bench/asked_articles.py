"""Rows from the pack's questions by article: asked in everyday words, answered by rule with a sentence of the article.

The benches on evidence and rewards train on them beside or instead of the pack's own rows: nobody wrote answers to them.
"""

import random
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mnatune.law.article_numbers import written
from mnatune.law.evidence_search import articles_for
from mnatune.law.hits import Hit
from mnatune.law.law_memory import LawIndex
from mnatune.law.tables import article_questions
from mnatune.model.evidence_prompt import PASSAGE_LENGTHS, EvidenceWords, NumberedPassage, without_passages
from mnatune.model.load import load_tokenizer
from mnatune.model.prompt import Message, dialogue, examples
from mnatune.pack import Pack
from mnatune.runs.recipe import Recipe
from mnatune.runs.records import QA, Document, Source, content_id
from mnatune.stages.compose.grounded_rows import EvidenceRow, EvidenceWriter, Unfit
from mnatune.stages.synthesize.by_rule import ARTICLE_TITLE, extract, rests_on
from mnatune.stages.synthesize.passages import passages

SHORT = 160  # characters of an answer, at most
NAME = "article-questions"


@dataclass(frozen=True)
class ArticleQuestion:
    """A question about an article.

    Attributes:
        all_questions: those of the pack about the article, this one among them.
    """

    row: QA
    article: Hit
    all_questions: list[str]


def answer_by_rule(hit: Hit) -> str:
    """A sentence of the article with its name before it; empty if none is short and complete."""
    place = ARTICLE_TITLE.match(hit.name)
    document = Document(content_id(hit.name), hit.name, hit.text, hit.name, Source(NAME), hit.since)
    for passage in passages(document, 600, len):
        for made in extract(passage, 9):
            told = made.answer.removesuffix(rests_on(place))
            if made.kind in ("deadline", "share", "content", "exception") and len(told) <= SHORT:
                return f"{hit.law} {written(hit.article)}에 따르면 {told}"
    return ""


def asked_rows(
    pack: Pack, recipe: Recipe, count: int, but: Collection[str], each: int = 1, *, as_served: bool = False
) -> list[dict[str, Any]]:
    """Lines of train.jsonl for rows with evidence, article by article in random order.

    Args:
        but: articles that are not asked about, as "상법 522의3".
        each: questions about an article, at most; they are of one group.
        as_served: the passages are those that the search finds, in its order; else as compose writes them.
    """
    memory, words = LawIndex.open(pack.root), EvidenceWords.of(pack.prompts)
    writer, tokenizer = EvidenceWriter(memory, words, recipe.seed), load_tokenizer(recipe.model.id)

    def fits(turns: Sequence[Message]) -> bool:
        return len(examples(tokenizer, turns)[-1]) <= recipe.model.max_length

    rows: list[dict[str, Any]] = []
    for question in _questions(pack, memory, recipe.seed, but, each):
        one, turns = question.row, dialogue(question.row.question, pack.system_prompt)
        try:
            made = served(memory, words, question, turns, fits) if as_served else writer.row(one, turns, fits)
        except Unfit:
            continue
        place = {"name": NAME, "archive": "", "member": "", "index": len(rows), "licence": "", "place": ""}
        facts = {"category": NAME, "group": one.group, "cluster": "", "reference": one.reference, "score": -1}
        rows.append({"id": one.id, "messages": made.messages, "evidence": made.facts, **facts, "source": place})
        if len(rows) == count:
            break
    return rows


def served(
    memory: LawIndex,
    words: EvidenceWords,
    question: ArticleQuestion,
    asked: Sequence[Message],
    fits: Callable[[Sequence[Message]], bool],
) -> EvidenceRow:
    """A question with the articles that the search finds, in its order; without the right one they do not tell the answer.

    The search may use no question about the article.

    Raises:
        Unfit: there is no room.
    """
    one, right = question.row, question.article
    found = articles_for(memory, [one.question], memory.as_of, hidden=question.all_questions)
    told = any(hit.name == right.name for hit in found)
    facts = {
        "kind": "right" if told else "missing",
        "day": memory.as_of,
        "passages": [f"{hit.law} {hit.article}" for hit in found],
        "question": one.question,
        "answer": one.answer,
    }
    passages = [NumberedPassage.of(hit, memory.as_of) for hit in found]
    answer = Message(role="assistant", content=one.answer if told else words.abstaining([right]))
    for longest in PASSAGE_LENGTHS:
        turns = [*words.dialogue(asked, passages, longest), answer]
        if fits(turns):
            return EvidenceRow(turns, facts)
    raise Unfit("too-long")


def cited_in(rows: Iterable[dict[str, Any]], pack: Pack) -> set[str]:
    """The articles that composed rows rest on, as "상법 522의3"."""
    memory = LawIndex.open(pack.root)
    texts = [f"{row['reference']}\n{without_passages(row)[-1]['content']}" for row in rows]
    return {f"{one.law} {one.article}" for text in texts for one in memory.checker.find(text)}


def _questions(pack: Pack, memory: LawIndex, seed: int, but: Collection[str], each: int) -> Iterator[ArticleQuestion]:
    rows = [row for row in article_questions(pack) if f"{row['law']} {row['article']}" not in but]
    draw = random.Random(f"{seed}/{NAME}")
    draw.shuffle(rows)
    for row in rows:
        hit = memory.article(row["law"], row["article"])
        answer = answer_by_rule(hit) if hit and hit.text and not hit.note else ""
        if hit and answer:
            for question in draw.sample(row["questions"], min(each, len(row["questions"]))):
                at, group = content_id(question, answer), content_id(hit.name)
                made = QA(at, question, answer, NAME, group, Source(NAME), reference=hit.name)
                yield ArticleQuestion(made, hit, row["questions"])
