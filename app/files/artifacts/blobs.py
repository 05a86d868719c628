"""Who owns stored bytes. Several artifacts of one tenant may share the same ones.

Bytes are put away under an id before their row exists, and forgotten only when no row names them. Where
nobody can tell, they stay: the sweeper comes back for what is left. What a committed transaction leaves
without a row stands in `blob_removals`, so that nothing is lost between the commit and the deletion.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.models import Artifact, BlobRemoval, UploadPart
from app.models.tenancy import as_system
from app.platform.db import database_now, read_scope, session_scope
from app.platform.ids import new_id
from app.storage import get_store

logger = logging.getLogger(__name__)

DELETED_AT_ONCE = 4
"""Tries to delete bytes before a request leaves the rest to the sweeper."""
SHARED_KINDS = ("teacher", "upload", "evaluation", "initial")


def same_bytes(session: Session, tenant_id: str, sha256: str, size: int) -> str | None:
    """The blob in which the tenant has these bytes already; it stays until the transaction ends."""
    known = (Artifact.tenant_id == tenant_id, Artifact.sha256 == sha256, Artifact.bytes == size)
    query = select(Artifact.blob_id).where(*known, Artifact.kind.in_(SHARED_KINDS)).limit(1)
    return session.scalars(query.with_for_update()).first()


def remove_artifacts(session: Session, *which: Any) -> list[str]:
    """Delete rows; the blobs they named, to be given to `forget` after the commit."""
    named = set(session.scalars(select(Artifact.blob_id).where(*which)))
    session.execute(delete(Artifact).where(*which).execution_options(synchronize_session=False))
    owe_removal(session, named - owned(session, named))
    return sorted(named)


def owe_removal(session: Session, blobs: Iterable[str]) -> None:
    """Have bytes deleted whose row goes in this transaction, even if nobody comes to `forget` them."""
    now = database_now(session)
    session.add_all(BlobRemoval(id=new_id("rem"), blob_id=blob, due_at=now) for blob in blobs)


def owned(session: Session, blobs: Iterable[str]) -> set[str]:
    """Those of `blobs` that a row names."""
    ids = list(blobs)
    artifacts = session.scalars(select(Artifact.blob_id).where(Artifact.blob_id.in_(ids)))
    parts = session.scalars(select(UploadPart.blob_id).where(UploadPart.blob_id.in_(ids)))
    return {*artifacts, *parts}


def forget(blobs: Iterable[str]) -> bool:
    """Delete the bytes that no row names. For after a commit, or after a transaction that failed.

    False where some of them are left to the sweeper.

    The database may have committed and died before it could say so; then the row is there, and only the
    database knows. Large ones are begun and left to the sweeper. Never raises for a database or a store
    that is away.
    """
    ids = list(dict.fromkeys(blobs))
    if not ids:
        return True
    try:
        with as_system(), read_scope() as session:
            kept = owned(session, ids)
            owed = set(session.scalars(select(BlobRemoval.blob_id).where(BlobRemoval.blob_id.in_(ids))))
        left = _delete([blob for blob in ids if blob not in kept])
        gone = owed - kept - left
        if gone or left - owed:
            with as_system(), session_scope() as session:
                session.execute(delete(BlobRemoval).where(BlobRemoval.blob_id.in_(gone)))
                owe_removal(session, left - owed)
    except (SQLAlchemyError, OSError):
        logger.warning("bytes are left to the sweeper", exc_info=True)
        return False
    return not left


def _delete(blobs: list[str]) -> set[str]:
    """Delete as many as takes a moment. Returns those that are left."""
    tries = 0
    for number, blob in enumerate(blobs):
        while not get_store().delete_some(blob):
            tries += 1
            if tries >= DELETED_AT_ONCE:
                return set(blobs[number:])
    return set()
