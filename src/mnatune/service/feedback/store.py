"""`FeedbackSink` in a database: SQLite or PostgreSQL, the same behaviour and the same exports on both.

Every text is put into NFC, freed of what a database cannot hold (NUL, lone surrogates), and masked before it is
written. What a user replaces or withdraws stays, no longer active; what a user has erased is gone.
"""

import time
import unicodedata
from collections.abc import Callable, Iterable
from copy import copy
from dataclasses import asdict
from typing import Any, Self

from sqlalchemy import Engine, delete, exists, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from ...pack import Pack
from ...runs.errors import DataError, EnvironmentFault, UsageError
from ...runs.records import content_id
from ...text.normalize import SURROGATES
from ...text.personal import Personal
from . import rating_desk
from .database import connect
from .review_items import behind, filtered, review_item, with_generations
from .schema_tables import ID, ExportItemRow, ExportRow, FeedbackRow, GenerationRow, PairRow
from .sink import (
    Answered,
    BlindPair,
    DayUsage,
    Edit,
    Generation,
    Grade,
    GradeFact,
    Kind,
    PairChoice,
    RaterProgress,
    Rating,
    ReviewFilter,
    ReviewPage,
    State,
    UnknownItem,
)
from .usage import usage_since

STATES = ("open", "approved", "rejected")
CHOICES = ("left", "right", "tie", "both_bad")
THUMBS = {1: "up", -1: "down"}
DAY = 86_400
EVERYTHING = ReviewFilter()
UNDECIDED: dict[str, Any] = {"state": "open", "reviewer": "", "reviewed": 0.0}


def open_store(url: str, pack: Pack) -> "FeedbackStore":
    """The store at a URL or file path, masking by the pack's patterns of personal data."""
    return FeedbackStore(url, Personal(pack.yaml("pii.yaml")).mask)


