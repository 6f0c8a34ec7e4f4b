"""Case numbers such as 2003두4355 in Korean text, and whether a court could have given them."""

import re
from collections.abc import Collection
from dataclasses import dataclass

CASE = re.compile(
    r"(?<![\dA-Za-z가-힣])(\d{2}|\d{4})\s?([가-힣]{1,4})\s?(\d{1,7})(?:\s?-\s?\d{1,3})?(?!\d|\s*[년월일원주명회개번점])"
)
DECIDED = re.compile(r"\s*(?:전원합의체\s*)?(?:판결|결정|명령)")
FIRST_CASE_YEAR = 1945
LAST_DANGI_YEAR = 4294
DANGI = 2333  # offset of the Dangi calendar, which courts used until 1961
RETRIAL = ("준재", "재")


@dataclass(frozen=True, slots=True)
class CaseNumber:
    """A case number; `well_formed` if the kind of case exists and the year is plausible."""

    start: int
    end: int
    text: str
    well_formed: bool


def case_numbers(text: str, kinds: Collection[str], last_year: int) -> list[CaseNumber]:
    """Case numbers of a text: those of a known kind, and whatever is followed by 판결 or 결정.

    Args:
        kinds: kinds of case ("다", "가합").
        last_year: the latest year that a case can have; two-digit years are of the 20th century.
    """
    found = []
    for match in CASE.finditer(text):
        known = any(match[2].removeprefix(retrial) in kinds for retrial in ("", *RETRIAL))
        decided = DECIDED.match(text, match.end())
        if decided or (known and (len(match[3]) > 2 or not re.search(r"\s", match.group()))):  # no "10인 5"
            year = int(match[1]) + (0 if len(match[1]) == 4 else 1900)
            year -= DANGI if FIRST_CASE_YEAR + DANGI <= year <= LAST_DANGI_YEAR else 0
            formed = known and FIRST_CASE_YEAR <= year <= last_year and int(match[3]) > 0
            found.append(CaseNumber(match.start(), match.end(), match.group(), formed))
    return found
