"""Whether what somebody came with still opens the service: for answers that last long."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from app.access.keys.principal import ANYONE, OPERATOR, Principal
from app.access.keys.service import is_open_to_all, unauthorized
from app.access.people.sessions import open_sessions
from app.models import ApiKey
from app.models.tenancy import as_system
from app.platform.db import database_now, read_scope
from app.platform.settings import get_settings


def open_credentials(credentials: Collection[str]) -> set[str]:
    """Those of them (`Principal.credential`) that still open the service."""
    settings, now_open = get_settings(), set[str]()
    keys = [name.partition("/")[0] for name in credentials if name.startswith("key_")]
    with as_system(), read_scope() as session:
        if keys:
            now_open |= _open_secrets(session, keys)
        people = [name for name in credentials if name.startswith("ses_")]
        if people:
            now_open |= open_sessions(session, people)
        tokens = [name for name in credentials if name.startswith("token/")]
        if tokens:
            now = database_now(session).timestamp()
            now_open |= {name for name in tokens if int(name.split("/")[1]) > now}
    if settings.api_key is not None:
        now_open |= {OPERATOR.credential}
    if ANYONE.credential in credentials and is_open_to_all(settings):
        now_open |= {ANYONE.credential}
    return now_open & set(credentials)


def _open_secrets(session: Session, key_ids: Collection[str]) -> set[str]:
    now = database_now(session)
    good = (ApiKey.revoked_at.is_(None), or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > now))
    found = set[str]()
    for key in session.scalars(select(ApiKey).where(ApiKey.id.in_(key_ids), *good)):
        found.add(f"{key.id}/{key.secret_number}")
        if key.previous_expires_at is not None and key.previous_expires_at > now:
            found.add(f"{key.id}/{key.previous_number}")
    return found


def check_open(principal: Principal) -> None:
    """Raise ServiceError 401 where the principal's key was revoked, or expired, since it was looked up."""
    if principal.credential not in open_credentials([principal.credential]):
        raise unauthorized()
