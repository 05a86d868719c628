"""Uploads in parts, shared bytes, retention

Revision: 0005, after: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward."""
    op.create_table(
        "uploads",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("filename", sa.String(length=255), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("part_bytes", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("artifact_id", sa.String(length=40), nullable=True),
        sa.Column("idempotency_key", sa.String(length=255), nullable=True),
        sa.Column("idempotency_hash", sa.String(length=64), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_uploads_tenant_id_id", "uploads", ["tenant_id", "id"])
    op.create_index("ix_uploads_expires_at", "uploads", ["expires_at"])
    op.create_index("ix_uploads_idempotency_key", "uploads", ["tenant_id", "idempotency_key"], unique=True)
    op.create_table(
        "upload_parts",
        sa.Column("upload_id", sa.String(length=40), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("blob_id", sa.String(length=40), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["upload_id"], ["uploads.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("upload_id", "number"),
    )
    op.create_index("ix_upload_parts_blob_id", "upload_parts", ["blob_id"])
    op.add_column("artifacts", sa.Column("blob_id", sa.String(length=40), nullable=True))
    op.execute("UPDATE artifacts SET blob_id = id")
    with op.batch_alter_table("artifacts") as table:
        table.alter_column("blob_id", existing_type=sa.String(length=40), nullable=False)
        table.create_index("ix_artifacts_blob_id", ["blob_id"])
        table.create_index("ix_artifacts_tenant_id_sha256", ["tenant_id", "sha256"])
    op.add_column("jobs", sa.Column("keep", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("jobs", sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index("ix_jobs_expires_at", "jobs", ["expires_at"])
    op.create_index("ix_jobs_teacher_id", "jobs", ["teacher_id"])
    op.add_column("teachers", sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    """Back. One artifact alone owns its bytes again: teachers that share some point to the same one."""
    op.drop_column("teachers", "deleted_at")
    op.drop_index("ix_jobs_teacher_id", "jobs")
    op.drop_index("ix_jobs_expires_at", "jobs")
    op.drop_column("jobs", "expires_at")
    op.drop_column("jobs", "keep")
    op.execute(
        "UPDATE teachers SET artifact_id = (SELECT blob_id FROM artifacts WHERE artifacts.id = artifact_id) "
        "WHERE EXISTS (SELECT 1 FROM artifacts WHERE artifacts.id = artifact_id)"
    )
    op.execute(
        "UPDATE artifacts SET id = blob_id WHERE id IN (SELECT min(id) FROM artifacts one WHERE NOT EXISTS "
        "(SELECT 1 FROM artifacts other WHERE other.id = one.blob_id) GROUP BY blob_id)"
    )
    op.execute("DELETE FROM artifacts WHERE id != blob_id")
    with op.batch_alter_table("artifacts") as table:
        table.drop_index("ix_artifacts_tenant_id_sha256")
        table.drop_index("ix_artifacts_blob_id")
        table.drop_column("blob_id")
    op.drop_table("upload_parts")
    op.drop_table("uploads")
