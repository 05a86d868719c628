"""Writing down what was changed."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy.exc import SQLAlchemyError

from app.access.keys.principal import Principal
from app.models import AuditEvent
from app.models.tenancy import as_system
from app.platform.db import database_now, session_scope
from app.platform.ids import new_id

logger = logging.getLogger(__name__)
MAX_ACTION_CHARACTERS = 200
MAX_ADDRESS_CHARACTERS = 64
_ID = re.compile(r"[a-z]{2,4}_[0-9a-f]{32}")


def record(
    principal: Principal | None,
    action: str,
    status: int,
    request_id: str,
    address: str | None,
    *,
    subject_ids: Sequence[str | None] = (None,),
    person: str | None = None,
) -> None:
    """A line of the audit for each thing that was made or changed.

    Where the database is away, the log has it. `principal`: None where nobody is known to have done it, as at
    a sign-in that failed; `person`: who it was for the sign-in provider all the same.
    """
    about: dict[str, Any] = {
        "tenant_id": None if principal is None else principal.tenant_id,
        "key_id": None if principal is None else principal.key_id,
        "secret_number": None if principal is None else principal.secret_number,
        "person": person if principal is None else principal.person,
        "operator": principal is not None and principal.operator,
        "action": _kept(action, MAX_ACTION_CHARACTERS),
        "status": status,
        "request_id": request_id,
        # A header's text where proxies are trusted.
        "address": None if address is None else _kept(address, MAX_ADDRESS_CHARACTERS),
    }
    try:
        with as_system(), session_scope() as session:
            now = database_now(session)
            for subject_id in subject_ids:
                line = AuditEvent(id=new_id("aud", now), created_at=now, subject_id=subject_id, **about)
                session.add(line)
    except SQLAlchemyError as error:
        logger.error("a line of the audit is not kept (%s)", type(error).__name__, extra=about)


def subject_of(path: str, location: str | None) -> str | None:
    """The id of what a successful request to `path` made, as its `Location` says, or else changed."""
    changed = _ID.findall(path)
    made = [one for one in _ID.findall(urlsplit(location or "").path) if one not in changed]
    return next(iter([*made[-1:], *changed[-1:]]), None)


def _kept(text: str, most: int) -> str:
    """What PostgreSQL takes: a line that it refuses would be one that is missing."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")[:most]
