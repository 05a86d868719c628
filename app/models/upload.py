"""Uploads in parts, and the parts that have arrived."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from app.models.artifact import store_of_new_bytes
from app.platform.db import Base, UtcDateTime


class Upload(Base):
    """A file that is sent in parts, each of which may be sent again."""

    __tablename__ = "uploads"
    __table_args__ = (
        Index("ix_uploads_tenant_id_id", "tenant_id", "id"),
        Index("ix_uploads_expires_at", "expires_at"),
        Index("ix_uploads_idempotency_key", "tenant_id", "idempotency_key", unique=True),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(64))
    filename: Mapped[str] = mapped_column(String(255))
    bytes: Mapped[int] = mapped_column(BigInteger)
    #: What the whole file must have, as the client said before the first byte.
    sha256: Mapped[str] = mapped_column(String(64))
    part_bytes: Mapped[int] = mapped_column(BigInteger)
    #: open, completed
    status: Mapped[str] = mapped_column(String(16), default="open")
    #: A request makes one file of the parts; its claim lasts so long.
    completing_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    #: The whole file, once it is complete. No foreign key: it may be shared with teachers.
    artifact_id: Mapped[str | None] = mapped_column(String(40))
    idempotency_key: Mapped[str | None] = mapped_column(String(255))
    #: SHA-256 of the request that the key came with.
    idempotency_hash: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    #: Put off by every part that arrives.
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)


class UploadPart(Base):
    """One part that has arrived whole."""

    __tablename__ = "upload_parts"

    upload_id: Mapped[str] = mapped_column(ForeignKey("uploads.id", ondelete="CASCADE"), primary_key=True)
    #: From 1.
    number: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(64))
    blob_id: Mapped[str] = mapped_column(String(40), index=True)
    #: As an artifact's.
    store: Mapped[str | None] = mapped_column(String(16), default=store_of_new_bytes)
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
