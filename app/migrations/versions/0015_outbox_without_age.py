"""Messages without a time of writing, which nothing read

Revision: 0015, after: 0014
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward."""
    op.drop_column("outbox", "created_at")


def downgrade() -> None:
    """Back. What waits gets the beginning of time."""
    begin = "1970-01-01 00:00:00"
    column = sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=begin)
    op.add_column("outbox", column)
