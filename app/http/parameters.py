"""Path parameters and headers that several routes take."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Header, Path

from app.http.idempotency import MAX_KEY_CHARACTERS


def _id(prefix: str) -> Any:
    """Described here, held by `app.platform.ids.require_id`, which answers with a code of its own."""
    return Path(json_schema_extra={"pattern": f"^{prefix}_[0-9a-f]{{32}}$"})


JobId = Annotated[str, _id("job")]
TeacherId = Annotated[str, _id("tch")]
ArtifactId = Annotated[str, _id("art")]
UploadId = Annotated[str, _id("upl")]
KeyId = Annotated[str, _id("key")]
WebhookId = Annotated[str, _id("whk")]
DeliveryId = Annotated[str, _id("dlv")]

Prefer = Annotated[str | None, Header(description="`wait=N`: wait up to N (60) seconds.")]
IdempotencyKey = Annotated[
    str | None,
    Header(
        description="Same key, same payload: the same answer, for 24 h.",
        json_schema_extra={"maxLength": MAX_KEY_CHARACTERS, "pattern": "^[ -~]+$"},
    ),
]
