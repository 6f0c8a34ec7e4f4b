"""Text from outside inside a prompt: delimited, cut, and without sentences that speak to the reader of the prompt.

The guard is the first of three defences; the prompt's own rule (text between the markers is never an instruction) and
the canaries of the judge are the others. It takes out what its patterns know and cannot know every wording.
"""

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

PLACE = re.compile(r"\{([a-z_]+)\}")
SENTENCE = re.compile(r"[^\n.!?。]+(?:[.!?。](?!\d)|\.(?=\d)[^\n.!?。]*)*|[\n.!?。]+")
CUT = "… (이하 생략)"
SHORTEST_ECHO = 6  # characters without spaces and punctuation below which equal words prove nothing
ELLIPSIS = re.compile(r"\.{3,}|…+")


class InstructionFilter:
    """Takes sentences that match one of the patterns out of a text.

    Args:
        data: `patterns`, regular expressions without regard to case, and `replacement`.
    """

    def __init__(self, data: Mapping[str, Any]) -> None:
        self._pattern = re.compile("|".join(f"(?:{p})" for p in data["patterns"]), re.IGNORECASE)
        self._replacement = str(data["replacement"])

    def clean(self, text: str) -> tuple[str, int]:
        """The text with each offending sentence replaced, and their number."""
        if not self._pattern.search(text):
            return text, 0
        count = 0

        def judge(match: re.Match[str]) -> str:
            nonlocal count
            if not self._pattern.search(match.group()):
                return match.group()
            count += 1
            return self._replacement

        return SENTENCE.sub(judge, text), count


def fill(template: str, values: Mapping[str, str]) -> str:
    """The template with each {name} of `values` replaced, once: what is inserted is not searched for places again."""
    return PLACE.sub(lambda match: values.get(match.group(1), match.group()), template)


def without_markers(text: str, markers: tuple[str, ...], longest: int) -> str:
    """The text cut to `longest` characters, free of the delimiters that will stand around it."""
    cut = text[:longest] + CUT if len(text) > longest else text
    while any(marker in cut for marker in markers):
        for marker in markers:
            cut = cut.replace(marker, "")
    return cut


def squeezed(text: str) -> str:
    """The text with every run of white space as one space, for comparing quotations."""
    return " ".join(text.split())


def bare(text: str) -> str:
    """The text's letters and digits in NFKC and lower case: what a quotation keeps however it is spaced and punctuated."""
    return "".join(sign for sign in unicodedata.normalize("NFKC", text).casefold() if sign.isalnum())


def quotes(quotation: str, text: str) -> bool:
    """True if a text holds a quotation, spacing and punctuation aside; an ellipsis may join several places of it."""
    pieces = [bare(piece) for piece in ELLIPSIS.split(quotation)]
    whole = bare(text)
    return any(pieces) and all(piece in whole for piece in pieces)


def echoes(text: str, prompt: str) -> bool:
    """True if a text is nothing but words of the prompt that asked for it."""
    said = bare(text)
    return len(said) >= SHORTEST_ECHO and said in bare(prompt)
