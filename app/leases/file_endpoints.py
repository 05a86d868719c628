"""`/leases/…/files`: the files of what a worker has claimed, and of nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Depends, Header, Query, Request, Response
from sqlalchemy import select
from starlette.concurrency import run_in_threadpool

from app.files.artifacts.blobs import forget
from app.files.artifacts.serving import serve
from app.files.teacher_upload import PIECE_BYTES
from app.http.content_digest import named_digest
from app.http.json_body import JsonBody, content_type, unsupported
from app.http.parameters import ArtifactId
from app.jobs.lifecycle import Claim
from app.jobs.measurements import MeasurementClaim
from app.leases import files
from app.leases.due import Kind
from app.leases.files import (
    MOST_BYTES,
    MOST_PICTURE_BYTES,
    MOST_REPORT_BYTES,
    Claimed,
    Sources,
    StoredFile,
    ids_of,
)
from app.leases.holding import (
    Caller,
    Holder,
    answers,
    held_inspection,
    held_job,
    held_measurement,
    lost,
    subject,
)
from app.leases.receipts import receipt_of, received
from app.leases.schemas import ReceiptsRequest
from app.models import Artifact
from app.models.tenancy import acting_for
from app.platform.db import read_scope
from app.platform.errors import FieldProblem, InvalidBody, NotFound, ServiceError
from app.platform.ids import new_id
from app.storage import IntegrityError, Stored, Writer, get_store
from app.teachers.inspections import InspectionClaim
from dfad_core.contract.serialization import to_json

router = APIRouter(prefix="/leases", include_in_schema=False)

FILE_TYPE = "application/octet-stream"


Fence = Annotated[int, Header(alias="DFAD-Fence", ge=0, description="Of an attempt: number of the claim.")]


def _held(holder: Caller, kind: Kind, subject_id: str, fence: Fence = 0) -> Claimed:
    """What the holder has claimed, with a lease that lives. Raises ServiceError 410."""
    if kind == "jobs":
        return held_job(holder, subject_id, fence, alive=True)
    look: Callable[[Holder, str], InspectionClaim | MeasurementClaim | None]
    look = held_inspection if kind == "inspections" else held_measurement
    claim = look(holder, subject_id)
    if claim is None:
        raise lost()
    return claim


Held = Annotated[Claimed, Depends(_held)]


def _sources(claim: Claimed) -> Sources:
    with answers(), acting_for(claim.tenant_id):
        if isinstance(claim, Claim):
            return files.job_sources(claim)
        if isinstance(claim, MeasurementClaim):
            return files.measurement_sources(claim)
        return files.teacher_sources(claim.teacher_id)


@router.get("/{kind}/{subject_id}/files")
def list_files(claim: Held) -> dict[str, Any]:
    """What there is to read."""
    sources = _sources(claim)
    shown = tuple(replace(file, blob_id="", store=None) for file in sources.files)
    return to_json(replace(sources, files=shown))


@router.get("/{kind}/{subject_id}/files/{artifact_id}", response_class=Response)
def read_file(request: Request, claim: Held, artifact_id: ArtifactId) -> Response:
    """The bytes of one of these, whole or from somewhere on."""
    if artifact_id not in {file.id for file in _sources(claim).files}:
        raise NotFound("file")
    with acting_for(claim.tenant_id), read_scope() as session:
        artifact = session.scalar(select(Artifact).where(Artifact.id == artifact_id))
    if artifact is None:
        raise NotFound("file")
    try:
        return serve(request, artifact, begun=True)
    except IntegrityError as error:
        text = "The stored file is not what was stored."
        raise ServiceError(500, "stored_file_damaged", text) from error


@dataclass(frozen=True)
class _Brought:
    """What a worker says of a file that it brings."""

    role: Annotated[str, Query(max_length=16)]
    file: Annotated[str, Query(max_length=32)]
    step: Annotated[int | None, Query(ge=0, le=2**62)] = None

    def check(self) -> None:
        """Raise InvalidBody for what there is not."""
        try:
            files.described(self.role, self.file, self.step)
        except ValueError as error:
            raise InvalidBody("There is no such file.", FieldProblem("/file", str(error))) from error

    @property
    def most(self) -> int:
        """Bytes of the largest file of its kind."""
        if self.role == "samples":
            return MOST_PICTURE_BYTES
        return MOST_REPORT_BYTES if self.file in ("report", "manifest") else MOST_BYTES


@router.put("/{kind}/{subject_id}/files")
async def bring_file(
    request: Request,
    claim: Held,
    brought: Annotated[_Brought, Depends()],
    content_digest: Annotated[str, Header(max_length=1000)],
) -> dict[str, Any]:
    """Keep a file and give a receipt for it; nobody sees it until a row is written for it.

    Again after a broken connection: another file, and the bytes of the one before are swept.
    """
    if content_type(request) != FILE_TYPE:
        raise unsupported(FILE_TYPE)
    named = named_digest(content_digest)
    brought.check()
    blob_id = new_id("art")
    writer = await run_in_threadpool(get_store().writer, blob_id)
    kept = False
    try:
        stored = await _received(request, writer, brought.most)
        if stored.sha256 != named:
            problem = FieldProblem("/Content-Digest", f"the body has {stored.sha256}")
            raise InvalidBody("The file is not the one that was named.", problem, code="sha256_mismatch")
        kept = True
    finally:
        if not kept:
            with anyio.CancelScope(shield=True):
                await run_in_threadpool(_drop, writer, blob_id)
    file = files.stored_file(blob_id, brought.role, brought.file, brought.step, stored)
    return {**_shown(file), "receipt": receipt_of(file, subject(claim))}


def _shown(file: StoredFile) -> dict[str, Any]:
    return {name: value for name, value in to_json(file).items() if name != "receipt"}


async def _received(request: Request, writer: Writer, most: int) -> Stored:
    """The body in the store, of which no more than a piece is ever held."""
    waiting, total = bytearray(), 0
    async for piece in request.stream():
        total += len(piece)
        if total > most:
            raise ServiceError(413, "payload_too_large", f"Such a file has no more than {most} bytes.")
        waiting += piece
        if len(waiting) >= PIECE_BYTES:
            await run_in_threadpool(writer.write, bytes(waiting))
            waiting.clear()
    await run_in_threadpool(writer.write, bytes(waiting))
    return await run_in_threadpool(writer.finish)


def _drop(writer: Writer, blob_id: str) -> None:
    writer.abort()
    forget([blob_id])


@router.post("/{kind}/{subject_id}/discarded", status_code=204)
def discard(
    holder: Caller,
    kind: Kind,
    subject_id: str,
    asked: Annotated[ReceiptsRequest, Depends(JsonBody(ReceiptsRequest, {"receipts": []}))],
    fence: Fence = 0,
) -> Response:
    """Delete what was brought and no row owns, also once the lease is lost: the receipts say whose it is."""
    held = f"{subject_id} {fence if kind == 'jobs' else 0} {holder.owner}"
    forget(ids_of(received(receipt, held) for receipt in asked.receipts))
    return Response(status_code=204)
