"""`/artifacts/{id}`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from sqlalchemy import select

from app.files.artifacts.serving import serve
from app.http.parameters import ArtifactId
from app.models import Artifact
from app.models.tenancy import owned_by
from app.platform.db import read_scope
from app.platform.errors import NotFound
from app.platform.ids import require_id

router = APIRouter(prefix="/artifacts", tags=["artifacts"])


NETWORK = "application/octet-stream"
OTHERS = ("application/json", "text/html", "image/png")
"""Of manifests, reports and samples."""


def bytes_as(*others: str) -> dict[int | str, dict[str, Any]]:
    """The answers of a route that serves a network's bytes, or files of these media types."""
    content: dict[str, Any] = {NETWORK: {"schema": {"type": "string", "format": "binary"}}}
    content |= {media_type: {} for media_type in others}
    return {
        200: {"description": "All bytes.", "content": content},
        206: {"description": "The range that was asked for.", "content": content},
        304: {"description": "The client has them already."},
    }


def _header(name: str, description: str) -> dict[str, Any]:
    schema = {"type": "string"}  # HTTP asks that what cannot be understood in these is passed over
    return {"name": name, "in": "header", "required": False, "description": description, "schema": schema}


PARTS_OF_BYTES = {
    "parameters": [
        _header("Range", "`bytes=FIRST-LAST`: only these bytes. What is no such range is passed over."),
        _header("If-Range", "An ETag: the range only of these very bytes."),
        _header("If-None-Match", "ETags of what the client has already."),
    ]
}
"""What such a route takes besides (RFC 9110, 13 and 14); `serving` reads it from the request itself."""


@router.get(
    "/{artifact_id}",
    response_class=Response,
    responses=bytes_as(*OTHERS),
    openapi_extra=PARTS_OF_BYTES,
)
def download_artifact(request: Request, artifact_id: ArtifactId) -> Response:
    """An artifact's bytes, whole or a range of them."""
    require_id(artifact_id, "art", "/artifact_id")
    owned = (Artifact.id == artifact_id, owned_by(Artifact, request.state.tenant_id))
    with read_scope() as session:
        query = select(Artifact).where(*owned, Artifact.published_at.is_not(None))
        artifact = session.scalars(query).one_or_none()
    if artifact is None:
        raise NotFound("artifact")
    return serve(request, artifact)
