"""Whether an answer says that it cannot tell, and the sentences that this is read from."""

import re
import unicodedata
from collections.abc import Iterable

SENTENCE = re.compile(r"(?<=[다요까죠음함임])[.!?。]+|[\n!?]+|(?<=[가-힣])\.\s")
EARLY = 2  # sentences in which an answer takes its stance


def abstains(text: str, refusals: Iterable[str]) -> bool:
    """Whether an answer begins by saying that it cannot tell.

    Args:
        refusals: regular expressions over a sentence without its spaces, such as those of the pack's evaluate.yaml.
    """
    patterns = list(refusals)
    return any(re.search(pattern, bare) for bare in squeezed_sentences(text)[:EARLY] for pattern in patterns)


def squeezed_sentences(text: str) -> list[str]:
    """The sentences of an answer in NFC, each without its spaces."""
    return [bare for part in SENTENCE.split(unicodedata.normalize("NFC", text)) if (bare := squeeze(part))]


def squeeze(text: str) -> str:
    """The text without spaces."""
    return "".join(text.split())
