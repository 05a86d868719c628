"""How artifacts look to clients."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel

from app.models import Artifact


class ArtifactView(BaseModel):
    """One artifact; its bytes are at `url`."""

    id: str
    object: str = "artifact"
    kind: str
    filename: str
    media_type: str
    bytes: int
    sha256: str
    partial: bool
    step: int | None
    created_at: datetime
    url: str


class ArtifactList(BaseModel):
    """A job's artifacts, oldest first."""

    data: list[ArtifactView]


def artifact_view(artifact: Artifact) -> ArtifactView:
    """The view of one row."""
    return ArtifactView(
        id=artifact.id,
        kind=artifact.kind,
        filename=artifact.filename,
        media_type=artifact.media_type,
        bytes=artifact.bytes,
        sha256=artifact.sha256,
        partial=artifact.partial,
        step=artifact.step,
        created_at=artifact.created_at,
        url=f"/artifacts/{artifact.id}",
    )
