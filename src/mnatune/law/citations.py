"""Finds statute citations in Korean text and checks them against the pack's law memory.

Three verdicts: "valid" (the article exists or existed), "invalid" (the memory knows the law, which never had that
article or paragraph, or the article is not yet in force), "unresolved" (cannot be decided: a law outside the memory, an
earlier version, "같은 법" without a law before it, a foreign law, supplementary provisions). Rates count only the first two.

Names are compared without spaces, quotation marks and middle dots; the longest known name before the number wins. Names
defined in the text itself ("이하 '자본시장법'이라 한다") and lists ("상법 제522조, 제530조") are followed.

Does not: check whether the sentence says what the article says.
"""

import re
from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal, Self

from ..pack import Pack
from .cases import CaseNumber, case_numbers
from .names import SPLIT, Law, LawNames, compact
from .statute_index import Article, StatuteIndex

Verdict = Literal["valid", "invalid", "unresolved"]

SPAN = r"(?:분의|주(?![가-힣])|주일|주간|일(?![가-힣])|개?월|년|시간)\s?(?:전|내|이내|간|이상|이하|안|까지|부터|동안|후|\d)"
UNIT = (
    r"(?:분의|개|명|인(?![가-힣]*[수정가])|항|배|회|주(?![주식권총요])|일(?![반정부])|월|년|시간|퍼센트|프로|%|％|원|억|만|천|백|십|호|차"
    r"|가지|번|건|점|종|할|단계|세|급|등급)"
)
BRANCH = rf"(?:\s*의(?:(?P<{{0}}>\d{{{{1,2}}}})(?!\d|\s*(?:개|명|항|배|분의)|{SPAN})|\s+(?P<{{1}}>\d{{{{1,2}}}})(?![\d.,/]|\s*{UNIT})))?"
ARTICLE = re.compile(
    r"(?:(?P<mark>제)\s*+|(?<![\d.,]))(?P<number>\d{1,4})\s*조(?!\s*(?:원|달러|[0-9]))"
    + BRANCH.format("glued", "spaced")
    + r"|§{1,2}\s*(?P<sign>\d{1,4})(?!\d)(?:\s*조)?"
    + BRANCH.format("sign_glued", "sign_spaced")
)
PARAGRAPHS = re.compile(
    r"(?:\s*\([^()]{0,40}\))?\s*(?:(?:제\s*\d{1,2}\s*항|[①-⑳])"
    r"(?:\s*제\s*\d{1,3}\s*호(?:의\s*\d+)?)?(?:\s*[가-하]목)?(?:\s*(?:,|ㆍ|·|및|와|과|또는|내지)\s*(?=제\s*\d{1,2}\s*항|[①-⑳]))?)+"
)
PARAGRAPH = re.compile(r"제\s*(\d{1,2})\s*항|([①-⑳])")
DEFINITION = re.compile(
    r"이하\s*+(?:각\s*+|위\s*+법을\s*+)?['‘“\"「『]?+\s*+([^\s'’”\"」』()][^'’”\"」』()\n]{0,29}?)"
    r"\s*+['’”\"」』]?+\s*+이?라고?만?\s*+(?:한다|하고|함|칭한다)"
)
LIST_GAP = re.compile(
    r"(?:[\s,.ㆍ·∙~∼～〜\-–—、，;；/&＆+|→및]|와|과|또는|내지|혹은|그리고|또한|외에|뿐만아니라|이나|부터|까지|나|의|각|제?\d+항|제\d+호|[가-하]목|본문|단서|전단|후단|전문|후문"
    r"|소정의|소정|규정|이하|같은조|동조|참조|현행|에|서|[①-⑳])*\Z"
)
OTHER_DEED = re.compile(
    r"(?:정관|약관|계약서?|협약서?|약정서?|합의서|규약|회칙|사규|별표|별지|기준서|회계기준|조약|협정|제\d+[편장절관])\Z"
)
AFTER_NAME = re.compile(r"(?:에서의|에서|상의|상|의|중|,|，|-|–|—)\Z")  # "상법상 제522조", "상법의 제522조"
SUFFIX = re.compile(r"(시행령|시행규칙)\Z")
UNKNOWN = re.compile(
    r"(?<![가-힣A-Za-z0-9])[가-힣A-Za-z0-9]*(?:법률?|시행령|시행규칙|규칙|규정|조례|령|헌법|지침|기준)\Z"
)
OLD_MARK = re.compile(r"(?:^|[^가-힣])(?:구|옛|개정\s*전|개정\s*전의|종전|종전의|폐지된|개정되기\s*전의?)\Z")
GLUED = re.compile(r"(?:^|[^가-힣])(?:구|현행|및|또는|각|위)\Z")  # words that may stand before a name without a space
SAME = (
    "같은법",
    "같은법률",
    "같은영",
    "같은령",
    "같은규칙",
    "동법",
    "동법률",
    "동영",
    "동령",
    "동규칙",
    "위법",
    "위법률",
    "위같은법",
    "상기법",
    "상기법률",
)
DECREE = {
    "같은영": "시행령",
    "같은령": "시행령",
    "동영": "시행령",
    "동령": "시행령",
    "같은규칙": "시행규칙",
    "동규칙": "시행규칙",
}
BARE = (
    "법",
    "법률",
    "영",
    "령",
    "규칙",
    "규정",
    "시행령",
    "시행규칙",
    "구법",
    "신법",
    "본법",
    "현행법",
    "개정법",
    "이법",
    "종전법",
)
MENTION = re.compile(r"(?<![가-힣])(?:[가-힣]+법|법률)(?=[은는이가을를에의상과와도,)」\s])")
BRACKETS = re.compile(r"\([^()]*\)")
OLD_TAIL = re.compile(r"(?:되기|하기)\s*(?:이?전의?)\s*(?:것|법|법률|구)")
REACH = 160  # characters before an article number in which its law is looked for
BRACKET_REACH = 500


