"""How well articles, decisions and documents fit a question: BM25, the votes of what cites an article, and its vector.

The decisions and questions that are closest to the asked one vote for the articles that they cite. Names that the glossary
has for what a question names count half, and so do the questions before it. The best articles by all of that are put in order
with the nearness of their vectors to the question's as well.

The constants were chosen on three of five folds of questions; `docs/law.md` has the figures of the other two.
"""

import re
from collections.abc import Collection, Mapping
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..runs.errors import DataError
from ..runs.workspace import read_jsonl
from .names import compact
from .tables import REBUILD

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from .encoder import Encoder
    from .postings import Postings, Scores
    from .terms import Hashes, WordTerms

NEIGHBOURS = 120  # decisions and questions that vote for what they cite
POWER = 2.5  # a vote is the neighbour's score to this power
DECISION = 1.2  # a decision's score beside a question's
ASKED = 1.3  # the score of what is asked about an article beside that of its text
VOTED = 2.0  # and the votes of what cites it
MEANT = 1.0  # a vector's nearness, in shares of the best score
NEAR = 300  # articles whose vectors are looked at
ABBREVIATION = 4  # letters of an English name up to which it has to stand alone: "EV" is not in "event"


class Relevance:
    """The search arrays of a law memory, read from disk when they are needed.

    Args:
        folder: of the memory; the glossary lies beside it.
        rows: of "articles", "decisions" and "documents".
    """

    def __init__(self, folder: Path, rows: Mapping[str, int]) -> None:
        self._folder = folder
        self._rows = rows

    def terms(self, question: str, earlier: str = "") -> "Hashes":
        """The terms of a question twice; once those of other names of what it names, and those of earlier questions."""
        import numpy as np

        spaceless, words = compact(question).lower(), set(re.findall(r"[a-z]+", question.lower()))
        named = [
            names
            for names in self._glossary
            if any(n in words if n.isascii() and len(n) <= ABBREVIATION else n in spaceless for n in names)
        ]
        others = dict.fromkeys(n for names in named for n in names if not n.isascii() and n not in spaceless)
        asked = self._analyser.query(question)
        return np.concatenate([asked, asked, self._analyser.query(" ".join(others)), self._analyser.query(earlier)])

    def articles(self, terms: "Hashes") -> "Scores":
        """The score of each row of the articles by its text, title included, and what is asked about it."""
        text, asked = (self._postings(part, self._rows["articles"]).scores(terms) for part in ("articles", "asked"))
        return text + ASKED * asked

    def meant(self, scores: "Scores", question: str, article_of: "npt.NDArray[np.int64]") -> "Scores":
        """The scores of rows with the nearness of their articles' vectors added, for the best; the same without an encoder.

        Args:
            article_of: the article of each row.
        """
        import numpy as np

        if self._encoder is None or not scores.any():
            return scores
        near = np.argpartition(-scores, NEAR)[:NEAR] if len(scores) > NEAR else np.flatnonzero(scores)
        near = near[scores[near] > 0]
        nearness = self._encoder.nearness(self._analyser.query(question), self._vectors[article_of[near]])
        scores = scores.copy()
        scores[near] += MEANT * scores.max() * np.maximum(nearness, 0)
        return scores

    def documents(self, terms: "Hashes") -> "Scores":
        """The score of each own document."""
        return self._postings("documents", self._rows["documents"]).scores(terms)

    def citing(self, terms: "Hashes", hidden: Collection[str] = ()) -> "Scores":
        """The score of each decision and then of each question; 0 for those that are one of the hidden ones."""
        scores = self._postings("citing", len(self._cited_starts) - 1).scores(terms)
        if hidden:
            scores[self._hidden(frozenset(hidden))] = 0
        return scores

    def votes(self, citing: "Scores", articles: int) -> "npt.NDArray[np.float64]":
        """What the closest decisions and questions give to each of so many articles."""
        import numpy as np

        weighed = citing.astype(np.float64)
        weighed[: self._rows["decisions"]] *= DECISION
        nearest = (
            np.argpartition(-weighed, NEIGHBOURS)[:NEIGHBOURS] if len(weighed) > NEIGHBOURS else range(len(weighed))
        )
        votes = np.zeros(articles)
        for neighbour in nearest:
            cites = self._cited[self._cited_starts[neighbour] : self._cited_starts[neighbour + 1]]
            votes[cites] += weighed[neighbour] ** POWER / max(1, len(cites)) ** 0.5
        given = np.flatnonzero(votes)
        votes[given] **= 1 / POWER
        return VOTED * votes

    @cached_property
    def _glossary(self) -> list[list[str]]:
        """Names of one thing each, without spaces."""
        path = self._folder.parent / "glossary.jsonl"
        rows = read_jsonl(path) if path.is_file() else []
        names = [[row["term"], row.get("english") or "", *row.get("aliases", [])] for row in rows]
        return [[short for name in row if len(short := compact(name).lower()) > 1] for row in names]

    @cached_property
    def _analyser(self) -> "WordTerms":
        from .terms import WordTerms

        return WordTerms()

    @cached_property
    def _encoder(self) -> "Encoder | None":
        from .encoder import FOLDER, Encoder

        folder = self._folder / "search" / FOLDER
        return Encoder.open(folder) if folder.is_dir() else None

    @cached_property
    def _vectors(self) -> "npt.NDArray[np.int8]":
        from .encoder import ARTICLES

        return self._array(ARTICLES.removesuffix(".npy"))

    @cache  # noqa: B019 - a memory lives as long as its process
    def _postings(self, part: str, size: int) -> "Postings":
        from .postings import Postings

        return Postings(self._folder / "search" / part, size)

    @cached_property
    def _cited_starts(self) -> "npt.NDArray[np.int64]":
        return self._array("cited_starts")

    @cached_property
    def _cited(self) -> "npt.NDArray[np.int32]":
        return self._array("cited")

    @lru_cache(maxsize=4)  # noqa: B019
    def _hidden(self, questions: frozenset[str]) -> "npt.NDArray[np.bool_]":
        """Rows of what cites that are one of the questions."""
        import numpy as np

        from ..text.normalize import sameness_key

        keys = np.array([sameness_key(question) for question in questions], np.uint64)
        return np.isin(self._array("citing_keys"), keys)

    def _array(self, name: str) -> "npt.NDArray[Any]":
        import numpy as np

        path = self._folder / "search" / f"{name}.npy"
        try:
            array: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"the law memory is damaged: {error}", where=str(self._folder), next_step=REBUILD) from None
        return array
