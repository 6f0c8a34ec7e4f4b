"""Reads the sources of a law memory: statutes and decisions in the public Markdown layouts, and article histories.

A folder may hold files of legalize-kr and precedent-kr side by side; each file's head says what it is. Several files of
one law with different 시행일자 are versions of its text. A file that cannot be trusted is left out whole, with a reason.

Does not: read addenda (부칙) or the tables that are linked as files.
"""

import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from itertools import zip_longest
from pathlib import Path
from typing import Any

import yaml

from ..runs.errors import DataError

STRINGS = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # a wrong date is a fault of its file, not of the YAML
FRONT = re.compile(r"\A\ufeff?---\n(.*?)\n---\n", re.DOTALL)
HEADING = re.compile(r"^#{1,6} ++([^\n]++)$", re.MULTILINE)
ARTICLE = re.compile(r"제(\d+)조(?:의(\d+))?[^\S\n]*+(?:[(（](.*)[)）])?")
PARAGRAPH = re.compile(r"^[^\S\n]*+([①-⑳㉑-㉟㊱-㊿])", re.MULTILINE)
AMENDED = re.compile(r"[<\[](?:개정|신설|전문개정|본조신설|본항신설|제목개정)([^<>\[\]]{0,400})[>\]]")
DAY = re.compile(r"(\d{4})\.\s?(\d{1,2})\.\s?(\d{1,2})")
DELETED = re.compile(r"삭제(?:\s*<([^<>]{0,60})>)?\s*\Z")
NUMBERED = re.compile(r"\[(\d+(?:\s*,\s*\d+)*)\]")
ESCAPED = re.compile(r"\\([\\`*_{}\[\]()#+\-.!<>~|])")
ISO = re.compile(r"\d{4}-\d{2}-\d{2}\Z")


@dataclass(frozen=True, slots=True)
class ArticleText:
    """An article in one version of its law.

    Attributes:
        number: "522의3".
        since: from when on this version of the law is in force.
        amended: the last amendment that the text itself names; empty if none.
        deleted: the day of the deletion, if the article is no more; its text is then empty.
    """

    law: str
    number: str
    title: str
    paragraphs: int
    since: str
    amended: str
    deleted: str
    text: str


@dataclass(frozen=True, slots=True)
class Holding:
    """An issue (판시사항) of a decision and what the court held (판결요지), with the articles it names (참조조문)."""

    case: str
    court: str
    name: str
    decided: str
    part: int
    issue: str
    holding: str
    cited: str
    source: str


@dataclass
class LawFiles:
    """What was read, and what was left out and why."""

    articles: list[ArticleText] = field(default_factory=list)
    holdings: list[Holding] = field(default_factory=list)
    history: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    newest: str = ""
    """The latest promulgation (공포일자) or decision: the texts were taken on that day or later."""

    def read(self, source: Path) -> None:
        """Add a folder of Markdown files, or a history of articles (JSON Lines).

        Raises:
            DataError: there is no such file or folder, or a broken line of a history.
        """
        if source.is_dir():
            for file in sorted(source.rglob("*.md")):
                self._file(file, source)
        elif source.is_file():
            self.history |= dict(_history(source))
        else:
            raise DataError("there is no such file or folder", where=str(source))

    def _file(self, file: Path, root: Path) -> None:
        where = file.relative_to(root).as_posix()
        try:
            text = unicodedata.normalize("NFC", file.read_text(encoding="utf-8-sig").replace("\r\n", "\n"))
            facts, body = head_and_body(text)  # no head: a README and the like
            if facts.get("사건번호"):
                self._decision(facts, body)
            elif facts.get("제목"):
                self._law(facts, body)
        except (UnicodeDecodeError, yaml.YAMLError, RecursionError, OSError) as error:
            self.faults.append(f"{where}: cannot be read: {str(error).splitlines()[0]}")
        except _Untrusted as error:
            self.faults.append(f"{where}: {error}")

    def _law(self, facts: dict[str, Any], body: str) -> None:
        law, since = str(facts["제목"]).strip(), _day(facts.get("시행일자"), "시행일자")
        found: dict[str, ArticleText] = {}
        for title, text in _sections(body):
            if title.replace(" ", "").startswith("부칙"):
                break
            head = ARTICLE.match(title)
            if not head:
                continue
            number = head[1] + (f"의{head[2]}" if head[2] else "")
            if number in found:
                raise _Untrusted(
                    f"{law} has 제{head[1]}조{f'의{head[2]}' if head[2] else ''} twice; the law is left out"
                )
            found[number] = _article(law, number, head[3] or "", since, text)
        self.articles += found.values()
        self._seen(_day(facts.get("공포일자") or since, "공포일자"))

    def _decision(self, facts: dict[str, Any], body: str) -> None:
        decided = _day(facts.get("선고일자"), "선고일자")
        parts = dict(_sections(body))
        issues, holdings, cited = (_numbered(parts.get(name, "")) for name in ("판시사항", "판결요지", "참조조문"))
        for part, issue in issues.items():
            held = holdings.get(part, holdings.get(0, "") if len(issues) == 1 else "")
            self.holdings.append(
                Holding(
                    case=str(facts["사건번호"]).strip(),
                    court=str(facts.get("법원명", "")).strip(),
                    name=str(facts.get("사건명", "")).strip(),
                    decided=decided,
                    part=part,
                    issue=issue,
                    holding=held,
                    cited=cited.get(part, cited.get(0, "")),
                    source=str(facts.get("출처", "")),
                )
            )
        self._seen(decided)

    def _seen(self, day: str) -> None:
        self.newest = max(self.newest, day)


