"""Writing down what was changed."""

from __future__ import annotations

import logging
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from app.db import database_now, session_scope
from app.ids import new_id
from app.keys.principal import Principal
from app.models import AuditEvent

logger = logging.getLogger(__name__)
MAX_ACTION_CHARACTERS = 200
MAX_ADDRESS_CHARACTERS = 64


def record(principal: Principal, action: str, status: int, request_id: str, address: str | None) -> None:
    """One line of the audit. Where the database is away, the log has it."""
    about: dict[str, Any] = {
        "tenant_id": principal.tenant_id,
        "key_id": principal.key_id,
        "action": _kept(action, MAX_ACTION_CHARACTERS),
        "status": status,
        "request_id": request_id,
        # A header's text where proxies are trusted.
        "address": None if address is None else _kept(address, MAX_ADDRESS_CHARACTERS),
    }
    try:
        with session_scope() as session:
            session.add(AuditEvent(id=new_id("aud"), created_at=database_now(session), **about))
    except SQLAlchemyError as error:
        logger.error("a line of the audit is not kept (%s)", type(error).__name__, extra=about)


def _kept(text: str, most: int) -> str:
    """What PostgreSQL takes: a line that it refuses would be one that is missing."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")[:most]
