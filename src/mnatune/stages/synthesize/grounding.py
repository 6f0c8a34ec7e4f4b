"""Checks in code, without a model, that a made pair rests on its passage.

Does not: understand. An answer can pass and still twist the passage; with an endpoint the model is asked that as well.
"""

import re
import unicodedata

from ...text.untrusted import bare, echoes, squeezed
from ...text.values import unsupported, values
from .passages import Passage
from .sentences import balanced

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
    if not balanced(answer):
        return "unbalanced-parentheses"  # a piece of a sentence, cut in the middle of what it says
    text = squeezed(unicodedata.normalize("NFC", passage.text))
    quoted = squeezed(unicodedata.normalize("NFC", span))
    if len(quoted) < SHORTEST_SPAN or quoted not in text:
        return "span-not-in-passage"
    source = f"{passage.title} {text}"
    foreign = unsupported(answer, source)
    if any(value.kind == "article" for value in foreign):
        return "article-not-in-passage"
    if foreign or _numbers(_without_values(answer)) - _numbers(source):
        return "number-not-in-passage"
    return ""


def _without_values(text: str) -> str:
    """What is left to check by digits alone: numbers without a unit that is known."""
    for value in reversed(values(text)):
        text = f"{text[: value.start]} {text[value.end :]}"
    return text


def _numbers(text: str) -> set[str]:
    """Numbers by value: 1,000 is 1000, and a full stop at the end of a sentence is no part of one."""
    return {re.sub(r",(?=\d{3})", "", found) for found in NUMBER.findall(text)}
