"""Idempotency keys of teachers

Revision: 0002, after: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward. No batch mode: SQLite would copy the table and drop the one that jobs refer to."""
    op.add_column("teachers", sa.Column("idempotency_key", sa.String(length=255), nullable=True))
    op.add_column("teachers", sa.Column("idempotency_hash", sa.String(length=64), nullable=True))
    op.create_index("ix_teachers_idempotency_key", "teachers", ["tenant_id", "idempotency_key"], unique=True)


def downgrade() -> None:
    """Back."""
    op.drop_index("ix_teachers_idempotency_key", table_name="teachers")
    op.drop_column("teachers", "idempotency_hash")
    op.drop_column("teachers", "idempotency_key")