@dataclass(frozen=True, slots=True)
class Citation:
    """A citation in a text.

    Attributes:
        start, end: its place, the law's name included where it stands right before.
        law: the official name; for a law outside the index, the name as written; empty if none is named.
        article: "522의3".
        paragraph: the first paragraph cited, 0 if none.
        title: the article's title, if the index has it.
        note: in Korean, why the verdict is not a plain "valid"; empty otherwise.
        in_force: False if the article is known to be repealed, renumbered away, or not yet in force.
    """

    start: int
    end: int
    law: str
    article: str
    paragraph: int
    verdict: Verdict
    title: str = ""
    note: str = ""
    in_force: bool = True


class CitationChecker:
    """Finds and checks the citations of a text by the pack's law memory (`law/`) and `citations.yaml`.

    Args:
        at: the day for which "in force" is judged, ISO 8601; today without one, but never before the texts were taken.
    """

    def __init__(self, pack: Pack, at: str = "") -> None:
        self._set(pack.yaml("citations.yaml"), StatuteIndex.load(pack.path("law")), at)

    @classmethod
    def of(cls, table: Mapping[str, Any], index: StatuteIndex, at: str = "") -> Self:
        """A checker of a table of names and an index."""
        checker = cls.__new__(cls)
        checker._set(table, index, at)
        return checker

    def on(self, day: str) -> Self:
        """The same checker, judging "in force" for another day."""
        dated = copy(self)
        dated.at = day
        return dated

    def _set(self, table: Mapping[str, Any], index: StatuteIndex, at: str) -> None:
        self.index = index
        self.names = LawNames(table, index.laws)
        self.at = at or max(index.as_of, date.today().isoformat())
        self._case_kinds = frozenset(table.get("case_kinds", []))

    def find(self, text: str) -> list[Citation]:
        """All citations of a text, in order."""
        return list(_Reader(self, text).citations())

    def cases(self, text: str) -> list[CaseNumber]:
        """Case numbers of a text, each with whether a court could have given it."""
        return case_numbers(text, self._case_kinds, int(self.at[:4]))

    def check(
        self, law: str, article: str, paragraph: int = 0, *, old: bool = False
    ) -> tuple[Verdict, str, Article | None]:
        """Verdict on an article of a law by its official name, the note, and the article itself if there is one."""
        if law not in self.index.laws:
            return "unresolved", "색인에 없는 법령입니다.", None
        found = self.index.article(law, article)
        if found is None:
            if old:
                return "unresolved", "개정 전 법령이라 색인으로 판정할 수 없습니다.", None
            since = self.index.since.get(law, "")
            return "invalid", f"{law}에 {_written(article)} 조문이 있었던 적이 없습니다(색인은 {since}부터).", None
        if paragraph > found.paragraphs:
            if old:
                return "unresolved", "개정 전 법령이라 항 번호를 판정할 수 없습니다.", found
            return "invalid", f"{law} {_written(article)}의 항은 {found.paragraphs}개까지입니다.", found
        if self.at < found.first:
            if self.at < self.index.since[law]:
                return "unresolved", f"색인은 {law}의 {self.index.since[law]} 전을 모릅니다.", found
            return "invalid", f"아직 시행되지 않은 조문입니다({found.first}부터 시행).", found
        return "valid", "" if found.in_force(self.at) else f"지금은 없는 조문입니다({found.last}까지 시행).", found


