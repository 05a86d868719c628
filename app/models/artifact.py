"""Artifacts and, for the database store, the chunks that hold their bytes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Boolean, ForeignKey, Index, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from app.platform.db import Base, UtcDateTime
from app.platform.settings import get_settings
from dfad_core.contract.serialization import JsonObject

INPUTS = ("evaluation", "initial")
"""Kinds of files that came with a job."""
LABELLED = "labelled"
"""Kind of the images that came after a job's end: never published, and deleted once they are measured."""


def _own_id(context: Any) -> str:
    return str(context.get_current_parameters()["id"])


def store_of_new_bytes() -> str:
    """Name of the store that this process puts bytes into."""
    return get_settings().artifact_store


class Artifact(Base):
    """Immutable bytes with a SHA-256. Visible to clients once `published_at` is set."""

    __tablename__ = "artifacts"
    __table_args__ = (
        # With the tenant, which every statement of a request names: SQLite does not know how many rows a
        # tenant has, and would otherwise go through all of them for a page of jobs.
        Index("ix_artifacts_job_id_tenant_id_kind", "job_id", "tenant_id", "kind"),
        Index("ix_artifacts_tenant_id_sha256", "tenant_id", "sha256"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    #: Under which id the store has the bytes: its own, or that of the artifact that brought them first.
    blob_id: Mapped[str] = mapped_column(String(40), index=True, default=_own_id)
    #: The store that has them; the same in all rows of one blob. None in rows older than this column.
    store: Mapped[str | None] = mapped_column(String(16), default=store_of_new_bytes)
    tenant_id: Mapped[str] = mapped_column(String(64))
    job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    #: teacher, evaluation, initial, labelled; student, student_onnx …, report, samples, checkpoint, manifest.
    kind: Mapped[str] = mapped_column(String(32))
    filename: Mapped[str] = mapped_column(String(255))
    media_type: Mapped[str] = mapped_column(String(128), default="application/octet-stream")
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    #: The student of a job that did not run to its end.
    partial: Mapped[bool] = mapped_column(Boolean, default=False)
    #: The training step it was made at, where one applies.
    step: Mapped[int | None] = mapped_column(BigInteger)
    #: Of a student before its job's end: whether it is `complete`, and the `result` until then.
    details: Mapped[JsonObject] = mapped_column(JSON, default=dict)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    published_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class BlobRemoval(Base):
    """Bytes to be deleted, written in the transaction that removes the row that named them.

    Whoever dies before the bytes are deleted leaves them to the sweeper, as is done with large ones.
    """

    __tablename__ = "blob_removals"
    __table_args__ = (Index("ix_blob_removals_due_at", "due_at"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    blob_id: Mapped[str] = mapped_column(String(40), index=True)
    #: Nobody begins before then: a claim lasts so long.
    due_at: Mapped[datetime] = mapped_column(UtcDateTime)


class ArtifactChunk(Base):
    """At most 1 MiB of one artifact, stored beside the job."""

    __tablename__ = "artifact_chunks"

    #: No foreign key: chunks stream in before their artifact row says that they are whole.
    artifact_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    data: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
