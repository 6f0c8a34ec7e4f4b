"""Checks in code, without a model, that a made pair rests on its passage.

Does not: understand. An answer can pass and still twist the passage; with an endpoint the model is asked that as well.
"""

import re
import unicodedata

from ...text.untrusted import bare, echoes, squeezed
from .passages import Passage

ARTICLE = re.compile(r"제\s?\d+\s?(?:조|항|호)(?:의\s?\d+)?")
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
POINTS_AT_PASSAGE = re.compile(r"(?:이|위|본|주어진|제시된) ?(?:글|자료|본문|지문|문서)(?:에|의|을|은|이|에서|로)")
STATEMENT = re.compile(r"다[\s.\"'”’)]*$")  # a Korean question ends in 까, 요, 오, 라, 가, 나 … or a question mark
ASKS = re.compile(r"(?:\?|주세요|주십시오|까요|나요|인가요|입니까|습니까)[\s.\"'”’)]*$")
SHORTEST_QUESTION, SHORTEST_ANSWER, SHORTEST_SPAN = 8, 10, 15


def fault(passage: Passage, question: str, answer: str, span: str, prompt: str = "") -> str:
    """Why a made pair cannot be used, or "" if it can.

    Args:
        prompt: the prompt template; a question or answer copied from it is rejected.
    """
    if len(question) < SHORTEST_QUESTION or len(answer) < SHORTEST_ANSWER:
        return "too-short"
    if echoes(question, prompt) or echoes(answer, prompt):
        return "repeats-the-prompt"
    if STATEMENT.search(question):
        return "no-question"
    if ASKS.search(answer) or bare(answer) == bare(question):
        return "no-answer"
    if POINTS_AT_PASSAGE.search(question):
        return "points-at-the-passage"
    text = squeezed(unicodedata.normalize("NFC", passage.text))
    quoted = squeezed(unicodedata.normalize("NFC", span))
    if len(quoted) < SHORTEST_SPAN or quoted not in text:
        return "span-not-in-passage"
    source = f"{passage.title} {text}"
    if _articles(answer) - _articles(source):
        return "article-not-in-passage"
    if _numbers(answer) - _numbers(source):
        return "number-not-in-passage"
    return ""


def _articles(text: str) -> set[str]:
    return {re.sub(r"\s", "", found) for found in ARTICLE.findall(text)}


def _numbers(text: str) -> set[str]:
    """Numbers by value: 1,000 is 1000, and a full stop at the end of a sentence is no part of one."""
    return {re.sub(r",(?=\d{3})", "", found) for found in NUMBER.findall(text)}
