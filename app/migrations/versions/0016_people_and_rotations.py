"""Secrets of keys that follow each other, people in the audit, and their sessions on the page

Revision: 0016, after: 0015
"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

KEY_COLUMNS = ("rotated_at", "previous_expires_at", "previous_last_used_at")


def upgrade() -> None:
    """Forward."""
    op.add_column("api_keys", sa.Column("secret_number", sa.Integer(), nullable=False, server_default="1"))
    op.add_column("api_keys", sa.Column("previous_number", sa.Integer(), nullable=True))
    op.add_column("api_keys", sa.Column("previous_digest", sa.String(length=64), nullable=True))
    for name in KEY_COLUMNS:
        op.add_column("api_keys", sa.Column(name, sa.DateTime(timezone=True), nullable=True))
    op.add_column("audit_events", sa.Column("secret_number", sa.Integer(), nullable=True))
    op.add_column("audit_events", sa.Column("person", sa.String(length=255), nullable=True))
    op.create_table(
        "page_sessions",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("groups", sa.JSON(), nullable=False),
        sa.Column("id_token", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_page_sessions_expires_at", "page_sessions", ["expires_at"])


def downgrade() -> None:
    """Back. Secrets that were replaced open nothing any more, and people have to sign in again."""
    op.drop_table("page_sessions")
    with op.batch_alter_table("audit_events") as table:
        table.drop_column("person")
        table.drop_column("secret_number")
    with op.batch_alter_table("api_keys") as table:
        for name in (*KEY_COLUMNS, "previous_digest", "previous_number", "secret_number"):
            table.drop_column(name)
