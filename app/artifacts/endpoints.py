"""`/artifacts/{id}`."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from sqlalchemy import select

from app.artifacts.serving import serve
from app.db import read_scope
from app.errors import NotFound
from app.ids import is_id
from app.models import Artifact

router = APIRouter(prefix="/artifacts", tags=["artifacts"])

BYTES = {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}


@router.get("/{artifact_id}", response_class=Response, responses={200: BYTES, 206: BYTES})
def retrieve_artifact(request: Request, artifact_id: str) -> Response:
    """An artifact's bytes, whole or a range of them."""
    if not is_id(artifact_id, "art"):
        raise NotFound("artifact")
    owned = (Artifact.id == artifact_id, Artifact.tenant_id == request.state.tenant_id)
    with read_scope() as session:
        query = select(Artifact).where(*owned, Artifact.published_at.is_not(None))
        artifact = session.scalars(query).one_or_none()
    if artifact is None:
        raise NotFound("artifact")
    return serve(request, artifact)
