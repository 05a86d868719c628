"""Keeping the parts of an upload, and making one file of them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.access import quotas
from app.files.artifacts.blobs import forget, owe_removal, read, remove_artifacts, same_bytes
from app.files.teacher_files import TeacherFile, check_container, display_name
from app.files.uploads.schemas import PartView, UploadRequest, UploadView
from app.http.idempotency import Once
from app.models import Artifact, Upload, UploadPart
from app.models.clock import steady_now
from app.models.tenancy import owned_by
from app.platform.db import database_now, read_scope, session_scope
from app.platform.errors import FieldProblem, InvalidBody, NotFound, ServiceError
from app.platform.ids import new_id, require_id
from app.platform.settings import get_settings
from app.platform.turns import busy
from app.storage import IntegrityError, Stored, get_store
from dfad_core.contract.containers import HEAD_BYTES

MAX_PARTS = 10_000
COMPLETING = timedelta(seconds=30)
"""How long the claim of a request that makes one file of the parts lasts; it is renewed meanwhile."""
SHOWN = ("id", "tenant_id", "status", "filename", "bytes", "sha256", "part_bytes", "created_at", "expires_at")


def part_bytes_of(size: int) -> int:
    """Of each part of a file of `size` bytes: the usual, or as many as keep it within MAX_PARTS."""
    return max(get_settings().upload_part_bytes, -(-size // MAX_PARTS))


def begin(tenant_id: str, asked: UploadRequest, key: str | None) -> str:
    """A new upload; its id. Raises ServiceError 413 and 429."""
    once, limit = Once(Upload, tenant_id, key, asked.model_dump(), "upload"), get_settings().max_upload_bytes
    if asked.bytes > limit:
        raise ServiceError(413, "payload_too_large", f"No more than {limit} bytes can be uploaded.")
    known = once.made_before()
    if known is not None:
        return known
    with once.transaction() as session:
        quotas.hold(session, tenant_id)
        quotas.check_bytes(session, tenant_id, asked.bytes)
        now = database_now(session)
        upload = Upload(
            id=new_id("upl"),
            tenant_id=tenant_id,
            filename=display_name(asked.filename, "/filename"),
            bytes=asked.bytes,
            sha256=asked.sha256,
            part_bytes=part_bytes_of(asked.bytes),
            created_at=now,
            expires_at=_later(now),
            **once.columns,
        )
        session.add(upload)
    return upload.id


def _later(now: datetime) -> datetime:
    return now + timedelta(hours=get_settings().upload_hours)


def get_upload(session: Session, upload_id: str, tenant_id: str, *, lock: bool = False) -> Upload:
    """The tenant's upload. Raises NotFound, also for an expired one, or InvalidBody for what is no id."""
    require_id(upload_id, "upl", "/upload_id")
    query = select(Upload).where(Upload.id == upload_id, owned_by(Upload, tenant_id))
    query = query.where(Upload.expires_at > database_now(session))
    upload = session.scalar(query.with_for_update() if lock else query)
    if upload is None:
        raise NotFound("upload")
    return upload


def view(upload_id: str, tenant_id: str) -> UploadView:
    """How it looks to clients."""
    with read_scope() as session:
        upload = get_upload(session, upload_id, tenant_id)
        parts = _parts(session, upload_id)
    shown = [PartView(number=p.number, bytes=p.bytes, sha256=p.sha256) for p in parts]
    same = {
        n: getattr(upload, n) for n in UploadView.model_fields if n not in ("object", "parts", "part_count")
    }
    return UploadView(**same, part_count=part_count(upload), parts=shown)


def _parts(session: Session, upload_id: str) -> list[UploadPart]:
    query = select(UploadPart).where(UploadPart.upload_id == upload_id)
    return list(session.scalars(query.order_by(UploadPart.number)))


