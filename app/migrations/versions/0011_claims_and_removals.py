"""Bytes to be deleted, claims of completions, turns of webhooks, and an index for pages of jobs

Revision: 0011, after: 0010
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

OLD, NEW = "ix_artifacts_job_id_kind", "ix_artifacts_job_id_tenant_id_kind"


def upgrade() -> None:
    """Forward."""
    op.create_table(
        "blob_removals",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("blob_id", sa.String(length=40), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_blob_removals_blob_id", "blob_removals", ["blob_id"])
    op.create_index("ix_blob_removals_due_at", "blob_removals", ["due_at"])
    op.add_column("uploads", sa.Column("completing_until", sa.DateTime(timezone=True), nullable=True))
    op.add_column("webhooks", sa.Column("tried_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(NEW, "artifacts", ["job_id", "tenant_id", "kind"])
    op.drop_index(OLD, "artifacts")


def downgrade() -> None:
    """Back. Bytes that were still to be deleted are left to the sweeper."""
    op.create_index(OLD, "artifacts", ["job_id", "kind"])
    op.drop_index(NEW, "artifacts")
    op.drop_column("webhooks", "tried_at")
    op.drop_column("uploads", "completing_until")
    op.drop_table("blob_removals")
