"""Questions and answers from patterns, without any model: definition, deadline, share, exception, content, table row.

The answer is the passage's own sentence with a polite ending, so it is grounded by construction; questions are plain.
Does not: paraphrase, or read decisions, whose issues and holdings `read` takes as questions and answers already.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .passages import Passage
from .sentences import LIST_FOLLOWS, REVISION, Sentence, outside, sentences, with_support

ARTICLE_TITLE = re.compile(r"^(?P<law>.{1,200}?) (?P<article>제\d+조(?:의\d+)*) *(?:\((?P<topic>.{1,200})\))?$")
TERM = re.compile(r"[\"“'‘「](?P<term>[^\"”'’」\n]{2,40})[\"”'’」](?:\([^()\n]*\))?(?:이)?란 ")
MEANT = re.compile(r"(?P<end>을|를) 말한다\.")
SHORTEST_MEANING, LONGEST_MEANING = 10, 400
DEADLINE = re.compile(
    r"(?<!\d)\d++\s?(?:일|주|주일|개월|월|년)\s?(?:이내|내에|전까지|전에|이전|까지|이상|간)|(?<!\d)\d++시간\s?이내"
)
SHARE = re.compile(r"(?<!\d)\d++(?:분의\s?\d+|퍼센트)|과반수")
LONGEST_ANSWER = 600
LONGEST_HEADER = 30  # characters; longer ones are no name of a column
TOLD = re.compile(r"다[.\s]*$|다\. |[가-힣][.?!]$|(?:세요|까요|시오)$")  # a header that is a sentence
NUMBER_COLUMN = re.compile(r"(?:번호|순번|연번|일련 ?번호|순서|#|No\.?|№)$", re.IGNORECASE)
RUNNING = re.compile(r"\(?\d{1,3}(?:[.-]\d{1,3})*[.)]?$")  # 1, 2., (3), 1-2; a year or a day is a name
POLITE = (
    ("하여야 한다.", "하여야 합니다."),
    ("못한다.", "못합니다."),
    ("아니한다.", "아니합니다."),
    ("아니하다.", "아니합니다."),
    ("말한다.", "말합니다."),
    ("된다.", "됩니다."),
    ("있다.", "있습니다."),
    ("없다.", "없습니다."),
    ("본다.", "봅니다."),
    ("같다.", "같습니다."),
    ("이다.", "입니다."),
    ("한다.", "합니다."),
    ("진다.", "집니다."),
    ("따른다.", "따릅니다."),
    ("미친다.", "미칩니다."),
    ("않는다.", "않습니다."),
    ("받는다.", "받습니다."),
    ("친다.", "칩니다."),
)


@dataclass(frozen=True, slots=True)
class Made:
    """A made question with its answer, the verbatim span that it rests on, and its kind."""

    question: str
    answer: str
    span: str
    kind: str


def extract(passage: Passage, most: int) -> list[Made]:
    """At most `most` pairs of a passage, the most telling kinds first, one of each kind but definitions."""
    made: list[Made] = []
    kinds: set[str] = set()
    for item in [*_definitions(passage), *_from_article(passage), *_from_table(passage)]:
        if item.kind == "definition" or item.kind not in kinds:
            made.append(item)
            kinds.add(item.kind)
    return made[:most]


def polite(sentence: str) -> str:
    """The sentence with a polite ending where its plain one is known; other text unchanged."""
    for plain, ending in POLITE:
        if sentence.endswith(plain):
            return sentence[: -len(plain)] + ending
    return sentence


def particle(word: str, closed: str, open_: str) -> str:
    """The word with the particle that its last syllable asks for (은/는, 이/가 …)."""
    last = re.sub(r"(?<![)'’\"”」])(?:\([^()]*\)|['’\"”」])+$", "", word)[-1:]
    has_final = "가" <= last <= "힣" and (ord(last) - ord("가")) % 28 != 0
    return word + (closed if has_final or last in "013678LMNR" else open_)


def _definitions(passage: Passage) -> Iterator[Made]:
    place = ARTICLE_TITLE.match(passage.title)
    for line in passage.text.split("\n"):
        done = 0
        for found in TERM.finditer(line):
            rest = line[found.end() :]
            end = next(outside(MEANT, rest), None)
            if end is None or found.start() < done or not SHORTEST_MEANING <= end.start() <= LONGEST_MEANING:
                continue
            done = found.end() + end.end()
            body = REVISION.sub("", rest[: end.start()])
            if LIST_FOLLOWS in body:
                continue  # the list is not in the sentence
            term = found["term"].strip()
            asked = f"{place['law']}에서 말하는 " if place else ""
            quoted = particle(f"'{term}'", "이란", "란")
            question = f"{asked}{quoted} 무엇인가요?"
            answer = f"{particle(term, '이란', '란')} {body}{end['end']} 말합니다."
            yield Made(question, answer + rests_on(place), line[found.start() : done], "definition")


def _from_article(passage: Passage) -> Iterator[Made]:
    place = ARTICLE_TITLE.match(passage.title)
    if not place or not place["topic"]:
        return
    where = f"{place['law']} {place['article']}({place['topic']})"
    found = sentences(passage.text)
    for at, one in enumerate(found):
        run = with_support(found, at)
        if not run:
            continue  # alone it would be told of nothing, or of another paragraph's rule
        told = _told(run)
        if DEADLINE.search(one.text):
            yield _made(f"{where}에서 정한 기한은 어떻게 되나요?", told, one.raw, "deadline", place)
        if SHARE.search(one.text):
            yield _made(f"{where}에서 정한 비율 요건은 무엇인가요?", told, one.raw, "share", place)
        if one.text.startswith("다만"):
            yield _made(f"{where}의 원칙과 예외는 무엇인가요?", told, one.raw, "exception", place)
    if found and not found[0].leans and all(one.complete for one in found):
        told = _told(found)
        if len(told) <= LONGEST_ANSWER:
            question = f"{particle(where, '은', '는')} 어떤 내용을 정하고 있나요?"
            yield _made(question, told, found[0].raw, "content", place)


def _told(run: Sequence[Sentence]) -> str:
    return " ".join(polite(one.text) for one in run)


def _from_table(passage: Passage) -> Iterator[Made]:
    """The first row of a table that has a name and values, asked for by its name."""
    lines = [line for line in passage.text.split("\n") if line.startswith("| ")]
    if len(lines) < 2:
        return
    head, *rows = _named([[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines])
    if any(len(name) > LONGEST_HEADER or TOLD.search(name) for name in head):
        return  # not a table of names and values: a text set in columns
    for line, row in zip(lines[1:], rows, strict=True):
        cells = [(name, cell) for name, cell in zip(head[1:], row[1:], strict=False) if name and cell]
        if len(row) == len(head) and row[0] and cells:
            asked = particle(", ".join(name for name, _ in cells), "은", "는")
            told = f"'{row[0]}' 항목은 {', '.join(f'{name} {cell}' for name, cell in cells)}입니다."
            question = f"{_table_name(passage)}의 표에서 '{row[0]}' 항목의 {asked} 무엇인가요?"
            yield Made(question, told, line, "table")
            return


def _named(table: list[list[str]]) -> list[list[str]]:
    """The table from its first column that names rows: nobody asks for item '1'."""
    first = [row[0] for row in table]
    if len(table[0]) > 1 and (NUMBER_COLUMN.match(first[0]) or all(RUNNING.match(cell) for cell in first[1:])):
        return _named([row[1:] or [""] for row in table])
    return table


def _table_name(passage: Passage) -> str:
    """The passage's title; of the names of a file and its sheet only the longer one where it contains the other."""
    sheet, at, _ = passage.document.source.place.rpartition("!")
    file, found, rest = passage.title.partition(f" {sheet}")
    if at and found and file in sheet:
        return sheet + rest
    return file + rest if at and found and sheet in file else passage.title


def _made(question: str, answer: str, raw: str, kind: str, place: re.Match[str]) -> Made:
    return Made(question, polite(answer) + rests_on(place), raw.strip(), kind)


def rests_on(place: re.Match[str] | None) -> str:
    """What an answer ends with: the article that it rests on; empty for other documents."""
    return f" ({place['law']} {place['article']})" if place else ""
