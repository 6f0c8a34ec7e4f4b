"""Article numbers as people write them ("제522조의3", "522의3") and in the one form that the memory uses."""

import re

from ..runs.errors import UsageError

NUMBER = re.compile(r"\s*+(?:제\s*+)?(\d{1,4})\s*+조?\s*+(?:의\s*+(\d{1,2})\s*+)?\Z")
CITED = re.compile(r"(.*?[^\s\d])\s*+((?:제\s*+)?\d{1,4}\s*+조?\s*+(?:의\s*+\d{1,2})?)\s*+\Z", re.DOTALL)


def plain_number(text: str) -> str:
    """ "제522조의3" or "522의3" as "522의3"; raises `UsageError` if it is no article number."""
    found = NUMBER.match(text)
    if not found:
        raise UsageError(f"{text!r} is no article number", next_step="write it as 제522조의3 or 522의3")
    return str(int(found[1])) + (f"의{int(found[2])}" if found[2] else "")


def split_citation(text: str) -> tuple[str, str]:
    """("상법", "360의3") of "상법 제360조의3"; raises `UsageError` if no article is named."""
    found = CITED.match(text)
    if not found:
        raise UsageError(f"{text!r} names no article", next_step='write it as "상법 제360조의3"')
    return found[1].strip(), plain_number(found[2])


def written(number: str) -> str:
    """ "522의3" as "제522조의3"."""
    main, _, branch = number.partition("의")
    return f"제{main}조의{branch}" if branch else f"제{main}조"


def order_of(number: str) -> tuple[int, int]:
    """ "522의3" as (522, 3), by which articles are ordered."""
    main, _, branch = number.partition("의")
    return int(main), int(branch or 0)
