"""The facts of a law memory: which articles each law has or ever had, their titles, paragraphs and days in force.

They are columns of the memory's `articles.parquet`; `law.json` says when the texts were taken. The texts stay on disk.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Self

from .tables import Table, read_facts

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
    laws: Mapping[str, Mapping[str, Article]]
    since: dict[str, str]

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the facts of a law memory; raises `DataError` if it is damaged or of another version."""
        return cls.of(Table(folder / "articles.parquet", COLUMNS), str(read_facts(folder)["as_of"]))

    @classmethod
    def of(cls, table: Table, as_of: str) -> Self:
        """The facts of a table of articles, in which the rows of a law stand together."""
        laws = _Laws(table)
        return cls(as_of, laws, {law: min(table["first"][rows]) for law, rows in laws.rows.items()})

    def article(self, law: str, number: str) -> Article | None:
        """The article, in force or not; None if the law never had it."""
        return self.laws[law].get(number)


class _Laws(Mapping[str, Mapping[str, Article]]):
    """The articles of each law, put together when they are asked for."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._known: dict[str, dict[str, Article]] = {}
        self.rows: dict[str, slice] = {}
        start = 0
        for law, rows in groupby(table["law"]):
            end = start + sum(1 for _ in rows)
            self.rows[law] = slice(start, end)
            start = end

    def __getitem__(self, law: str) -> dict[str, Article]:
        if law not in self._known:
            columns = (self._table[name][self.rows[law]] for name in COLUMNS[1:])
            self._known[law] = {number: Article(*row) for number, *row in zip(*columns, strict=True)}
        return self._known[law]

    def __iter__(self) -> Iterator[str]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)
