"""The first schema: generations, pairs, feedback, exports."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make every table."""
    _generations()
    _pairs()
    _feedback()
    _exports()


def downgrade() -> None:
    """Drop every table."""
    for name in ("export_items", "exports", "feedback", "pairs", "generations"):
        op.drop_table(name)


def _generations() -> None:
    op.create_table(
        "generations",
        sa.Column("id", sa.String(200), nullable=False),
        sa.Column("conversation", sa.String(200), nullable=False),
        sa.Column("rater", sa.String(200), nullable=False),
        sa.Column("model", sa.String(200), nullable=False),
        sa.Column("revision", sa.Text(), nullable=False),
        sa.Column("adapter_hash", sa.String(64), nullable=False),
        sa.Column("prompt_hash", sa.String(64), nullable=False),
        sa.Column("messages", sa.JSON(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("sampling", sa.JSON(), nullable=False),
        sa.Column("finish_reason", sa.String(20), nullable=False),
        sa.Column("prompt_tokens", sa.Integer(), nullable=False),
        sa.Column("completion_tokens", sa.Integer(), nullable=False),
        sa.Column("consent", sa.Boolean(), nullable=False),
        sa.Column("redacted", sa.Boolean(), nullable=False),
        sa.Column("seconds", sa.Float(53), nullable=False),
        sa.Column("first_token", sa.Float(53), nullable=False),
        sa.Column("created", sa.Float(53), nullable=False),
        sa.Column("day", sa.String(10), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_generations"),
    )
    for column in ("conversation", "rater", "created", "day"):
        op.create_index(f"ix_generations_{column}", "generations", [column])


def _pairs() -> None:
    op.create_table(
        "pairs",
        sa.Column("id", sa.String(200), nullable=False),
        sa.Column("rater", sa.String(200), nullable=False),
        sa.Column("left", sa.String(200), nullable=False),
        sa.Column("right", sa.String(200), nullable=False),
        sa.Column("created", sa.Float(53), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_pairs"),
        sa.ForeignKeyConstraint(["left"], ["generations.id"], name="fk_pairs_left_generations", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["right"], ["generations.id"], name="fk_pairs_right_generations", ondelete="CASCADE"),
    )
    for column in ("rater", "left", "right"):
        op.create_index(f"ix_pairs_{column}", "pairs", [column])


def _feedback() -> None:
    op.create_table(
        "feedback",
        sa.Column("id", sa.String(20), nullable=False),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("target", sa.String(200), nullable=False),
        sa.Column("generation", sa.String(200), nullable=True),
        sa.Column("pair", sa.String(200), nullable=True),
        sa.Column("rater", sa.String(200), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("value", sa.String(10), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("tags", sa.JSON(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("redacted", sa.Boolean(), nullable=False),
        sa.Column("created", sa.Float(53), nullable=False),
        sa.Column("day", sa.String(10), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("reviewer", sa.String(200), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("reviewed", sa.Float(53), nullable=False),
        sa.Column("reviewed_text", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_feedback"),
        sa.UniqueConstraint("kind", "target", "rater", "revision", name="uq_feedback_kind_target_rater_revision"),
        sa.CheckConstraint("(generation IS NULL) <> (pair IS NULL)", name="ck_feedback_one_target"),
        sa.ForeignKeyConstraint(
            ["generation"], ["generations.id"], name="fk_feedback_generation_generations", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["pair"], ["pairs.id"], name="fk_feedback_pair_pairs", ondelete="CASCADE"),
    )
    for column in ("generation", "pair", "rater", "day"):
        op.create_index(f"ix_feedback_{column}", "feedback", [column])
    op.create_index("feedback_queue", "feedback", ["active", "state", "created"])
    op.create_index(
        "feedback_one_active", "feedback", ["kind", "target", "rater"], unique=True,
        sqlite_where=sa.text("active"), postgresql_where=sa.text("active"),
    )  # fmt: skip


def _exports() -> None:
    op.create_table(
        "exports",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("created", sa.Float(53), nullable=False),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("rows", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_exports"),
    )
    op.create_table(
        "export_items",
        sa.Column("export", sa.String(64), nullable=False),
        sa.Column("feedback", sa.String(20), nullable=False),
        sa.Column("row", sa.String(20), nullable=False),
        sa.Column("file", sa.String(40), nullable=False),
        sa.PrimaryKeyConstraint("export", "feedback", "row", "file", name="pk_export_items"),
        sa.ForeignKeyConstraint(["export"], ["exports.id"], name="fk_export_items_export_exports", ondelete="CASCADE"),
    )
    op.create_index("ix_export_items_feedback", "export_items", ["feedback"])
