"""Keys as they are shown, without what opens the service."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from app.access.keys.schemas import KeyView, SecretView
from app.models import ApiKey


def key_view(key: ApiKey, now: datetime) -> KeyView:
    """A key as it is at `now`."""
    own = {name: getattr(key, name) for name in KeyView.model_fields if name not in ("object", "secrets")}
    used = [at for at in (key.last_used_at, key.previous_last_used_at) if at is not None]
    return KeyView(**{**own, "last_used_at": max(used, default=None), "secrets": list(_secrets(key, now))})


def _secrets(key: ApiKey, now: datetime) -> Iterator[SecretView]:
    if key.revoked_at is not None or (key.expires_at is not None and key.expires_at <= now):
        return
    yield SecretView(
        number=key.secret_number,
        created_at=key.rotated_at or key.created_at,
        expires_at=key.expires_at,
        last_used_at=key.last_used_at,
    )
    if (
        key.previous_number is not None
        and key.previous_expires_at is not None
        and key.previous_expires_at > now
    ):
        yield SecretView(
            number=key.previous_number,
            created_at=None,
            expires_at=min(key.previous_expires_at, key.expires_at or key.previous_expires_at),
            last_used_at=key.previous_last_used_at,
        )
