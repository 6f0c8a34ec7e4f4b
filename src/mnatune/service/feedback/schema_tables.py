"""The tables of the feedback store. A change here needs a migration in `migrations/versions/`; a test compares the two.

    generations    served answers, with the dialogue before them and everything needed to say where they came from
    pairs          two generations that were shown blind, side by side
    feedback       ratings, edits and picks; what is replaced stays, no longer active, to explain an old export
    exports        data sets that were made, and `export_items`: which feedback became which row

Days are UTC and stored as text, so that SQLite and PostgreSQL group alike. Texts are masked before they come here.
"""

from typing import Any

from sqlalchemy import JSON, CheckConstraint, Float, ForeignKey, Index, MetaData, String, Text, UniqueConstraint
from sqlalchemy import text as sql
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from .sink import MAX_IDENTIFIER

ID = MAX_IDENTIFIER
OWN_ID = 20  # hex digits of `records.content_id`

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """All tables; constraints have names, so that migrations can change them on both databases."""

    metadata = MetaData(naming_convention=NAMING)


class GenerationRow(Base):
    """`sink.Generation`; `redacted` says that something personal was masked in it."""

    __tablename__ = "generations"

    id: Mapped[str] = mapped_column(String(ID), primary_key=True)
    conversation: Mapped[str] = mapped_column(String(ID), index=True)
    rater: Mapped[str] = mapped_column(String(ID), index=True)
    model: Mapped[str] = mapped_column(String(ID))
    revision: Mapped[str] = mapped_column(Text)
    adapter_hash: Mapped[str] = mapped_column(String(64))
    prompt_hash: Mapped[str] = mapped_column(String(64))
    messages: Mapped[list[dict[str, str]]] = mapped_column(JSON)
    answer: Mapped[str] = mapped_column(Text)
    sampling: Mapped[dict[str, Any]] = mapped_column(JSON)
    finish_reason: Mapped[str] = mapped_column(String(20))
    prompt_tokens: Mapped[int]
    completion_tokens: Mapped[int]
    consent: Mapped[bool]
    redacted: Mapped[bool]
    seconds: Mapped[float] = mapped_column(Float(53))
    first_token: Mapped[float] = mapped_column(Float(53))
    created: Mapped[float] = mapped_column(Float(53), index=True)
    day: Mapped[str] = mapped_column(String(10), index=True)
    wall: Mapped[str] = mapped_column(String(ID), index=True)


class PairRow(Base):
    """`sink.Pair`."""

    __tablename__ = "pairs"

    id: Mapped[str] = mapped_column(String(ID), primary_key=True)
    rater: Mapped[str] = mapped_column(String(ID), index=True)
    left: Mapped[str] = mapped_column(ForeignKey("generations.id", ondelete="CASCADE"), index=True)
    right: Mapped[str] = mapped_column(ForeignKey("generations.id", ondelete="CASCADE"), index=True)
    created: Mapped[float] = mapped_column(Float(53))


class FeedbackRow(Base):
    """A rating ("up", "down"), an edit, or the pick of a pair ("left", "right", "tie", "both_bad").

    `target` is the generation's or the pair's id; exactly one of the two foreign keys repeats it, for the cascade.
    `text` is an edit's corrected text, `reviewed_text` the reviewer's own correction of it.
    """

    __tablename__ = "feedback"
    __table_args__ = (
        UniqueConstraint("kind", "target", "rater", "revision"),
        Index("feedback_one_active", "kind", "target", "rater", unique=True,
              sqlite_where=sql("active"), postgresql_where=sql("active")),
        Index("feedback_queue", "active", "state", "created"),
        CheckConstraint("(generation IS NULL) <> (pair IS NULL)", name="one_target"),
    )  # fmt: skip

    id: Mapped[str] = mapped_column(String(OWN_ID), primary_key=True)
    kind: Mapped[str] = mapped_column(String(10))
    target: Mapped[str] = mapped_column(String(ID))
    generation: Mapped[str | None] = mapped_column(ForeignKey("generations.id", ondelete="CASCADE"), index=True)
    pair: Mapped[str | None] = mapped_column(ForeignKey("pairs.id", ondelete="CASCADE"), index=True)
    rater: Mapped[str] = mapped_column(String(ID), index=True)
    revision: Mapped[int]
    active: Mapped[bool]
    value: Mapped[str] = mapped_column(String(10))
    text: Mapped[str] = mapped_column(Text)
    tags: Mapped[list[str]] = mapped_column(JSON)
    comment: Mapped[str] = mapped_column(Text)
    redacted: Mapped[bool]
    created: Mapped[float] = mapped_column(Float(53))
    day: Mapped[str] = mapped_column(String(10), index=True)
    state: Mapped[str] = mapped_column(String(10))
    reviewer: Mapped[str] = mapped_column(String(ID))
    note: Mapped[str] = mapped_column(Text)
    reviewed: Mapped[float] = mapped_column(Float(53))
    reviewed_text: Mapped[str | None] = mapped_column(Text)


class ExportRow(Base):
    """A data set that was made from feedback, by the hash of its files."""

    __tablename__ = "exports"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    created: Mapped[float] = mapped_column(Float(53))
    options: Mapped[dict[str, Any]] = mapped_column(JSON)
    rows: Mapped[dict[str, int]] = mapped_column(JSON)


class ExportItemRow(Base):
    """Feedback that became a row. No foreign key to `feedback`: the fact outlives an erasure; the ids say nothing."""

    __tablename__ = "export_items"

    export: Mapped[str] = mapped_column(ForeignKey("exports.id", ondelete="CASCADE"), primary_key=True)
    feedback: Mapped[str] = mapped_column(String(OWN_ID), primary_key=True, index=True)
    row: Mapped[str] = mapped_column(String(OWN_ID), primary_key=True)
    file: Mapped[str] = mapped_column(String(40), primary_key=True)
