"""The law memory: articles, decisions and own documents, looked up by name and day and searched by question, offline.

    memory = LawIndex.open("packs/mna_ko/law")
    memory.article("상법", "522의3")
    memory.search("합병에 반대하는 주주는 언제까지 청구해야 하나요?", at="2023-05-01")

An article's score is that of its text and title and the votes of what cites it (see `relevance`). What the question cites
itself comes first.

Does not: know versions of a text that it was not built from. A hit carries the day from which its text is in force, and a note
if the day asked for is earlier, unless the text's own amendment marks show that it had not changed since.
"""

import difflib
from collections.abc import Collection, Iterator, Sequence
from datetime import date
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ..runs.errors import UsageError
from .article_numbers import order_of, plain_number, written
from .hits import KINDS, Change, Hit, Kind
from .names import compact
from .relevance import Relevance
from .statute_index import StatuteIndex
from .tables import Table, read_facts

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from .citations import CitationChecker
    from .postings import Scores
    from .terms import Hashes

RANKS = {"시행령": 1.05, "시행규칙": 1.0}  # an Act, 1.1, goes before its decree
NAMED = 1000.0  # an article that the question cites comes first
LONGEST_QUESTION = 2_000


class LawIndex:
    """A law memory, opened; texts and search arrays are read from disk when they are needed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.facts = read_facts(folder)
        self.as_of = str(self.facts["as_of"])
        self._articles = Table(
            folder / "articles.parquet", ("law", "number", "title", "first", "last", "since", "amended")
        )

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """The memory in a folder, or in the `law` folder of a pack.

        Raises:
            DataError: there is none, or it is damaged.
        """
        folder = Path(path)
        return cls(folder / "law" if (folder / "law" / "law.json").is_file() else folder)

    # ------------------------------------------------------------------------------------------ looking up

    def article(self, law: str, number: str, at: str = "") -> Hit | None:
        """An article by the law's official or short name, as it is in force on a day, or was known last; None if never.

        Raises:
            UsageError: no such law; the message names the nearest ones.
        """
        places = self._places.get(f"{self.law_name(law)} {plain_number(number)}")
        return self._article_hit(self._version(places, at or self.today), at or self.today) if places else None

    def law_name(self, name: str) -> str:
        """The official name of a law of the memory; raises `UsageError` with the nearest names if there is none."""
        known = self.checker.names.lookup(compact(name), {})
        if known and known[0].name in self.statutes.laws and known[1] == len(compact(name)):
            return known[0].name
        for suffix in ("시행령", "시행규칙"):
            if compact(name).endswith(suffix):
                act = self.checker.names.lookup(compact(name).removesuffix(suffix), {})
                if act and f"{act[0].name} {suffix}" in self.statutes.laws:
                    return f"{act[0].name} {suffix}"
        near = self.nearest(name)
        hint = f"did you mean {', '.join(near)}?" if near else f"the memory has {len(self.statutes.laws)} laws"
        raise UsageError(f"there is no law {name!r} in the memory", next_step=hint)

    def since(self, law: str) -> str:
        """From when on the newest text of a law is in force, by its official name; empty if it has no text."""
        places = (place for number in self.statutes.laws[law] for place in self._places[f"{law} {number}"])
        return max((self._articles["since"][place] for place in places), default="")

    def nearest(self, name: str, most: int = 3) -> list[str]:
        """The laws whose official or short names are most like a name."""
        names = {compact(law): law for law in self.statutes.laws}
        aliases = self._table_of_names.get("aliases", {})
        names |= {compact(alias): law for law, known in aliases.items() if law in self.statutes.laws for alias in known}
        close = difflib.get_close_matches(compact(name), names, n=3 * most, cutoff=0.4)
        return list(dict.fromkeys(names[key] for key in close))[:most]

    def nearest_numbers(self, law: str, number: str, most: int = 3) -> list[str]:
        """The articles of a law whose numbers are closest to a number, as "제522조의2"."""
        wanted = order_of(plain_number(number))
        known = sorted(
            self.statutes.laws[law], key=lambda n: (abs(order_of(n)[0] - wanted[0]), abs(order_of(n)[1] - wanted[1]))
        )
        return [written(number) for number in known[:most]]

    def changes(self, law: str, start: str, end: str) -> Iterator[Change]:
        """What is known to have changed in a law after one day and until another, by article."""
        law = self.law_name(law)
        for number, article in self.statutes.laws[law].items():
            places = self._places[f"{law} {number}"]
            before, after = (self._version(places, day) for day in (start, end))
            texts = self._known_text(before, start), self._known_text(after, end)
            if start < article.first <= end:
                yield Change("added", number, article.title, article.first, "", texts[1])
            elif article.last and start <= article.last < end:
                yield Change("repealed", number, article.title, article.last, texts[0], "")
            else:
                day = max(self._articles["amended"][after], self._articles["since"][after] if before != after else "")
                if start < day <= end:
                    yield Change("amended", number, article.title, day, *texts)

    def unmarked(self, law: str, start: str, end: str) -> list[str]:
        """Numbers of the articles in force on both days of which it is not known whether they changed between them.

        Their only text is of a later day than the first and bears no date of an amendment: most are as they always were.
        """
        law = self.law_name(law)
        found = []
        for number, article in self.statutes.laws[law].items():
            places = self._places[f"{law} {number}"]
            before, after = (self._version(places, day) for day in (start, end))
            there = article.in_force(start) and article.in_force(end)
            if (
                there
                and before == after
                and not self._articles["amended"][after]
                and self._articles["since"][after] > start
            ):
                found.append(number)
        return found

    # ------------------------------------------------------------------------------------------- searching

    def search(
        self,
        question: str,
        at: str = "",
        top: int = 5,
        kinds: Collection[Kind] = KINDS[:1],
        hidden: Collection[str] = (),
        earlier: Sequence[str] = (),
    ) -> list[Hit]:
        """The best hits of each kind, articles as in force on a day (today without one); empty if no word is known.

        Args:
            hidden: questions of the pack and issues of decisions that the memory is not to use, as if it did not have them.
            earlier: questions of the dialogue before this one.
        """
        day = at or self.today
        question = question[:LONGEST_QUESTION]
        terms = self._relevance.terms(question, " ".join(earlier)[-LONGEST_QUESTION:])
        citing = self._relevance.citing(terms, hidden)
        found: list[Hit] = []
        if "article" in kinds:
            scores = self._article_scores(question, terms, citing, day)
            cited = self.checker.find(question)
            named = [place for one in cited for place in self._places.get(f"{one.law} {one.article}", [])]
            scores[named] += NAMED * self._valid(day)[named]
            found += [self._article_hit(place, day, score) for place, score in _best(scores, top)]
        if "decision" in kinds:
            scores = citing[: self._decisions.rows].copy()
            scores[[decided > day for decided in self._decisions["decided"]]] = 0
            found += [self._decision_hit(place, score) for place, score in _best(scores, top)]
        if "document" in kinds:
            best = _best(self._relevance.documents(terms), top)
            found += [self._document_hit(place, score) for place, score in best]
        return found

    def fit(self, text: str, articles: Collection[Hit], at: str, hidden: Collection[str] = ()) -> float:
        """How well the best of some articles fits a text that does not name them: its share of the best score, 0 to 1."""
        text = text[:LONGEST_QUESTION]
        terms = self._relevance.terms(text)
        scores = self._article_scores(text, terms, self._relevance.citing(terms, hidden), at)
        known = [place for hit in articles for place in self._places.get(f"{hit.law} {hit.article}", [])]
        return float(scores[known].max() / scores.max()) if known and scores.any() else 1.0

    def _article_scores(self, question: str, terms: "Hashes", citing: "Scores", day: str) -> "Scores":
        import numpy as np

        votes = self._relevance.votes(citing, len(self._places))
        scores = (self._relevance.articles(terms) + votes[self._article_of]) * self._rank
        valid = np.where(self._valid(day), scores, 0).astype(np.float32)
        return self._relevance.meant(valid, question, self._article_of)

    # ---------------------------------------------------------------------------------------- what is behind

    @property
    def has_documents(self) -> bool:
        """Whether own documents were built in."""
        return self._documents.rows > 0

    @property
    def today(self) -> str:
        """The day meant where none is given; never before the texts were taken."""
        return max(self.as_of, date.today().isoformat())

    @cached_property
    def statutes(self) -> StatuteIndex:
        """The facts of all articles."""
        return StatuteIndex.of(self._articles, self.as_of)

    @cached_property
    def checker(self) -> "CitationChecker":
        """Finds citations by the names of the pack around the memory."""
        from .citations import CitationChecker

        return CitationChecker.of(self._table_of_names, self.statutes)

    @cached_property
    def _table_of_names(self) -> dict[str, Any]:
        from ..pack import Pack

        pack = Pack(self.folder.parent)
        return dict(pack.yaml("citations.yaml")) if (pack.root / "citations.yaml").is_file() else {}

    @cached_property
    def _relevance(self) -> Relevance:
        rows = {"articles": self._articles, "decisions": self._decisions, "documents": self._documents}
        return Relevance(self.folder, {name: table.rows for name, table in rows.items()})

    @cached_property
    def _decisions(self) -> Table:
        return Table(self.folder / "decisions.parquet", ("court", "case", "decided"))

    @cached_property
    def _documents(self) -> Table:
        return Table(self.folder / "documents.parquet", ("title", "in_force", "origin"))

    @cached_property
    def _places(self) -> dict[str, list[int]]:
        """Rows of each article, the oldest version first; in the order in which `cited` counts articles."""
        found: dict[str, list[int]] = {}
        for place, (law, number) in enumerate(zip(self._articles["law"], self._articles["number"], strict=True)):
            found.setdefault(f"{law} {number}", []).append(place)
        return found

    @cached_property
    def _article_of(self) -> "npt.NDArray[np.int64]":
        import numpy as np

        return np.repeat(np.arange(len(self._places)), [len(places) for places in self._places.values()])

    @cached_property
    def _rank(self) -> "npt.NDArray[np.float64]":
        import numpy as np

        return np.array([RANKS.get(law.rpartition(" ")[2], 1.1) for law in self._articles["law"]])

    @cached_property
    def _days(self) -> "tuple[npt.NDArray[np.str_], ...]":
        import numpy as np

        first, last, since = (np.array(self._articles[name], dtype=str) for name in ("first", "last", "since"))
        follows = np.diff(self._article_of, prepend=-1) == 0  # a later version of the row before
        until = np.append(np.where(follows, since, "")[1:], "")
        return np.where(follows, since, first), last, until

    @lru_cache(maxsize=16)  # noqa: B019
    def _valid(self, day: str) -> "npt.NDArray[np.bool_]":
        """Rows whose article is in force on a day, in the version of that day or the oldest known one."""
        first, last, until = self._days
        valid: npt.NDArray[np.bool_] = (first <= day) & ((last == "") | (day <= last)) & ((until == "") | (day < until))
        return valid

    def _version(self, places: list[int], day: str) -> int:
        """The row of an article's text on a day: the newest one from before, else the oldest known."""
        return max((place for place in places if self._articles["since"][place] <= day), default=places[0])

    def _known_text(self, place: int, day: str) -> str:
        """The text of a row, if it was the same on a day; else empty."""
        known = max(self._articles["amended"][place], self._articles["first"][place])
        return self._articles.text(place, "text") if min(self._articles["since"][place], known) <= day else ""

    def _article_hit(self, place: int, day: str, score: float = 0.0) -> Hit:
        law, number, title, first, last, since, amended = self._articles.row(place)
        text = self._articles.text(place, "text")
        note = ""
        if first > day:
            note = f"{first}부터 시행"
        elif last and last < day:
            note = f"{last}까지 시행"
        elif not text:
            note = "글이 색인에 없습니다."
        elif day < since and day < max(amended, first):
            note = f"{max(amended, first)} 개정 뒤의 글입니다. {day}의 글은 색인에 없습니다."
        elif day < since and not amended:
            note = f"{since} 시행 법령의 글입니다."
        return Hit("article", law, number, title, text, first, last, since, note, score=score)

    def _decision_hit(self, place: int, score: float) -> Hit:
        court, case, decided = self._decisions.row(place)
        issue, holding = (self._decisions.text(place, name) for name in ("issue", "holding"))
        return Hit("decision", court, case, issue, holding, decided, "", decided, score=score)

    def _document_hit(self, place: int, score: float) -> Hit:
        title, day, origin = self._documents.row(place)
        text = self._documents.text(place, "text")
        return Hit("document", "", "", title, text, day, "", day, origin=origin, score=score)


def _best(scores: "Scores", top: int) -> list[tuple[int, float]]:
    """(row, score) of the best rows above 0, the best first; of equal ones the earlier row."""
    import numpy as np

    top = min(max(0, top), len(scores))
    rows = np.argpartition(-scores, top - 1)[:top] if 0 < top < len(scores) else np.arange(len(scores))
    ordered = sorted(((float(scores[row]), -int(row)) for row in rows if scores[row] > 0), reverse=True)
    return [(-row, score) for score, row in ordered[:top]]
