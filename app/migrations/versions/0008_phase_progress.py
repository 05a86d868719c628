"""How far a job's training is by its own count, and its evaluation and export

Revision: 0008, after: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward."""
    op.add_column("jobs", sa.Column("percent", sa.Double(), nullable=True))
    op.add_column("jobs", sa.Column("phase_progress", sa.JSON(), nullable=True))


def downgrade() -> None:
    """Back."""
    op.drop_column("jobs", "phase_progress")
    op.drop_column("jobs", "percent")
