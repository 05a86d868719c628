"""`/uploads`."""

from __future__ import annotations

from typing import Annotated

import anyio
from fastapi import APIRouter, Depends, Header, Path, Request, Response
from starlette.concurrency import run_in_threadpool

from app.files.artifacts.blobs import forget
from app.files.incoming import Incoming, receiving
from app.files.teacher_upload import PIECE_BYTES
from app.files.uploads import service
from app.files.uploads.schemas import UploadRequest, UploadView
from app.http.content_digest import named_digest
from app.http.json_body import JsonBody, content_type, unsupported
from app.http.parameters import IdempotencyKey, UploadId
from app.platform.errors import FieldProblem, InvalidBody
from app.platform.turns import run_in_turn
from app.storage import Stored, Writer, get_store
from dfad_core.contract.serialization import JsonObject

router = APIRouter(prefix="/uploads", tags=["uploads"])

PART_TYPE = "application/octet-stream"
PART_BODY = {
    "requestBody": {
        "required": True,
        "content": {PART_TYPE: {"schema": {"type": "string", "format": "binary"}}},
    }
}
ContentDigest = Annotated[
    str, Header(description="Of the part (RFC 9530): `sha-256=:base64:`.", max_length=1000)
]
PartNumber = Annotated[int, Path(ge=1, le=service.MAX_PARTS, description="From 1.")]


EXAMPLE: JsonObject = {"filename": "teacher.safetensors", "bytes": 94_000_000, "sha256": "0" * 64}


@router.post("", status_code=201)
def create_upload(
    request: Request,
    response: Response,
    asked: Annotated[UploadRequest, Depends(JsonBody(UploadRequest, EXAMPLE))],
    idempotency_key: IdempotencyKey = None,
) -> UploadView:
    """Begin an upload in parts; the answer says how large each must be."""
    tenant_id = request.state.tenant_id
    upload_id = service.begin(tenant_id, asked, idempotency_key)
    response.headers["Location"] = f"/uploads/{upload_id}"
    return service.view(upload_id, tenant_id)


@router.get("/{upload_id}")
def retrieve_upload(request: Request, upload_id: UploadId) -> UploadView:
    """What has arrived so far: whoever goes on sends the rest."""
    return service.view(upload_id, request.state.tenant_id)


@router.put("/{upload_id}/parts/{number}", openapi_extra=PART_BODY)
async def put_part(
    request: Request, upload_id: UploadId, number: PartNumber, content_digest: ContentDigest
) -> UploadView:
    """One part; sent again it takes the place of the one before. Only whole, undamaged parts count."""
    if content_type(request) != PART_TYPE:
        raise unsupported(PART_TYPE)
    named = named_digest(content_digest)
    tenant_id = request.state.tenant_id
    size = await run_in_threadpool(service.expected_part, upload_id, tenant_id, number)
    async with receiving(tenant_id, size) as incoming:
        writer = await run_in_threadpool(get_store().writer, incoming.blob_id)
        try:
            stored = await _received(request, incoming, writer, size)
            if stored.sha256 != named:
                problem = FieldProblem("/Content-Digest", f"the body has {stored.sha256}")
                raise InvalidBody("The part is not the one that was named.", problem, code="sha256_mismatch")
            about = (number, incoming.blob_id, stored)
            await run_in_threadpool(service.record_part, upload_id, tenant_id, *about)
        finally:
            with anyio.CancelScope(shield=True):
                incoming.left = not await run_in_threadpool(_drop, writer, incoming.blob_id)
    return await run_in_threadpool(service.view, upload_id, tenant_id)


async def _received(request: Request, incoming: Incoming, writer: Writer, size: int) -> Stored:
    """The body, which has to be `size` bytes, in the store."""
    waiting, total = bytearray(), 0
    async for piece in request.stream():
        total += len(piece)
        if total > size:
            raise _wrong_size(size)
        await incoming.add(len(piece))
        waiting += piece
        if len(waiting) >= PIECE_BYTES:
            await run_in_threadpool(writer.write, bytes(waiting))
            waiting.clear()
    if total != size:
        raise _wrong_size(size)
    await run_in_threadpool(writer.write, bytes(waiting))
    return await run_in_threadpool(writer.finish)


def _drop(writer: Writer, blob_id: str) -> bool:
    """What broke off, and what no row names; False where the rest is left to the sweeper."""
    writer.abort()
    return forget([blob_id])


def _wrong_size(size: int) -> InvalidBody:
    return InvalidBody("The part has another size.", FieldProblem("", f"not {size} bytes"))


@router.post("/{upload_id}/complete")
async def complete_upload(request: Request, upload_id: UploadId) -> UploadView:
    """Make one file of the parts; then a teacher or a job can be made of it. Idempotent.

    One at a time: a request that comes meanwhile waits for a while, and is then refused as `conflict`.
    """
    tenant_id = request.state.tenant_id
    await run_in_turn(tenant_id, service.complete, upload_id, tenant_id)
    return await run_in_threadpool(service.view, upload_id, tenant_id)


@router.delete("/{upload_id}", status_code=204)
def delete_upload(request: Request, upload_id: UploadId) -> Response:
    """Forget it and what has arrived of it; teachers made of it stay."""
    service.remove(upload_id, request.state.tenant_id)
    return Response(status_code=204)
