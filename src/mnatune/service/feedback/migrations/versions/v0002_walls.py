"""Walls: a generation belongs to a matter; what was stored before is behind none.

The table is changed in place: were it made anew, its ratings would go with the old one.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("generations", sa.Column("wall", sa.String(200), nullable=False, server_default=""))
    op.create_index("ix_generations_wall", "generations", ["wall"])


def downgrade() -> None:
    """Drop the column."""
    op.drop_index("ix_generations_wall", "generations")
    op.drop_column("generations", "wall")
