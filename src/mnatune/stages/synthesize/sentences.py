"""Sentences of a statute by rule: where one ends, in which paragraph it stands, and what it leans on.

Does not: read across lines inside a parenthesis. One that a line leaves open hides the ends of sentences to the end of that line.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

OPENING = "([{（［〔【"  # tax law goes three deep: "{… [… (…) …] …}"
PARENTHESIS = re.compile(r"[()\[\]{}（）［］〔〕【】]")
# "4) 3)에 따른", "가목1)": the mark of a list closes nothing. [가-하] would be every syllable.
LIST_MARK = re.compile(r"(?:^|[\s()목호,ㆍ])(?:\d{1,2}|[가나다라마바사아자차카타파하]|[a-z])$")
END = re.compile(r"다\.(?=\s|$)")
NUMBERING = re.compile(
    r"^(?:(?P<paragraph>(?:[①-⑳㉑-㉟㊱-㊿]\s*)+)|\d{1,3}(?:의\d+)?\.|[가나다라마바사아자차카타파하]\."
    r"|(?:\d{1,2}|[가나다라마바사아자차카타파하])\)(?=\s)|[-•ㆍ·](?=\s))\s*"
)
REVISION = re.compile(r"(?<!\s)\s*+[<\[](?:개정|신설|전문개정|본조신설|제목개정|시행일|삭제)[^>\]]{0,300}[>\]]")
# "그 밖에 필요한 사항은" needs nothing before it; "이 법은" names the law.
LEANS = re.compile(r"(?:다만|단),|다만 |그러나|이 ?경우|이 ?때|그 (?!밖)|이(?:를|에|와|로|는) |전\d?항")
LIST_FOLLOWS = "다음 각"


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence as it stands in the text.

    Attributes:
        text: without the paragraph's number, emphasis and revision notes.
        unit: counts the numbered paragraphs and items of the text; `listed` if it is an item of a list.
    """

    raw: str
    text: str
    line: int
    unit: int
    listed: bool

    @property
    def complete(self) -> bool:
        """Whether it says all that it says by itself: it has an end, and no list that follows belongs to it."""
        return self.text.endswith("다.") and LIST_FOLLOWS not in self.text

    @property
    def leans(self) -> bool:
        """Whether it begins with a word that only the sentence before it explains."""
        return LEANS.match(self.text) is not None

    def follows(self, before: "Sentence") -> bool:
        """Whether it goes on with the sentence right before it; after a list on other lines one cannot tell with what."""
        return self.unit == before.unit and (self.line == before.line or not before.listed)


def sentences(text: str) -> list[Sentence]:
    """The sentences of a text in order, also those that cannot be used: they part the ones around them."""
    found: list[Sentence] = []
    unit, listed = 0, False
    for number, line in enumerate(text.split("\n")):
        for raw in pieces(line):
            bare = REVISION.sub("", raw.replace("**", "")).strip()
            if numbered := NUMBERING.match(bare):
                unit, listed = unit + 1, not numbered["paragraph"]
            if told := NUMBERING.sub("", bare).strip():
                found.append(Sentence(raw, told, number, unit, listed))
    return found


def pieces(line: str) -> Iterator[str]:
    """A line cut after each sentence; none ends inside a parenthesis, as in "(…를 말한다. 이하 같다)"."""
    start = 0
    for end in (found.end() for found in outside(END, line)):
        yield line[start:end]
        start = end
    if start < len(line):
        yield line[start:]


def outside(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    """The matches of a pattern where no parenthesis is open."""
    depth = at = 0
    for found in pattern.finditer(text):
        depth = _depth(text, at, found.start(), depth)[0]
        at = found.start()
        if not depth:
            yield found


def balanced(text: str) -> bool:
    """Whether every parenthesis of a text is opened and closed; the marks of lists are none."""
    return _depth(text, 0, len(text), 0) == (0, 0)


def with_support(found: Sequence[Sentence], at: int) -> Sequence[Sentence]:
    """A sentence after those that it leans on, the first of which stands by itself; empty if one is missing or not whole."""
    start = at
    while found[start].leans:
        if not start or not found[start].follows(found[start - 1]):
            return ()
        start -= 1
    run = found[start : at + 1]
    return run if all(one.complete for one in run) else ()


def _depth(text: str, start: int, end: int, depth: int) -> tuple[int, int]:
    """(parentheses open at `end`, those closed that were never opened), with `depth` open at `start`."""
    stray = 0
    for mark in PARENTHESIS.finditer(text, start, end):
        if mark.group() in OPENING:
            depth += 1
        elif depth:
            depth -= 1
        elif mark.group() != ")" or not LIST_MARK.search(text[max(0, mark.start() - 3) : mark.start()]):
            stray += 1
    return depth, stray
