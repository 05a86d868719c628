"""The store of each file's bytes, and who moves them to another

Revision: 0017, after: 0016
"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

TABLES = ("artifacts", "upload_parts")


def upgrade() -> None:
    """Forward. Rows that are there name no store: this migration cannot know it, and readers look for it."""
    for table in TABLES:
        op.add_column(table, sa.Column("store", sa.String(length=16), nullable=True))
    op.create_table(
        "store_moves",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )


def downgrade() -> None:
    """Back. The earlier version looks for all bytes in the one store that its settings name."""
    op.drop_table("store_moves")
    for table in TABLES:
        op.drop_column(table, "store")