def head_and_body(text: str) -> tuple[dict[str, Any], str]:
    """The YAML head of a Markdown file as a mapping of strings, and what follows; an empty mapping if it has none.

    Values are text as written: a date that no calendar has is no error here. Raises `yaml.YAMLError` and `RecursionError`.
    """
    front = FRONT.match(text)
    facts = yaml.load(front[1], STRINGS) if front else None
    return (facts, text[front.end() :]) if front and isinstance(facts, dict) else ({}, text)


def unescaped(text: str) -> str:
    """Markdown's backslash escapes undone."""
    return ESCAPED.sub(r"\1", text)


class _Untrusted(Exception):
    """A file whose content contradicts itself."""


def _day(text: Any, name: str) -> str:
    """A date of a file's head in ISO 8601."""
    try:
        return date.fromisoformat(str(text)).isoformat()
    except ValueError:
        raise _Untrusted(f"{name} {text!r} is no date") from None


def _sections(body: str) -> Iterator[tuple[str, str]]:
    """(title, text) of what stands under each heading."""
    marks = list(HEADING.finditer(body))
    for here, after in zip_longest(marks, marks[1:]):
        yield here[1].strip(), plain(body[here.end() : after.start() if after else len(body)])


def plain(text: str) -> str:
    """Markdown without its marks and without empty lines."""
    text = unescaped(text.replace("**", ""))
    return "\n".join(stripped for line in text.split("\n") if (stripped := line.strip()))


def _article(law: str, number: str, title: str, since: str, text: str) -> ArticleText:
    amended = max((_written(day) for mark in AMENDED.finditer(text) for day in DAY.finditer(mark[1])), default="")
    gone = DELETED.match(text)
    deleted = ""
    if gone:
        day = DAY.search(gone[1] or "")
        deleted, text = _written(day) if day else since, ""
    paragraphs = max(1, len(set(PARAGRAPH.findall(text))))
    return ArticleText(law, number, title, paragraphs, since, amended, deleted, text)


def _written(day: re.Match[str]) -> str:
    return f"{int(day[1]):04d}-{int(day[2]):02d}-{int(day[3]):02d}"


def _numbered(text: str) -> dict[int, str]:
    """Number → text of "[1] … [2, 3] …"; {0: text} if it is not numbered."""
    pieces = NUMBERED.split(text)
    if len(pieces) < 3:
        return {0: " ".join(text.split())} if text.strip() else {}
    return {
        int(number): " ".join(piece.strip(" /\n").split())
        for numbers, piece in zip(pieces[1::2], pieces[2::2], strict=True)
        for number in numbers.split(",")
    }


def _history(source: Path) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Law → {"article", "title", "paragraphs", "first", "last", "current"} of every article it ever had."""
    with source.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                law = json.loads(unicodedata.normalize("NFC", line))
                for row in law["articles"]:
                    if not (ISO.match(row["first"]) and ISO.match(row["last"]) and row["paragraphs"] >= 0):
                        raise ValueError(f"{row['article']}: no date")
                yield law["law"], law["articles"]
            except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
                raise DataError(f"not a line of a statute history: {error}", where=f"{source}:{number}") from error
