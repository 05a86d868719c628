"""Who owns stored bytes. Several artifacts of one tenant may share the same ones.

Bytes are put away under an id before their row exists, and forgotten only when no row names them. Where
nobody can tell, they stay: the sweeper comes back for what is left. What a committed transaction leaves
without a row stands in `blob_removals`, so that nothing is lost between the commit and the deletion.

Bytes never change their id or their store. To move them is to store them again, under another id, and to let
the rows name that one (`app.storage.move`); whoever reads meanwhile goes on with the new ones.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from sqlalchemy import delete, inspect, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.models import Artifact, BlobRemoval, UploadPart
from app.models.tenancy import as_system
from app.platform.db import database_now, read_scope, session_scope
from app.platform.ids import new_id
from app.storage import IntegrityError, find_store, get_store

logger = logging.getLogger(__name__)

DELETED_AT_ONCE = 4
"""Tries to delete bytes before a request leaves the rest to the sweeper."""
SHARED_KINDS = ("teacher", "upload", "evaluation", "initial")


class Blob(NamedTuple):
    """Where bytes are, by the names of a row's columns."""

    blob_id: str
    store: str | None


def same_bytes(session: Session, tenant_id: str, sha256: str, size: int) -> Blob | None:
    """The blob in which the tenant has these bytes already; it stays until the transaction ends."""
    known = (Artifact.tenant_id == tenant_id, Artifact.sha256 == sha256, Artifact.bytes == size)
    query = select(Artifact.blob_id, Artifact.store).where(*known, Artifact.kind.in_(SHARED_KINDS)).limit(1)
    row = session.execute(query.with_for_update()).first()
    return None if row is None else Blob(row.blob_id, row.store)


def read(row: Artifact | UploadPart, start: int, end: int) -> Iterator[bytes]:
    """The row's bytes from `start` up to, not including, `end`, also while they are moved to another store.

    Raises IntegrityError on a gap, and StoreAway where the store does not answer.
    """
    return read_blob(Blob(row.blob_id, row.store), start, end, lambda: _blob_of(row))


def read_blob(blob: Blob, start: int, end: int, again: Callable[[], Blob | None]) -> Iterator[bytes]:
    """See `read`. `again`: where the bytes are by now; None once they are deleted."""
    position = start
    while True:
        store = get_store(blob.store or find_store(blob.blob_id))
        try:
            for piece in store.read(blob.blob_id, position, end):
                position += len(piece)
                yield piece
            return
        except IntegrityError:
            now = again()
            if now is None or now == blob:
                raise
            blob = now


def _blob_of(row: Artifact | UploadPart) -> Blob | None:
    """What the row names by now; None once it is deleted."""
    key: Any = inspect(row).identity  # type: ignore[attr-defined]
    with read_scope() as session:
        fresh: Any = session.get(type(row), key)
        return None if fresh is None else Blob(fresh.blob_id, fresh.store)


def remove_artifacts(session: Session, *which: Any) -> list[str]:
    """Delete rows; the blobs they named, to be given to `forget` after the commit."""
    gone = delete(Artifact).where(*which).returning(Artifact.blob_id)
    named = set(session.scalars(gone.execution_options(synchronize_session=False)))
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
        store = get_store(find_store(blob))
        while not store.delete_some(blob):
            tries += 1
            if tries >= DELETED_AT_ONCE:
                return set(blobs[number:])
    return set()
