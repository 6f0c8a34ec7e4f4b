"""Walls: a generation belongs to a matter; what was stored before is behind none."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    with op.batch_alter_table("generations") as table:
        table.add_column(sa.Column("wall", sa.String(200), nullable=False, server_default=""))
        table.create_index("ix_generations_wall", ["wall"])


def downgrade() -> None:
    """Drop the column."""
    with op.batch_alter_table("generations") as table:
        table.drop_index("ix_generations_wall")
        table.drop_column("wall")
