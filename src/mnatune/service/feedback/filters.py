"""What keeps a few raters, copies, exam items and false citations out of the training rows.

Each guard takes rows and returns those that stay; the others go to `refuse` with the reason. Order matters, and is the
order in which `datasets.py` calls them: what is wrong goes first, what is merely too much goes last.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence

from ...law.citations import CitationChecker
from ...text.normalize import sameness
from ...text.shingles import SHORT, ExamOverlap, facts_of, resemblance, shingles, spaceless
from .candidates import Candidate, Refused

Refuse = Callable[[Refused], None]

ROUNDING = 1e-9  # (1 − 0.8) · 5 is a little below 1 in binary


def without_unfinished(rows: list[Candidate], refuse: Refuse) -> list[Candidate]:
    """Answers to be learned must have ended by themselves, with a word: a cut answer teaches the model not to stop."""
    said = _split(rows, lambda row: bool(row.text.strip()) or not row.desirable, "empty-answer", refuse)
    return _split(said, lambda row: row.finished or not row.desirable, "unfinished", refuse)


def without_contradictions(rows: list[Candidate], refuse: Refuse) -> list[Candidate]:
    """An answer called both good and bad, or better and worse than the same other one, teaches nothing."""
    thumbs: dict[tuple[str, str], set[bool]] = defaultdict(set)
    orders = {(str(row.prompt), row.text, row.rejected) for row in rows if row.file == "preferences"}
    for row in rows:
        if row.file == "unpaired":
            thumbs[str(row.prompt), row.text].add(row.desirable)

    def agrees(row: Candidate) -> bool:
        if row.file == "unpaired":
            return len(thumbs[str(row.prompt), row.text]) == 1
        return row.file == "train" or (str(row.prompt), row.rejected, row.text) not in orders

    return _split(rows, agrees, "contradictory", refuse)


def without_same_answers(rows: list[Candidate], refuse: Refuse) -> list[Candidate]:
    """A pair of equal answers says nothing."""

    def differ(row: Candidate) -> bool:
        return row.file != "preferences" or spaceless(row.text) != spaceless(row.rejected)

    return _split(rows, differ, "same-answers", refuse)


def without_duplicates(rows: list[Candidate], refuse: Refuse, similar: float) -> list[Candidate]:
    """One row for near-equal ones, the newest: of several corrections of one question the last word counts.

    SFT rows are alike when their questions are; the others when question and answers are.

    Args:
        similar: Jaccard similarity of character n-grams from which two texts are alike; texts with other numbers or
            negations never are.
    """
    kept: list[Candidate] = []
    for file in ("train", "preferences", "unpaired"):
        newest = sorted((r for r in rows if r.file == file), key=lambda r: (-r.created, r.id))
        texts = [r.question if file == "train" else f"{r.question}\n{r.text}\n{r.rejected}" for r in newest]
        copies = near_copies(texts, similar)
        kept += [row for at, row in enumerate(newest) if at not in copies]
        for at in copies:
            _refuse(newest[at], "duplicate", refuse)
    return kept


def without_known_items(
    rows: list[Candidate], refuse: Refuse, exam: Sequence[str], held_out: Sequence[str]
) -> list[Candidate]:
    """Rows that give away an item of the exam or of the held-out split, in question or answer, are not trained on."""
    for questions, reason in ((exam, "exam-item"), (held_out, "held-out-item")):
        known = set(ExamOverlap(questions).find([f"{row.question}\n{row.text}\n{row.rejected}" for row in rows]))
        letters = {sameness(question) for question in questions}  # some are too short to overlap
        known |= {at for at, row in enumerate(rows) if sameness(row.question) in letters}
        for at in sorted(known):
            _refuse(rows[at], reason, refuse)
        rows = [row for at, row in enumerate(rows) if at not in known]
    return rows


def without_false_citations(rows: list[Candidate], refuse: Refuse, citations: CitationChecker) -> list[Candidate]:
    """No answer to be learned may cite an article that never existed, however many thumbs it got."""

    def holds(row: Candidate) -> bool:
        return not row.desirable or all(c.verdict != "invalid" for c in citations.find(row.text))

    return _split(rows, holds, "invalid-citation", refuse)


def within_caps(rows: list[Candidate], refuse: Refuse, per_rater: int) -> list[Candidate]:
    """At most so many rows of one rater in each file, the newest: one voice must not make the model."""
    count: Counter[tuple[str, str]] = Counter()

    def has_room(row: Candidate) -> bool:
        count[row.file, row.rater] += 1
        return count[row.file, row.rater] <= per_rater

    return _split(sorted(rows, key=lambda r: (-r.created, r.id)), has_room, "rater-cap", refuse)


def near_copies(texts: Sequence[str], similar: float) -> set[int]:
    """Positions of texts that are near-copies of an earlier one.

    Two sets of Jaccard similarity ≥ t share one of their ⌊(1−t)·n⌋+1 rarest elements (prefix filter: Chaudhuri, Ganti,
    Kaushik, "A primitive operator for similarity joins", 2006), so only texts that do are compared.
    """
    facts = [facts_of(text) for text in texts]
    pieces = [shingles(spaceless(text), SHORT) for text in texts]
    frequency = Counter(piece for own in pieces for piece in own)
    holders: dict[str, list[int]] = defaultdict(list)
    copies: set[int] = set()
    for at, own in enumerate(pieces):
        rarest = sorted(own, key=lambda p: (frequency[p], p))[: int((1 - similar) * len(own) + ROUNDING) + 1]
        earlier = {other for piece in rarest for other in holders[piece]}
        if any(facts[other] == facts[at] and resemblance(texts[other], texts[at]) >= similar for other in earlier):
            copies.add(at)
        else:
            for piece in rarest:
                holders[piece].append(at)
    return copies


def _split(
    rows: Iterable[Candidate], keep: Callable[[Candidate], bool], reason: str, refuse: Refuse
) -> list[Candidate]:
    kept = []
    for row in rows:
        if keep(row):
            kept.append(row)
        else:
            _refuse(row, reason, refuse)
    return kept


def _refuse(row: Candidate, reason: str, refuse: Refuse) -> None:
    refuse(Refused(row.feedback, row.file, reason))
