"""The statute index of a pack: which articles each law has or ever had, their titles, paragraphs and dates in force.

    {"version": 1, "as_of": "2027-02-04", "laws": {"상법": {"first": "1963-01-01", "articles": {"522의3": [...]}}}}

An article is `[title, paragraphs, first, last]`: the most paragraphs it ever had, the first date in force, and the last
one, empty if it is in force. `as_of` is the latest entry into force that the index knows. Only facts are kept, no text.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml

from ..runs.errors import DataError

VERSION = 1
HEADING = re.compile(r"^#{4,6}\s+제(\d+)조(?:의(\d+))?[^\S\n]*+(?:[(（](.*?)[)）])?[^\S\n]*+$", re.MULTILINE)
PARAGRAPH = re.compile(r"^\**[^\S\n]*+([①-⑳㉑-㉟㊱-㊿])", re.MULTILINE)
FRONT = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)
SUPPLEMENT = re.compile(r"^#{1,3}\s+부\s*칙", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Article:
    """An article of a law; `last` is empty while it is in force."""

    title: str
    paragraphs: int
    first: str
    last: str

    @property
    def in_force(self) -> bool:
        return not self.last


@dataclass(frozen=True)
class StatuteIndex:
    """Articles by law and number ("522의3"); `since` says from when on each law is known. Dates are ISO 8601."""

    as_of: str
    laws: dict[str, dict[str, Article]]
    since: dict[str, str]

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read statutes.json; raises `DataError` if it is of another version."""
        whole = json.loads(path.read_text(encoding="utf-8"))
        if whole.get("version") != VERSION:
            raise DataError("not a statute index of this version", where=str(path), next_step="mnatune pack index")
        rows = {name: law["articles"].items() for name, law in whole["laws"].items()}
        laws = {name: {number: Article(*row) for number, row in articles} for name, articles in rows.items()}
        return cls(whole["as_of"], laws, {name: law["first"] for name, law in whole["laws"].items()})

    def article(self, law: str, number: str) -> Article | None:
        """The article, in force or not; None if the law never had it."""
        return self.laws[law].get(number)


def build(source: Path) -> dict[str, Any]:
    """The index as a JSON-able value.

    Args:
        source: a history (JSON Lines of {"law", "articles": [{"article", "title", "paragraphs", "first", "last",
            "current"}]}), which knows repealed articles too, or a checkout of legalize-kr (its `kr/` folder with one
            folder per law), which knows only what is in force.

    Raises:
        DataError: neither of the two, or a broken line.
    """
    if source.is_file():
        laws = dict(_from_history(source))
    elif source.is_dir():
        laws = dict(_from_checkout(source))
    else:
        raise DataError("there is no such file or folder", where=str(source))
    if not laws:
        raise DataError("no law found", where=str(source), next_step="give a history .jsonl or a legalize-kr checkout")
    dates = [date for law in laws.values() for row in law["articles"].values() for date in row[2:] if date]
    return {"version": VERSION, "as_of": max(dates, default=""), "laws": dict(sorted(laws.items()))}


def dump(index: dict[str, Any]) -> str:
    """The index as compact JSON, one law per line, so that a change shows in a diff."""

    def compact(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

    laws = ",\n".join(f"{compact(name)}:{compact(law)}" for name, law in index["laws"].items())
    head = f'"version":{index["version"]},"as_of":{compact(index["as_of"])}'
    return f'{{{head},"laws":{{\n{laws}\n}}}}\n'


def _from_history(source: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with source.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                law = json.loads(line)
                yield law["law"], _law({row["article"]: _history_row(row) for row in law["articles"]})
            except (json.JSONDecodeError, KeyError, TypeError) as error:
                raise DataError(f"not a line of a statute history: {error}", where=f"{source}:{number}") from error


def _history_row(row: dict[str, Any]) -> list[Any]:
    return [row["title"] or "", row["paragraphs"], row["first"], "" if row["current"] else row["last"]]


def _from_checkout(source: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    root = source / "kr" if (source / "kr").is_dir() else source
    for file in sorted(root.glob("*/*.md")):
        text = file.read_text(encoding="utf-8")
        front = FRONT.match(text)
        facts = yaml.safe_load(front[1]) if front else None
        if not isinstance(facts, dict) or not facts.get("제목"):
            raise DataError("a law file without its front matter (제목, 시행일자)", where=str(file))
        articles = _articles(text[front.end() if front else 0 :], str(facts.get("시행일자", "")))
        if articles:
            yield str(facts["제목"]), _law(articles)


def _articles(text: str, in_force: str) -> dict[str, list[Any]]:
    """Articles of one law file, up to the supplementary provisions."""
    end = SUPPLEMENT.search(text)
    body = text[: end.start()] if end else text
    heads = list(HEADING.finditer(body))
    found: dict[str, list[Any]] = {}
    for head, following in zip(heads, [*heads[1:], None], strict=True):
        section = body[head.end() : following.start() if following else len(body)]
        number = head[1] + (f"의{head[2]}" if head[2] else "")
        found[number] = [head[3] or "", max(1, len(set(PARAGRAPH.findall(section)))), in_force, ""]
    return found


def _law(articles: dict[str, list[Any]]) -> dict[str, Any]:
    return {"first": _earliest(row[2] for row in articles.values()), "articles": articles}


def _earliest(dates: Iterable[str]) -> str:
    return min((date for date in dates if date), default="")
