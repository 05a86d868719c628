"""Inspections are claimed

Revision: 0009, after: 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


INDEX = "ix_teachers_status_inspect_after"


def upgrade() -> None:
    """Forward. No message announces an inspection any more."""
    # Column by column: SQLite would make a table anew for it, which jobs refer to.
    moment = sa.Column(
        "inspect_after", sa.DateTime(timezone=True), nullable=False, server_default="1970-01-01 00:00:00"
    )
    op.add_column("teachers", moment)
    op.add_column("teachers", sa.Column("inspector", sa.String(length=128), nullable=True))
    op.drop_column("teachers", "announced_at")
    op.execute("UPDATE teachers SET inspect_after = created_at")
    op.create_index(INDEX, "teachers", ["status", "inspect_after"])
    op.execute("DELETE FROM outbox WHERE task = 'dfad.inspect_teacher'")


def downgrade() -> None:
    """Back. What still waits is announced by the reconciler."""
    op.drop_index(INDEX, "teachers")
    op.drop_column("teachers", "inspector")
    op.drop_column("teachers", "inspect_after")
    op.add_column("teachers", sa.Column("announced_at", sa.DateTime(timezone=True), nullable=True))