def part_count(upload: Upload) -> int:
    """How many parts make the whole."""
    return -(-upload.bytes // upload.part_bytes)


def expected_part(upload_id: str, tenant_id: str, number: int) -> int:
    """The size that part must have. Raises ServiceError for an upload or a number that takes none."""
    with read_scope() as session:
        upload = get_upload(session, upload_id, tenant_id)
        _still_open(session, upload)
    count = part_count(upload)
    if not 1 <= number <= count:
        raise InvalidBody("There is no such part.", FieldProblem("/number", f"1 to {count}"))
    return upload.part_bytes if number < count else upload.bytes - (count - 1) * upload.part_bytes


def _still_open(session: Session, upload: Upload) -> None:
    _check_claim(session, upload)
    if upload.status != "open":
        raise ServiceError(409, "invalid_transition", "The upload is completed; it takes no parts any more.")


def record_part(upload_id: str, tenant_id: str, number: int, blob_id: str, stored: Stored) -> None:
    """A part that the store keeps belongs to its upload now, in the place of one that was sent before."""
    replaced: list[str] = []
    with session_scope() as session:
        quotas.hold(session, tenant_id)
        upload = get_upload(session, upload_id, tenant_id, lock=True)
        _still_open(session, upload)
        quotas.check_bytes(session, tenant_id, stored.bytes)  # others may have been begun meanwhile
        mine = (UploadPart.upload_id == upload_id, UploadPart.number == number)
        replaced = list(session.scalars(delete(UploadPart).where(*mine).returning(UploadPart.blob_id)))
        owe_removal(session, replaced)
        about = {"tenant_id": tenant_id, "bytes": stored.bytes, "sha256": stored.sha256}
        session.add(UploadPart(upload_id=upload_id, number=number, blob_id=blob_id, **about))
        upload.expires_at = _later(database_now(session))
    forget(replaced)


def complete(upload_id: str, tenant_id: str) -> None:
    """Make one file of all parts, if its SHA-256 is the one that was named. Idempotent.

    Raises ServiceError 409 while another request is at it, and NotFound if the upload is deleted meanwhile.
    """
    with read_scope() as session:
        if get_upload(session, upload_id, tenant_id).status == "completed":
            return
    claimed = _claim(upload_id, tenant_id)
    if claimed is None:
        return
    sha256, parts = claimed
    blob_id = new_id("art")
    try:
        stored = get_store().put(blob_id, _checked(upload_id, tenant_id, parts))
        if stored.sha256 != sha256:
            problem = FieldProblem("/sha256", f"the parts make {stored.sha256}")
            raise InvalidBody("The file is not the one that was named.", problem, code="sha256_mismatch")
        _completed(upload_id, tenant_id, blob_id, stored)
    except BaseException:
        with suppress(SQLAlchemyError):
            _set_claim(upload_id, None)
        raise
    finally:
        forget([blob_id])
    forget(part.blob_id for part in parts)


def _claim(upload_id: str, tenant_id: str) -> tuple[str, list[UploadPart]] | None:
    """The SHA-256 that was named, and all parts; None once the upload is completed."""
    with session_scope() as session:
        upload = get_upload(session, upload_id, tenant_id, lock=True)
        if upload.status == "completed":
            return None
        _check_claim(session, upload)
        parts = _parts(session, upload_id)
        missing = sorted(set(range(1, part_count(upload) + 1)) - {part.number for part in parts})
        if missing:
            problem = FieldProblem(f"/parts/{missing[0]}", "missing")
            text = f"{len(missing)} parts are missing."
            raise ServiceError(409, "upload_incomplete", text, errors=(problem,))
        upload.completing_until = steady_now(session) + COMPLETING
        return upload.sha256, parts


def _check_claim(session: Session, upload: Upload) -> None:
    """Raise ServiceError 409 while a request makes one file of the parts."""
    if upload.completing_until is not None and upload.completing_until > steady_now(session):
        raise busy("The upload is being completed.")


def _set_claim(upload_id: str, lasting: timedelta | None) -> bool:
    """Renew the claim, or give it up; whether the upload is there and open."""
    with session_scope() as session:
        until = None if lasting is None else steady_now(session) + lasting
        mine = update(Upload).where(Upload.id == upload_id, Upload.status == "open")
        return session.execute(mine.values(completing_until=until)).rowcount == 1  # type: ignore[attr-defined, no-any-return]


def _checked(upload_id: str, tenant_id: str, parts: list[UploadPart]) -> Iterator[bytes]:
    """The bytes of all parts in order, while the upload is there."""
    renewed = time.monotonic()
    for part in parts:
        digest = hashlib.sha256()
        try:
            for piece in read(part, 0, part.bytes):
                digest.update(piece)
                yield piece
                if time.monotonic() - renewed > COMPLETING.total_seconds() / 6:
                    renewed = time.monotonic()
                    if not _set_claim(upload_id, COMPLETING):
                        raise NotFound("upload")
            whole = digest.hexdigest() == part.sha256
        except IntegrityError:
            whole = False
        if not whole:
            with read_scope() as session:
                get_upload(session, upload_id, tenant_id)  # deleted meanwhile: then that is the answer
            text = f"Part {part.number} did not come back from the store as it was sent; send it again."
            raise ServiceError(409, "upload_incomplete", text)


def _completed(upload_id: str, tenant_id: str, blob_id: str, stored: Stored) -> None:
    with session_scope() as session:
        upload = get_upload(session, upload_id, tenant_id, lock=True)
        if upload.status == "completed":  # by another request, at the same time
            return
        now = database_now(session)
        shared = same_bytes(session, tenant_id, stored.sha256, stored.bytes)
        artifact = Artifact(
            id=(artifact_id := blob_id if shared is None else new_id("art")),
            **({} if shared is None else shared._asdict()),
            tenant_id=tenant_id,
            kind="upload",
            filename=upload.filename,
            bytes=stored.bytes,
            sha256=stored.sha256,
            created_at=now,
        )
        session.add(artifact)
        owe_removal(session, _remove_parts(session, upload_id))
        values = {"status": "completed", "artifact_id": artifact_id, "expires_at": _later(now)}
        values |= {"completing_until": None}
        session.execute(update(Upload).where(Upload.id == upload_id).values(**values))


def completed_teacher(upload_id: str, tenant_id: str) -> TeacherFile:
    """The whole file, to be a teacher. Raises ServiceError 409 while there is none, 422 for what is none.

    Only here: until it is named, an upload may be labelled data as well.
    """
    with read_scope() as session:
        upload = get_upload(session, upload_id, tenant_id)
        artifact = session.get(Artifact, upload.artifact_id) if upload.artifact_id else None
    if artifact is None:
        raise ServiceError(409, "upload_incomplete", "The upload is not completed.")
    try:
        head = b"".join(read(artifact, 0, min(HEAD_BYTES, artifact.bytes)))
    except IntegrityError:
        with read_scope() as session:
            get_upload(session, upload_id, tenant_id)  # deleted meanwhile: then that is the answer
        raise
    check_container(head, "/upload_id")
    stored = Stored(artifact.bytes, artifact.sha256)
    return TeacherFile(artifact.blob_id, stored, upload.filename, from_upload=True)


def remove(upload_id: str, tenant_id: str) -> None:
    """Forget an upload and what has arrived of it; teachers made of it stay."""
    with session_scope() as session:
        blobs = drop(session, get_upload(session, upload_id, tenant_id, lock=True))
    forget(blobs)


def drop(session: Session, upload: Upload) -> list[str]:
    """Delete its rows; the blobs to forget after the commit."""
    blobs = _remove_parts(session, upload.id)
    owe_removal(session, blobs)
    blobs += remove_artifacts(session, Artifact.id == upload.artifact_id)
    session.execute(delete(Upload).where(Upload.id == upload.id))
    return blobs


def _remove_parts(session: Session, upload_id: str) -> list[str]:
    """Delete the rows of all parts; the blobs that they named."""
    gone = delete(UploadPart).where(UploadPart.upload_id == upload_id).returning(UploadPart.blob_id)
    return list(session.scalars(gone))