class FeedbackStore:
    """The store behind `mnatune serve` and `mnatune feedback`.

    Args:
        url: see `database.connect`.
        mask: replaces personal data in a text by tokens; `lambda text: text` for none.
    """

    def __init__(self, url: str, mask: Callable[[str], str]) -> None:
        self.engine: Engine = connect(url)
        self._writing = self.engine.execution_options(writing=True)
        self._mask = mask
        self.wall: str | None = None  # whose rows are there; None for all

    def within(self, wall: str | None) -> Self:
        """The same store for whoever is behind this wall: what is behind another is not there. None sees over all."""
        view = copy(self)
        view.wall = wall
        return view

    def save_generation(self, generation: Generation) -> None:
        """Store a served answer, masked; saving the same id again changes nothing.

        The prompt's hash is dropped where the prompt held personal data: it could confirm a guess of it.
        """
        facts = asdict(generation)
        prompt = [{"role": m["role"], "content": self._clean(m["content"])} for m in generation.messages]
        plain = [{"role": m["role"], "content": _plain(m["content"])} for m in generation.messages]
        answer = self._clean(generation.answer)
        facts |= {
            "messages": prompt,
            "answer": answer,
            "sampling": dict(generation.sampling),
            "prompt_hash": generation.prompt_hash if prompt == plain else "",
            "redacted": prompt != plain or answer != _plain(generation.answer),
            "created": generation.created or time.time(),
        }
        for name in ("id", "conversation", "rater", "model"):
            _identifier(facts[name])
        row = GenerationRow(**facts, day=_day(facts["created"]))
        self._add_once(row)

    def save_pair(self, pair: BlindPair) -> None:
        """Store a blind pair of the rater's own generations; saving the same id again changes nothing."""
        with Session(self.engine) as session:
            for side in (pair.left, pair.right):
                self._own_generation(session, side, pair.rater)
        _identifier(pair.id)
        self._add_once(PairRow(**{**asdict(pair), "created": pair.created or time.time()}))

    def rate(self, rating: Rating) -> None:
        """Store, replace or (thumb 0) withdraw a rating of one's own generation."""
        value = THUMBS.get(rating.thumb, "")
        extra = {"tags": list(rating.tags), "comment": rating.comment}
        self._put("rating", rating.generation, rating.rater, rating.created, value=value, text="", **extra)

    def edit(self, edit: Edit) -> None:
        """Store or replace a correction of one's own generation."""
        if not edit.text.strip():
            raise DataError("a correction must not be empty", where=edit.generation)
        self._put("edit", edit.generation, edit.rater, edit.created, value="edit", text=edit.text, comment=edit.comment)

    def choose(self, choice: PairChoice) -> tuple[str, str]:
        """Store or replace the pick of one's own pair; returns the served names (left, right)."""
        if choice.choice not in CHOICES:
            raise UsageError(f"a pick is one of {', '.join(CHOICES)}, not {choice.choice!r}")
        said = {"value": choice.choice, "text": "", "comment": choice.comment}
        self._put("pair", choice.pair, choice.rater, choice.created, **said)
        with Session(self.engine) as session:
            pair = session.get_one(PairRow, choice.pair)
            left, right = (session.get_one(GenerationRow, side).model for side in (pair.left, pair.right))
            return left, right

    def grade(self, grade: Grade) -> None:
        """Store, replace, withdraw or skip a reviewer's grade; it needs no approval, as the reviewer gave it."""
        value = rating_desk.SKIP if grade.grade is None else str(grade.grade or "")
        said = {"value": value, "text": "", "comment": grade.comment}
        self._put("grade", grade.generation, grade.rater, grade.created, **said)

    def answers(self, rater: str, most: int) -> list[Answered]:
        """The newest answers that may be used, as they lie on this rater's desk; the newest first."""
        with Session(self.engine) as session:
            return rating_desk.answers(session, rater, most, self.wall)

    def grades(self) -> list[GradeFact]:
        """Every active grade that was not rejected, oldest first."""
        with Session(self.engine) as session:
            return rating_desk.grades(session, self.wall)

    def progress(self, rater: str) -> RaterProgress:
        """What a rater has done."""
        with Session(self.engine) as session:
            return rating_desk.progress(session, rater, _day(time.time()))

    def review_queue(
        self, state: State = "open", limit: int = 50, offset: int = 0, only: ReviewFilter = EVERYTHING
    ) -> ReviewPage:
        """Active feedback in that state, oldest first; what a reviewer skipped is no feedback."""
        wanted = (FeedbackRow.active.is_(True), FeedbackRow.state == state, FeedbackRow.value != rating_desk.SKIP)
        with Session(self.engine) as session:
            query = filtered(behind(with_generations().where(*wanted), self.wall), only)
            total = session.scalar(select(func.count()).select_from(query.subquery())) or 0
            query = query.order_by(FeedbackRow.created, FeedbackRow.id)
            found = session.execute(query.limit(limit).offset(offset)).all()
            return ReviewPage([review_item(row) for row in found], total)

    def review(self, item: str, reviewer: str, state: State, note: str = "", text: str | None = None) -> None:
        """Set an item's state; `text` replaces an edit's corrected text."""
        if state not in STATES:
            raise UsageError(f"a review state is one of {', '.join(STATES)}, not {state!r}")
        with Session(self._writing) as session, session.begin():
            row = session.get(FeedbackRow, item)
            if row is None or not row.active or not self._sees(session, row):
                raise UnknownItem("there is no such item in the review queue", where=item[:ID])
            if text is not None and (row.kind != "edit" or not text.strip()):
                raise UsageError("only an edit's text can be corrected, and not to nothing", where=item)
            row.state, row.reviewer, row.note = state, _identifier(reviewer), self._clean(note)
            row.reviewed = time.time()
            if text is not None:
                row.reviewed_text = self._clean(text)

    def active(self, *kinds: Kind) -> list[tuple[FeedbackRow, list[GenerationRow]]]:
        """Active feedback of these kinds, or all, oldest first, with its generation or its pair's left and right one."""
        wanted = behind(with_generations().where(FeedbackRow.active.is_(True)), self.wall)
        with Session(self.engine) as session:
            found = session.execute(wanted.where(FeedbackRow.kind.in_(kinds)) if kinds else wanted).all()
        found = sorted(found, key=lambda one: (one[0].created, one[0].id))
        return [(row, [side for side in sides if side is not None]) for row, *sides in found]

    def usage(self, days: int = 30) -> list[DayUsage]:
        """Usage and feedback by UTC day and model, oldest day first."""
        with Session(self.engine) as session:
            return usage_since(session, _day(time.time() - (days - 1) * DAY), self.wall)

    def delete_user(self, rater: str) -> int:
        """Erase a rater's generations, pairs and feedback; returns how many generations went.

        Exports made before keep their rows on disk: `exports_with` names them.
        """
        with Session(self._writing) as session, session.begin():
            gone = session.execute(delete(GenerationRow).where(GenerationRow.rater == rater)).rowcount  # type: ignore[attr-defined]
            session.execute(delete(PairRow).where(PairRow.rater == rater))
            session.execute(delete(FeedbackRow).where(FeedbackRow.rater == rater))
            session.execute(update(FeedbackRow).where(FeedbackRow.reviewer == rater).values(reviewer=""))
        self._forget_traces()
        return int(gone)

    def exports_with(self, rater: str) -> list[str]:
        """Hashes of the exports that hold a row from this rater's feedback, oldest first."""
        query = (
            select(ExportRow.id)
            .join(ExportItemRow, ExportItemRow.export == ExportRow.id)
            .join(FeedbackRow, FeedbackRow.id == ExportItemRow.feedback)
            .where(FeedbackRow.rater == rater)
            .distinct()
        )
        with Session(self.engine) as session:
            ids = set(session.scalars(query))
            return [e.id for e in session.scalars(select(ExportRow).order_by(ExportRow.created)) if e.id in ids]

    def retain(self, days: int, rated_days: int, now: float | None = None, *, everything: bool = False) -> int:
        """Erase what is older than `days`, or than `rated_days` where feedback was given; returns generations gone.

        Raises:
            UsageError: that would erase all there is, as a clock that is ahead does, and `everything` is not set.
        """
        now = time.time() if now is None else now
        rated = select(FeedbackRow.generation).where(FeedbackRow.generation.is_not(None))
        pairs = select(PairRow).join(FeedbackRow, FeedbackRow.pair == PairRow.id).subquery()
        kept = or_(*(GenerationRow.id.in_(ids) for ids in (rated, select(pairs.c.left), select(pairs.c.right))))
        unrated = (GenerationRow.created < now - days * DAY) & ~kept
        old = or_(GenerationRow.created < now - rated_days * DAY, unrated)
        with Session(self._writing) as session, session.begin():
            gone = session.execute(delete(GenerationRow).where(old)).rowcount  # type: ignore[attr-defined]
            if gone and not everything and not session.scalar(select(exists().select_from(GenerationRow))):
                raise UsageError(
                    f"all {gone:,} answers are older than the retention time; nothing was erased",
                    where=f"clock: {time.strftime('%Y-%m-%d %H:%M', time.localtime(now))}",
                    next_step="set the clock if it is ahead; if it is right, erase them with --everything",
                )
        self._forget_traces()
        return int(gone)

    def note_export(
        self, export: str, options: dict[str, Any], rows: dict[str, int], items: Iterable[dict[str, str]]
    ) -> None:
        """Record a data set and which feedback is in it; the same export again changes nothing."""
        head = ExportRow(id=export, created=time.time(), options=options, rows=rows)
        self._add_once(head, *(ExportItemRow(export=export, **item) for item in items))

    def close(self) -> None:
        """Release the connections."""
        self.engine.dispose()

    def _put(self, kind: Kind, target: str, rater: str, created: float, **said: Any) -> None:
        """Make `said`, masked, the active feedback of this kind."""
        for field in ("text", "comment"):
            plain = _plain(said.get(field, ""))
            said[field] = self._clean(plain)
            said["redacted"] = said.get("redacted", False) or said[field] != plain
        with Session(self._writing) as session, session.begin():
            if kind == "pair":
                pair = session.get(PairRow, target, with_for_update=True)
                if pair is None or pair.rater != rater:
                    raise UnknownItem("there is no such pair of yours", where=target[:ID])
            elif kind == "grade":
                self._usable_generation(session, target)
            else:
                self._own_generation(session, target, rater, lock=True)
            mine = (FeedbackRow.kind == kind, FeedbackRow.target == target, FeedbackRow.rater == rater)
            before = session.scalar(select(FeedbackRow).where(*mine, FeedbackRow.active.is_(True)))
            said = {"tags": [], **said}
            if before is not None:
                if all(getattr(before, name) == value for name, value in said.items()):
                    return
                before.active = False
                session.flush()
            if not said["value"]:
                return
            revision = 1 + (session.scalar(select(func.max(FeedbackRow.revision)).where(*mine)) or 0)
            when = created or time.time()
            decided = {"state": "approved", "reviewer": rater, "reviewed": when} if kind == "grade" else UNDECIDED
            session.add(
                FeedbackRow(
                    id=content_id(kind, target, rater, str(revision)), kind=kind, target=target, rater=rater,
                    generation=target if kind != "pair" else None, pair=target if kind == "pair" else None,
                    revision=revision, active=True, created=when, day=_day(when),
                    note="", reviewed_text=None, **decided, **said,
                )
            )  # fmt: skip

    def _own_generation(self, session: Session, generation: str, rater: str, *, lock: bool = False) -> GenerationRow:
        """The row; `lock` makes other writers of the same target wait (SQLite's writers wait anyway)."""
        row = session.get(GenerationRow, generation, with_for_update=lock)
        if row is None or row.rater != rater or self.wall not in (None, row.wall):
            raise UnknownItem("there is no such answer of yours", where=generation[:ID])
        return row

    def _usable_generation(self, session: Session, generation: str) -> GenerationRow:
        """The row of an answer that a reviewer may grade, locked as in `_own_generation`."""
        row = session.get(GenerationRow, generation, with_for_update=True)
        usable = row is not None and row.consent and row.finish_reason != "cancelled" and self.wall in (None, row.wall)
        if row is None or not usable:
            raise UnknownItem("there is no such answer to grade", where=generation[:ID])
        return row

    def _sees(self, session: Session, row: FeedbackRow) -> bool:
        """Whether a piece of feedback belongs to this store's wall."""
        if self.wall is None:
            return True
        return session.scalar(behind(with_generations().where(FeedbackRow.id == row.id), self.wall)) is not None

    def _add_once(self, head: GenerationRow | PairRow | ExportRow, *more: ExportItemRow) -> None:
        """Insert `head` and what belongs to it, unless its id is there already, or is just being written by another."""
        try:
            with Session(self._writing) as session, session.begin():
                if session.get(type(head), head.id) is None:
                    session.add(head)
                    session.flush()
                    session.add_all(more)
        except IntegrityError:
            with Session(self.engine) as session:
                if session.get(type(head), head.id) is None:
                    raise

    def _clean(self, text: str) -> str:
        return self._mask(_plain(text))

    def _forget_traces(self) -> None:
        """Empty SQLite's write-ahead log, which may still hold what was erased.

        Raises:
            EnvironmentFault: somebody has been reading all the while, so that it cannot be emptied.
        """
        if self.engine.dialect.name == "sqlite":
            handle = self.engine.raw_connection()  # a checkpoint cannot run inside a transaction
            try:
                busy, *_ = handle.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                handle.close()
            if busy:
                raise EnvironmentFault(
                    "erased, but the write-ahead log still holds it: another process is reading the database",
                    where=str(self.engine.url.database),
                    next_step="end that process and erase again",
                )


def _plain(text: str) -> str:
    """NFC, without NUL (PostgreSQL refuses it) and with U+FFFD for lone surrogates (neither database takes them)."""
    return unicodedata.normalize("NFC", SURROGATES.sub("\ufffd", text.replace("\x00", "")))


def _identifier(value: str) -> str:
    if len(value) > ID or _plain(value) != value:
        raise DataError(f"an identifier has at most {ID} plain characters", where=ascii(value[:40]))
    return value


def _day(when: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(when))
