"""Uploads as they are asked for and shown."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints

from app.http.fields import Strict


class UploadRequest(Strict):
    """A file that will be sent in parts."""

    filename: Annotated[str, Field(max_length=255)]
    bytes: Annotated[int, Field(gt=0)]
    sha256: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
    """Of the whole file, in lower-case hexadecimal."""


class PartView(BaseModel):
    """A part that has arrived whole."""

    number: int
    bytes: int
    sha256: str


class UploadView(BaseModel):
    """An upload: what was said of the file, and what has arrived of it."""

    id: str
    object: str = "upload"
    tenant_id: str
    status: Literal["open", "completed"]
    filename: str
    bytes: int
    sha256: str
    part_bytes: int
    """Of every part but the last."""
    part_count: int
    parts: list[PartView]
    created_at: datetime
    expires_at: datetime
