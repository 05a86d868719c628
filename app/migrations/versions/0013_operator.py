"""Who did what to which thing in the audit, and an index for lists of all tenants' jobs

Revision: 0013, after: 0012
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward."""
    op.add_column(
        "audit_events", sa.Column("operator", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.add_column("audit_events", sa.Column("subject_id", sa.String(length=40), nullable=True))
    with op.batch_alter_table("audit_events") as table:
        table.alter_column("tenant_id", existing_type=sa.String(length=64), nullable=True)
    # Sign-ins that failed were the operator's in earlier versions.
    op.execute(
        "UPDATE audit_events SET tenant_id = NULL "
        "WHERE key_id IS NULL AND action = 'POST /ui/sign-in' AND status >= 400"
    )
    op.execute("UPDATE audit_events SET operator = true WHERE key_id IS NULL AND tenant_id IS NOT NULL")
    op.create_index("ix_jobs_status_id", "jobs", ["status", "id"])


def downgrade() -> None:
    """Back. What nobody is known to have done is the tenant local's again."""
    op.drop_index("ix_jobs_status_id", "jobs")
    op.execute("UPDATE audit_events SET tenant_id = 'local' WHERE tenant_id IS NULL")
    with op.batch_alter_table("audit_events") as table:
        table.alter_column("tenant_id", existing_type=sa.String(length=64), nullable=False)
        table.drop_column("subject_id")
        table.drop_column("operator")
