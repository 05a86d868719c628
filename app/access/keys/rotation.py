"""A key's next secret. The one before it stays valid for a while, so that nobody is locked out meanwhile."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy.orm import Session

from app.access.keys.principal import Principal
from app.access.keys.service import check_gives, held_key
from app.access.keys.tokens import digest_of, new_secret, token_of
from app.models import ApiKey
from app.platform.db import database_now
from app.platform.errors import ServiceError

DEFAULT_OVERLAP_SECONDS = 86_400
MAX_OVERLAP_SECONDS = 30 * 86_400


def rotate_key(session: Session, principal: Principal, key_id: str, overlap: timedelta) -> tuple[ApiKey, str]:
    """The key with a new secret, and its new token, which nobody can be shown again.

    A key has two secrets at the most: the new one, and the last one that was used, which opens the service
    for `overlap` more. So a secret whose answer was lost on its way is replaced, and the one before it stays.
    Before anything is locked in its transaction. Raises NotFound, ServiceError 403 for what `principal` may
    not give, and 409 `key_closed`.
    """
    key = held_key(session, key_id)
    check_gives(principal, key.scopes)
    now = database_now(session)
    if key.revoked_at is not None or (key.expires_at is not None and key.expires_at <= now):
        raise ServiceError(409, "key_closed", "The key was revoked or has expired: make another one.")
    lasting = key.previous_expires_at is not None and key.previous_expires_at > now
    if key.last_used_at is not None or not lasting:
        key.previous_number, key.previous_digest = key.secret_number, key.digest
        key.previous_last_used_at = key.last_used_at
    key.previous_expires_at = now + overlap
    secret = new_secret()
    key.secret_number, key.digest = key.secret_number + 1, digest_of(secret)
    key.rotated_at, key.last_used_at = now, None
    return key, token_of(key.id, secret)
