"""Pausing, and queues by device

Revision: 0003, after: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward. Jobs that are there say in their spec where they may run."""
    op.add_column("jobs", sa.Column("device", sa.String(length=8), nullable=False, server_default="auto"))
    op.add_column("jobs", sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("jobs", sa.Column("paused_seconds", sa.Double(), nullable=False, server_default="0"))
    op.add_column("outbox", sa.Column("queue", sa.String(length=32), nullable=False, server_default="dfad"))
    op.create_index("ix_jobs_tenant_id_started_at", "jobs", ["tenant_id", "started_at"])
    jobs = sa.table("jobs", sa.column("device", sa.String), sa.column("resolved_spec", sa.JSON))
    named = jobs.c.resolved_spec["device"].as_string()
    op.execute(jobs.update().where(named.in_(["cpu", "cuda"])).values(device=named))


def downgrade() -> None:
    """Back."""
    op.drop_index("ix_jobs_tenant_id_started_at", "jobs")
    op.drop_column("outbox", "queue")
    op.drop_column("jobs", "paused_seconds")
    op.drop_column("jobs", "paused_at")
    op.drop_column("jobs", "device")
