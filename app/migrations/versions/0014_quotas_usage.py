"""Quotas that are changed while the service runs, and what each tenant used in a month

Revision: 0014, after: 0013
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Forward. Of attempts that run meanwhile nobody knows when they began: they are not counted."""
    limits = ("queued_jobs", "running_jobs", "stored_bytes", "requests_per_minute")
    op.create_table(
        "quotas",
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=True) for name in limits),
        sa.Column("updated_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id"),
    )
    op.create_table(
        "monthly_usage",
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("month", sa.String(length=7), nullable=False),
        sa.Column("jobs_submitted", sa.BigInteger(), nullable=False),
        sa.Column("jobs_succeeded", sa.BigInteger(), nullable=False),
        sa.Column("cpu_seconds", sa.Float(), nullable=False),
        sa.Column("cuda_seconds", sa.Float(), nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("peak_stored_bytes", sa.BigInteger(), nullable=False),
        sa.Column("measured_at", TIME, nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "month"),
    )
    op.add_column("jobs", sa.Column("attempt_started_at", TIME, nullable=True))
    op.add_column("jobs", sa.Column("attempt_device", sa.String(length=8), nullable=True))


def downgrade() -> None:
    """Back: quotas of the settings hold again, and what was counted is lost."""
    op.drop_column("jobs", "attempt_device")
    op.drop_column("jobs", "attempt_started_at")
    op.drop_table("monthly_usage")
    op.drop_table("quotas")
