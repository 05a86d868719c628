"""`Idempotency-Key`: the same request under the same key makes one thing, however often it is sent."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from typing import Any

from sqlalchemy import select, update

from app.models import Job, Teacher, Upload, Webhook, WebhookDelivery
from app.platform.db import database_now, session_scope
from app.platform.errors import FieldProblem, InvalidBody, ServiceError

VALID_HOURS = 24
MAX_KEY_CHARACTERS = 255
Keyed = Job | Teacher | Upload | Webhook | WebhookDelivery


def checked_key(key: str | None) -> str | None:
    """The key of a request, if it can be used. Raises InvalidBody."""
    if key is not None and (not 1 <= len(key) <= MAX_KEY_CHARACTERS or not key.isprintable()):
        problem = FieldProblem("/Idempotency-Key", f"1 to {MAX_KEY_CHARACTERS} printable characters")
        raise InvalidBody("The idempotency key cannot be used.", problem)
    return key


def fingerprint(asked: dict[str, Any], teacher: str) -> str:
    """SHA-256 of everything that makes two requests the same."""
    return hashlib.sha256(json.dumps([asked, teacher], sort_keys=True).encode()).hexdigest()


def made_before(table: type[Keyed], tenant_id: str, key: str | None, seen: str) -> str | None:
    """The id of what this key made before; None for a new key.

    Raises ServiceError 422 if the key came with another payload then. Keys are forgotten after a day.
    """
    if key is None:
        return None
    mine = (table.tenant_id == tenant_id, table.idempotency_key == key)
    with session_scope() as session:
        before = database_now(session) - timedelta(hours=VALID_HOURS)
        session.execute(update(table).where(*mine, table.created_at < before).values(idempotency_key=None))
        row = session.execute(select(table.id, table.idempotency_hash).where(*mine)).first()
    if row is None:
        return None
    if row.idempotency_hash != seen:
        raise ServiceError(422, "idempotency_mismatch", "That key was used with another payload.")
    return str(row.id)


def in_flight() -> ServiceError:
    """The answer to the second of two requests with one key at the same time."""
    return ServiceError(409, "idempotency_in_flight", "The first request with that key is being answered.")
