"""Rows from the pack's questions by article: asked in everyday words, answered by rule with a sentence of the article.

The benches on evidence and rewards train on them beside or instead of the pack's own rows: nobody wrote answers to them.
"""

import random
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from mnatune.law.article_numbers import written
from mnatune.law.hits import Hit
from mnatune.law.law_memory import LawIndex
from mnatune.law.tables import article_questions
from mnatune.model.evidence_prompt import EvidenceWords, without_passages
from mnatune.model.load import load_tokenizer
from mnatune.model.prompt import Message, dialogue, examples
from mnatune.pack import Pack
from mnatune.runs.recipe import Recipe
from mnatune.runs.records import QA, Document, Source, content_id
from mnatune.stages.compose.grounded_rows import EvidenceWriter, Unfit
from mnatune.stages.synthesize.by_rule import ARTICLE_TITLE, extract, rests_on
from mnatune.stages.synthesize.passages import passages

SHORT = 160  # characters of an answer, at most
NAME = "article-questions"


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


def asked_rows(pack: Pack, recipe: Recipe, count: int, but: Collection[str], each: int = 1) -> list[dict[str, Any]]:
    """Lines of train.jsonl as compose writes them for rows with evidence, article by article in random order.

    Args:
        but: articles that are not asked about, as "상법 522의3".
        each: questions about an article, at most; they are of one group.
    """
    memory, words = LawIndex.open(pack.root), EvidenceWords.of(pack.prompts)
    writer, tokenizer = EvidenceWriter(memory, words, recipe.seed), load_tokenizer(recipe.model.id)

    def fits(turns: Sequence[Message]) -> bool:
        return len(examples(tokenizer, turns)[-1]) <= recipe.model.max_length

    rows: list[dict[str, Any]] = []
    for one in _questions(pack, memory, recipe.seed, but, each):
        try:
            made = writer.row(one, dialogue(one.question, pack.system_prompt), fits)
        except Unfit:
            continue
        place = {"name": NAME, "archive": "", "member": "", "index": len(rows), "licence": "", "place": ""}
        facts = {"category": NAME, "group": one.group, "cluster": "", "reference": one.reference, "score": -1}
        rows.append({"id": one.id, "messages": made.messages, "evidence": made.facts, **facts, "source": place})
        if len(rows) == count:
            break
    return rows


def cited_in(rows: Iterable[dict[str, Any]], pack: Pack) -> set[str]:
    """The articles that composed rows rest on, as "상법 522의3"."""
    memory = LawIndex.open(pack.root)
    texts = [f"{row['reference']}\n{without_passages(row)[-1]['content']}" for row in rows]
    return {f"{one.law} {one.article}" for text in texts for one in memory.checker.find(text)}


def _questions(pack: Pack, memory: LawIndex, seed: int, but: Collection[str], each: int) -> Iterator[QA]:
    rows = [row for row in article_questions(pack) if f"{row['law']} {row['article']}" not in but]
    draw = random.Random(f"{seed}/{NAME}")
    draw.shuffle(rows)
    for row in rows:
        hit = memory.article(row["law"], row["article"])
        answer = answer_by_rule(hit) if hit and hit.text and not hit.note else ""
        if hit and answer:
            for question in draw.sample(row["questions"], min(each, len(row["questions"]))):
                group = content_id(hit.name)
                yield QA(content_id(question, answer), question, answer, NAME, group, Source(NAME), reference=hit.name)
