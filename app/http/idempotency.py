"""`Idempotency-Key`: the same request under the same key makes one thing, however often it is sent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.models import Job, Teacher, Upload, Webhook, WebhookDelivery
from app.platform.db import database_now, session_scope
from app.platform.errors import FieldProblem, InvalidBody, ServiceError
from dfad_core.contract.serialization import JsonObject

VALID_HOURS = 24
MAX_KEY_CHARACTERS = 255
Keyed = Job | Teacher | Upload | Webhook | WebhookDelivery


def checked_key(key: str | None) -> str | None:
    """The key of a request, if it can be used. Raises InvalidBody."""
    if key is not None and (not 1 <= len(key) <= MAX_KEY_CHARACTERS or not key.isprintable()):
        problem = FieldProblem("/Idempotency-Key", f"1 to {MAX_KEY_CHARACTERS} printable characters")
        raise InvalidBody("The idempotency key cannot be used.", problem)
    return key


class Once:
    """What requests with one key make: once, however often they are sent.

    `payload` and `subject` are what makes two of them the same.
    """

    def __init__(
        self, table: type[Keyed], tenant_id: str, key: str | None, payload: JsonObject, subject: str
    ) -> None:
        """Raises InvalidBody for a key that cannot be used."""
        self._table, self._tenant_id, self._key = table, tenant_id, checked_key(key)
        self._hash = hashlib.sha256(json.dumps([payload, subject], sort_keys=True).encode()).hexdigest()

    def made_before(self) -> str | None:
        """The id of what this key made before; None for a new key.

        Raises ServiceError 422 if the key came with another payload then. Keys are forgotten after a day.
        """
        if self._key is None:
            return None
        table = self._table
        mine = (table.tenant_id == self._tenant_id, table.idempotency_key == self._key)
        with session_scope() as session:
            before = database_now(session) - timedelta(hours=VALID_HOURS)
            forgotten = update(table).where(*mine, table.created_at < before)
            session.execute(forgotten.values(idempotency_key=None))
            row = session.execute(select(table.id, table.idempotency_hash).where(*mine)).first()
        if row is None:
            return None
        if row.idempotency_hash != self._hash:
            raise ServiceError(422, "idempotency_mismatch", "That key was used with another payload.")
        return str(row.id)

    @property
    def columns(self) -> dict[str, str | None]:
        """Values of the new row."""
        return {"idempotency_key": self._key, "idempotency_hash": self._hash if self._key else None}

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """The transaction that adds the new row.

        Raises ServiceError 409 where another request with that key has added its row meanwhile.
        """
        try:
            with session_scope() as session:
                yield session
        except IntegrityError as error:
            text = "The first request with that key is being answered."
            raise ServiceError(409, "idempotency_in_flight", text) from error
