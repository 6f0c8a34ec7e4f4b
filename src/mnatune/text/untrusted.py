"""Puts text from outside into a prompt: delimited, cut, and without sentences addressed to the model.

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
SHORTEST_ECHO = 6  # letters and digits; shorter matches prove nothing
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
    """The template with each {name} of `values` replaced in one pass: inserted text is not searched again."""
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
    """Letters and digits in NFKC and lower case, for comparing text without spacing and punctuation."""
    return "".join(sign for sign in unicodedata.normalize("NFKC", text).casefold() if sign.isalnum())


def quotes(quotation: str, text: str) -> bool:
    """True if the text contains the quotation, ignoring spacing and punctuation; an ellipsis joins several pieces."""
    pieces = [bare(piece) for piece in ELLIPSIS.split(quotation)]
    whole = bare(text)
    return any(pieces) and all(piece in whole for piece in pieces)


def echoes(text: str, prompt: str) -> bool:
    """True if the text is copied from the prompt."""
    said = bare(text)
    return len(said) >= SHORTEST_ECHO and said in bare(prompt)
