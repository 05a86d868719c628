"""A clock that does not jump, for leases on SQLite; and what a queued job waits for

Revision: 0012, after: 0011
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward."""
    op.create_table(
        "steady_clock",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("boot_id", sa.String(length=64), nullable=False),
        sa.Column("booted_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.add_column("jobs", sa.Column("clock_started_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("jobs", sa.Column("waiting_reason", sa.String(length=32), nullable=True))


def downgrade() -> None:
    """Back. Times that were counted on the steady clock are close to the time of day."""
    op.drop_column("jobs", "waiting_reason")
    op.drop_column("jobs", "clock_started_at")
    op.drop_table("steady_clock")