class _Reader:
    """One pass over a text, with what it has defined and named so far."""

    def __init__(self, checker: CitationChecker, text: str) -> None:
        self.checker = checker
        self.names = checker.names
        self.text = text
        self.local: dict[str, Law] = {}
        self.last: Law | None = None
        self.definitions = [(match.start(), match[1]) for match in DEFINITION.finditer(text)] if "이하" in text else []
        self.learned = 0
        self.ended = 0

    def citations(self) -> Iterator[Citation]:
        """The citations in order; article numbers of contracts and the like are passed over."""
        carried: Law | None = None
        end = -1
        for match in ARTICLE.finditer(self.text):
            self._learn(match.start())
            if end < 0 or not self._continues(end, match.start()):
                law = self._law_before(match.start())
                if not (match["mark"] or match["sign"]) and (law is None or law.start < 0):
                    continue  # "3조" alone may be anything; after a law's name it is an article
                carried = law
            elif carried:
                carried = Law(carried.name, carried.indexed, carried.old, carried.note)
            paragraphs = PARAGRAPHS.match(self.text, match.end())
            end = paragraphs.end() if paragraphs else match.end()
            if carried:
                if carried.name:
                    self.last = carried
                    self.ended = end
                yield self._citation(carried, match, paragraphs)

    def _citation(self, law: Law, match: re.Match[str], paragraphs: re.Match[str] | None) -> Citation:
        branch = match["glued"] or match["spaced"] or match["sign_glued"] or match["sign_spaced"]
        article = str(int(match["number"] or match["sign"])) + (f"의{int(branch)}" if branch else "")
        numbers = [_paragraph(m) for m in PARAGRAPH.finditer(paragraphs.group())] if paragraphs else []
        verdict, note, found = self.checker.check(law.name, article, max(numbers, default=0), old=law.old)
        if not law.indexed:
            verdict, note, found = "unresolved", law.note or note, None
        return Citation(
            start=law.start if law.start >= 0 else match.start(),
            end=paragraphs.end() if paragraphs else match.end(),
            law=law.name,
            article=article,
            paragraph=numbers[0] if numbers else 0,
            verdict=verdict,
            title=found.title if found else "",
            note=note,
            in_force=found.in_force(self.checker.at) if found else True,
        )

    def _continues(self, end: int, start: int) -> bool:
        """Only connectives stand between two article numbers: the second belongs to the first one's law."""
        return start - end <= REACH and bool(LIST_GAP.match(compact(_without_brackets(self.text[end:start]))))

    def _learn(self, upto: int) -> None:
        """Take in the names that the text has defined before `upto`: 자본시장과 … 법률(이하 '자본시장법'이라 한다)."""
        while self.learned < len(self.definitions) and self.definitions[self.learned][0] < upto:
            at, alias = self.definitions[self.learned]
            self.learned += 1
            opening = self.text.rfind("(", max(0, at - BRACKET_REACH), at)
            law = self._named(opening) if opening >= 0 else None
            if law and law.name:
                old = law.old or alias.startswith("구") or bool(OLD_TAIL.search(self.text, opening, at))
                self.local[compact(alias)] = Law(law.name, law.indexed, old, law.note)

    def _law_before(self, start: int) -> Law | None:
        """The law named before an article number; None if it is no article of a law."""
        law = self._named(start)
        if law:
            return law
        before = compact(self.text[max(0, start - REACH) : start])
        if OTHER_DEED.search(before):
            return None
        if before.endswith("부칙"):
            return Law("", indexed=False, note="부칙의 조문은 색인에 없습니다.")
        return Law("", indexed=False, note="어느 법령의 조문인지 적혀 있지 않습니다.")

    def _named(self, end: int) -> Law | None:
        """The law whose name, or a word for it, ends at `end`, brackets after the name left out."""
        end, old = self._before_brackets(end)
        begin = max(0, end - REACH)
        window = self.text[begin:end]
        places = [at for at, character in enumerate(window, begin) if not SPLIT.match(character)]
        tail = "".join(self.text[at] for at in places)
        hit, suffix = self._lookup(tail)
        if not hit and (particle := AFTER_NAME.search(tail)):
            hit, suffix = self._lookup(tail[: particle.start()])
            places = places[: particle.start()] if hit else places
        if hit:
            law, length = hit
            start = places[-length - len(suffix)]
            old = old or law.old or self._marked_old(start)
            if self.names.is_foreign(self.text[max(0, start - 8) : start]):
                return Law(law.name, indexed=False, note="외국 법령입니다.", start=start)
            if not self._inside_word(start):
                return self._with_suffix(law, suffix, old, start)
        return self._indirect(tail, places, old)

    def _lookup(self, tail: str) -> tuple[tuple[Law, int] | None, str]:
        """The known name at the end of a compacted text with its length, and 시행령 or 시행규칙 after it."""
        hit = self.names.lookup(tail, self.local)
        if hit or not (ending := SUFFIX.search(tail)):
            return hit, ""
        return self.names.lookup(tail[: ending.start()], self.local), ending.group()

    def _with_suffix(self, law: Law, suffix: str, old: bool, start: int) -> Law:
        name = f"{law.name} {suffix}" if suffix else law.name
        indexed = law.indexed and name in self.checker.index.laws
        return Law(name, indexed, old, law.note, start)

    def _indirect(self, tail: str, places: list[int], old: bool) -> Law | None:
        """같은 법, 동법 시행령, a bare 시행령, or the name of an Act that the pack does not know."""
        ending = SUFFIX.search(tail)
        suffix = ending.group() if ending else ""
        core = tail[: len(tail) - len(suffix)]
        back = self.names.points_back(core)
        start = places[len(core) - len(back)] if back else -1
        if back in SAME and not self._inside_word(start):
            named = self._named_since(start) or self.last
            if named is None:
                return Law("", indexed=False, note="앞에 나온 법령이 없습니다.", start=start)
            base = named.name.removesuffix(" 시행령").removesuffix(" 시행규칙")
            last = Law(base, base in self.checker.index.laws, named.old, named.note)
            return self._with_suffix(last, suffix or DECREE.get(back, ""), old or named.old, start)
        word = _last_word(self.text, places)
        if not word or self.names.is_no_act(word):
            return None
        unknown = UNKNOWN.search(tail)
        if unknown and unknown.group() and (word.endswith(unknown.group()[-1])):
            note = "어느 법령을 가리키는지 알 수 없습니다." if word in BARE else "색인에 없는 법령입니다."
            return Law("" if word in BARE else word, indexed=False, note=note)
        return None

    def _named_since(self, start: int) -> Law | None:
        """The Act named last, without an article, between the last citation and `start`: what 같은 법 means there."""
        begin = max(self.ended, start - BRACKET_REACH)
        for match in reversed(list(MENTION.finditer(self.text, begin, start))):
            if not self.names.is_no_act(match.group()):
                hit = self.names.lookup(compact(self.text[max(0, match.end() - REACH) : match.end()]), self.local)
                if hit or match.group() not in BARE:
                    return hit[0] if hit else Law(match.group(), indexed=False)
        return None

    def _before_brackets(self, end: int) -> tuple[int, bool]:
        """Where the text before closing brackets ends, and whether they say "개정되기 전의 것"."""
        old = False
        while True:
            bare = self.text[max(0, end - 3) : end].rstrip()
            if not bare.endswith((")", "）")):
                return end, old
            close = max(0, end - 3) + len(bare) - 1
            depth, at = 1, close
            while depth and at > max(0, close - BRACKET_REACH):
                at -= 1
                depth += {")": 1, "）": 1, "(": -1, "（": -1}.get(self.text[at], 0)
            if depth:
                return end, old
            old = old or bool(OLD_TAIL.search(self.text, at, close))
            end = at

    def _marked_old(self, start: int) -> bool:
        before = self.text[max(0, start - 12) : start].rstrip(" '‘“\"「")
        return bool(OLD_MARK.search(before))

    def _inside_word(self, start: int) -> bool:
        """The name found is the end of a longer word: 상법 in 산재보상법."""
        before = self.text[max(0, start - 3) : start]
        if not before or not ("가" <= before[-1] <= "힣" or before[-1].isalnum()):
            return False
        return not GLUED.search(before)


def _without_brackets(text: str) -> str:
    while (shorter := BRACKETS.sub("", text)) != text:
        text = shorter
    return text


def _last_word(text: str, places: list[int]) -> str:
    """The last word before an article number, without quotation marks."""
    if not places:
        return ""
    at = places[-1]
    begin = max(0, at - 40)
    return re.split(r"[\s,.(（「『‘“'\"]", text[begin : at + 1])[-1].strip("」』’”'\"")


def _paragraph(match: re.Match[str]) -> int:
    return int(match[1]) if match[1] else ord(match[2]) - ord("①") + 1


def _written(article: str) -> str:
    number, _, branch = article.partition("의")
    return f"제{number}조의{branch}" if branch else f"제{number}조"
