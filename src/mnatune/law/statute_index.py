"""The facts of a law memory: which articles each law has or ever had, their titles, paragraphs and days in force.

They are columns of the memory's `articles.parquet`; `law.json` says when the texts were taken. The texts stay on disk.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from .tables import read_columns, read_facts

COLUMNS = ("law", "number", "title", "paragraphs", "first", "last")


@dataclass(frozen=True, slots=True)
class Article:
    """An article of a law; `paragraphs` is the most it ever had, `last` is empty while no end is known."""

    title: str
    paragraphs: int
    first: str
    last: str

    def in_force(self, day: str) -> bool:
        """Whether the article is in force on a day."""
        return self.first <= day and (not self.last or day <= self.last)


@dataclass(frozen=True)
class StatuteIndex:
    """Articles by law and number ("522의3"); `since` says from when on each law is known. Dates are ISO 8601."""

    as_of: str
    laws: dict[str, dict[str, Article]]
    since: dict[str, str]

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the facts of a law memory; raises `DataError` if it is damaged or of another version."""
        facts = read_facts(folder)
        laws: dict[str, dict[str, Article]] = {}
        for law, number, *row in zip(*read_columns(folder / "articles.parquet", COLUMNS), strict=True):
            laws.setdefault(law, {})[number] = Article(*row)
        since = {law: min(article.first for article in articles.values()) for law, articles in laws.items()}
        return cls(str(facts["as_of"]), laws, since)

    def article(self, law: str, number: str) -> Article | None:
        """The article, in force or not; None if the law never had it."""
        return self.laws[law].get(number)
