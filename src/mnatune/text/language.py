"""Is this good Korean? Leaks of Chinese, kana and Latin, register, repetition, broken endings: each a pure function.

Chinese leak: a Han character that gb2312 encodes and euc_kr does not exists only in simplified Chinese. Legal Korean is
full of Hanja, so "any Han character" would flag four statutes in five; `chinese_leaks` has other rules.

Does not: judge grammar or style, or tell Japanese written in Hanja alone from Korean.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import groupby

HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
KANA = re.compile(r"[\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fd-\u30ff\uff66-\uff9f]+")
HANGUL = re.compile(r"[\uac00-\ud7a3\u1100-\u11ff\u3130-\u318f]")
LATIN = re.compile(r"[A-Za-z][A-Za-z.&'’/+\-]*(?:\s+[A-Za-z][A-Za-z.&'’/+\-]*)*")
LETTERS = re.compile(rf"[\uac00-\ud7a3\u1100-\u11ff\u3130-\u318fA-Za-z\u3041-\u30ff{HAN}]")
BRACKETED = re.compile(
    rf"[(（\[〔「『《〈【][^()（）\[\]〔〕「」『』《》〈〉【】]*[)）\]〕」』》〉】]|['‘“\"][{HAN}]+['’”\"]"
)  # a quoted Hanja term is as good as a bracketed one
HAN_RUN = re.compile(rf"[{HAN}]+")
LONG_RUN = 4
PARTICLE = re.compile(r"[\uac00-\ud7a3]")
STRONG = re.compile("[這們嗎呢吧麼您你很哪]")  # never in Korean Hanja words
WEAK = re.compile(rf"(?<=[{HAN}])[的了是在和](?=[{HAN}])")  # in some: 私的自治, 滿了日, 現在價値, 和議
THINK = re.compile(r"</?think>")
SENTENCE_END = re.compile(r"(?<=[다까요오죠함음임됨])[.?!。]+[\"'”’)\]]*(?=\s|$)|\n+")
LIST_MARK = re.compile(r"^\s*(?:[-*•·▪○●]|\(?\d{1,2}[.)]|[①-⑳]|[가-하][.)])\s*")
FORMAL = re.compile(r"(?:니다|니까|시오|시다)$")
POLITE = re.compile(r"(?:요|죠)$")
PLAIN = re.compile(r"(?:다|까|라|자|가|나|지|야|어|해)$")
FINALS_OF_VERBS = (4, 6, 18, 20, 25)  # ㄴ ㄶ ㅄ ㅆ ㅌ
VERBAL = "이하되" + "".join(chr(c) for c in range(0xAC00, 0xD7A4) if (c - 0xAC00) % 28 in FINALS_OF_VERBS)
PLAIN_VERB = re.compile(rf"[{VERBAL}]다$")  # 한다, 않다, 없다, 있다, 같다: an ending even without a full stop
QUOTED = re.compile(r"“[^“”]*”|‘[^‘’]*’|\"[^\"\n]*\"|^[ \t]*>.*$", re.MULTILINE)
CLOSED = re.compile(r"(?:[.?!。…]|다|요|까|함|음|임|됨|것)[\"'”’)\]」』*]*$")
DANGLING = re.compile(
    r"(?:[,:;·(（「『<]|(?<=[가-힣])(?:의|은|는|을|를|와|과|에|에서|에게|으로|로|및)|(?:^|\s)(?:및|또는|그|이|다만|그리고|하지만|따라서))$"
)
ROW = re.compile(r"^\s*\|.*\|\s*$")
FORMULA = re.compile(r"\S\s*[=≥≤×÷→]\s*\S")
LABEL = re.compile(r"^\s*(?:\*\*)?(?:\S+\s){0,2}\S*[가-힣](?:\*\*)?\s*[:：](?:\*\*)?\s*\S")
PICTURES = re.compile("[\u2190-\u2bff\ufe0f\u200d\U0001f000-\U0001faff]{1,20}$")
NOTE = re.compile(r"\s?\[\d{1,3}\]$")
FENCE = re.compile(r"^[ \t]*```.*$", re.MULTILINE)
REMARK = re.compile(r"(?<=[.다요])\s*\([^()]*\)$")  # a source in brackets after the last sentence
PAIRS = {")": "(", "）": "（", "]": "[", "」": "「", "』": "『", "〕": "〔", "”": "“", "’": "‘"}
BLANK = re.compile(r"\[\s*+\]|○○+|-{3,}+")  # in forms and tables
GRAM = 4


@dataclass(frozen=True, slots=True)
class Leak:
    """A stretch of another script. kind: "simplified", "han-run", "han-function", "kana" or "latin"."""

    start: int
    end: int
    kind: str


@dataclass(frozen=True, slots=True)
class Register:
    """Sentence endings of a text, counted: 합니다체, 해요체, plain; others (nouns, lists) do not count."""

    formal: int
    polite: int
    plain: int

    @property
    def sentences(self) -> int:
        return self.formal + self.polite + self.plain

    @property
    def mixed(self) -> bool:
        """More than one register in one answer."""
        return sum(count > 0 for count in (self.formal, self.polite, self.plain)) > 1


@cache
def simplified_only() -> frozenset[str]:
    """Han characters of simplified Chinese alone: gb2312 has them and euc_kr does not (4,079 characters).

    Characters that standard Korean Hanja shares with simplified Chinese are in both sets and are not counted.
    """
    return frozenset(c for c in map(chr, range(0x4E00, 0xA000)) if _encodes(c, "gb2312") and not _encodes(c, "euc_kr"))


def chinese_leaks(text: str, known: Collection[str] = ()) -> list[Leak]:
    """Chinese in a Korean text, one leak at most for each run of Han.

    Rules: anywhere, the run holds a simplified-only character; outside brackets and quotes, it holds a function
    character that Korean Hanja never uses, or two of 的 了 是 在 和 between Han, or one of them, or four Han in all,
    while no Hangul touches the run (Hanja words carry particles, Chinese does not).

    Args:
        known: Hanja terms of the field that are allowed to stand alone.
    """
    if not HAN_RUN.search(text):
        return []
    simplified = simplified_only()
    bracketed = [match.span() for match in BRACKETED.finditer(text)]
    leaks = []
    for match in HAN_RUN.finditer(text):
        start, end = match.span()
        run = match.group()
        if any(c in simplified for c in run):
            leaks.append(Leak(start, end, "simplified"))
        elif not any(a <= start and end <= b for a, b in bracketed) and run not in known:
            touched = any(map(PARTICLE.match, (text[start - 1 : start], text[end : end + 1])))
            kind = _leak_of_shared(run, touched)
            leaks += [Leak(start, end, kind)] if kind else []
    return leaks


def kana(text: str) -> list[Leak]:
    """Runs of Japanese kana; excludes the middle dot and the long mark, which Korean also uses."""
    return [Leak(m.start(), m.end(), "kana") for m in KANA.finditer(text)]


def latin_runs(text: str, allowed: Collection[str] = ()) -> list[Leak]:
    """Latin words that are not allowed terms, single letters ("A사") and abbreviations in capitals left out.

    Args:
        allowed: lower-case words and phrases of the glossary; a phrase of allowed words passes.
    """
    leaks = []
    for match in LATIN.finditer(text):
        phrase = match.group().strip(" .'’-").lower()
        if phrase in allowed or all(_is_term(word, allowed) for word in re.split(r"[\s/&]+", match.group()) if word):
            continue
        leaks.append(Leak(match.start(), match.end(), "latin"))
    return leaks


def hangul_ratio(text: str) -> float | None:
    """Share of Hangul among the letters (Hangul, Han, Latin, kana); None for a text without letters."""
    letters = len(LETTERS.findall(text))
    return len(HANGUL.findall(text)) / letters if letters else None


def register(text: str) -> Register:
    """How the sentences of a text end; list items, headings and quotations are no sentences of the answer's own.

    A plain ending counts at the end of a sentence with its mark ("무효야."), or where no noun ends so ("한다").
    """
    counts: Counter[str] = Counter()
    for sentence, marked, listed in _sentences(QUOTED.sub("", BRACKETED.sub("", text))):
        if FORMAL.search(sentence):
            counts["formal"] += 1
        elif POLITE.search(sentence):
            counts["polite"] += 1
        elif " " in sentence and PLAIN.search(sentence) and not listed and (marked or PLAIN_VERB.search(sentence)):
            counts["plain"] += 1
    return Register(counts["formal"], counts["polite"], counts["plain"])


def _sentences(text: str) -> Iterator[tuple[str, bool, bool]]:
    """Sentences and lines without their marks; whether a mark ended them, and whether they stand in a list or table."""
    at = 0
    for match in [*SENTENCE_END.finditer(text), None]:
        part = text[at : match.start() if match else len(text)]
        bare = LIST_MARK.sub("", part)
        listed = bare != part or bool(ROW.match(part))
        marked = bool(match and match[0].strip()) or part.rstrip().endswith((".", "?", "!"))
        at = match.end() if match else at
        if bare := bare.strip().rstrip(".?!。…\"'”’)] ").strip():
            yield bare, marked, listed and not marked


def repetition(text: str) -> float:
    """Share of word 4-grams that stood in the text before; for texts of fewer words, of character 8-grams.

    What a table or a form repeats by its nature does not count: its lines, blanks ("[ ]") and equal cells side by side.
    """
    words: list[str] | str = _without_form(text).split()
    size = GRAM
    if len(words) < 3 * GRAM:
        words, size = "".join(words), 2 * GRAM
    grams = [tuple(words[i : i + size]) for i in range(len(words) - size + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def _without_form(text: str) -> str:
    lines = BLANK.sub("", text).split("\n")
    return "\n".join(
        " ".join(cell for cell, _ in groupby(part.strip() for part in line.split("|"))) if ROW.match(line) else line
        for line in lines
    )


def is_repetitive(text: str, limit: float = 0.2) -> bool:
    """A model caught in a loop: many repeated 4-grams, or one short phrase three times in a row."""
    return repetition(text) > limit or bool(re.search(r"(.{6,60}?)(?:\s*\1){2,}", _without_form(text), re.DOTALL))


def is_truncated(text: str) -> bool:
    """An answer that breaks off: prose without an end, a bracket, quotation mark or code fence left open, a dangling word.

    Lists, tables, formulas, labelled lines ("근거: 상법 제522조") and code end in nouns and are whole.
    """
    text = NOTE.sub("", PICTURES.sub("", text.rstrip()).rstrip()).rstrip()
    if not text:
        return False
    if len(FENCE.findall(text)) % 2:
        return True
    last = text.rsplit("\n", 1)[-1]
    if FENCE.match(last):
        return False
    if DANGLING.search(last) or _unclosed(FENCE.sub("", text)):
        return True
    whole = (LIST_MARK, ROW, FORMULA, LABEL)
    return not CLOSED.search(REMARK.sub("", text)) and not any(pattern.search(last) for pattern in whole)


def leaks_thinking(text: str) -> bool:
    """A think mark stands in the visible answer."""
    return bool(THINK.search(text))


def _encodes(character: str, codec: str) -> bool:
    try:
        character.encode(codec)
    except UnicodeEncodeError:
        return False
    return True


def _leak_of_shared(run: str, touched: bool) -> str:
    """Kind of leak of a run whose characters Korean has too; empty if it can be Hanja."""
    weak = len(WEAK.findall(run))
    if STRONG.search(run) or weak >= 2 or (weak and not touched):
        return "han-function"
    return "han-run" if len(run) >= LONG_RUN and not touched else ""


def _is_term(word: str, allowed: Collection[str]) -> bool:
    bare = word.strip(".,'’-")
    return len(bare) <= 1 or bare.lower() in allowed or (bare.upper() == bare and len(bare) <= 6)


def _unclosed(text: str) -> bool:
    stack = []
    for character in LIST_MARK.sub("", text):
        if character in PAIRS.values():
            stack.append(character)
        elif character in PAIRS and stack and stack[-1] == PAIRS[character]:
            stack.pop()
    return bool(stack)
