"""Accuracy is measured after a job's end

Revision: 0010, after: 0009
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


INDEX = "ix_jobs_measure_after"


def upgrade() -> None:
    """Forward."""
    # Column by column: SQLite would make a table anew for it, which others refer to.
    op.add_column("jobs", sa.Column("measurement", sa.JSON(), nullable=True))
    op.add_column("jobs", sa.Column("measure_after", sa.DateTime(timezone=True), nullable=True))
    op.add_column("jobs", sa.Column("measurer", sa.String(length=128), nullable=True))
    op.add_column("jobs", sa.Column("measure_attempt", sa.Integer(), nullable=True))
    op.create_index(INDEX, "jobs", ["measure_after"])


def downgrade() -> None:
    """Back. What still waits is forgotten."""
    op.drop_index(INDEX, "jobs")
    op.drop_column("jobs", "measure_attempt")
    op.drop_column("jobs", "measurer")
    op.drop_column("jobs", "measure_after")
    op.drop_column("jobs", "measurement")
