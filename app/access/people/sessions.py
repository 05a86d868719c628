"""People who are signed in on the page: a browser keeps a secret, the database its HMAC and who it is of.

A session is new at every sign-in, so that nobody can have set one beforehand, and ends with the sign-out or
after SESSION_SECONDS, however much it is used.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Collection
from datetime import timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.access.keys.principal import Principal
from app.access.keys.tokens import digest_of, new_secret
from app.access.people.person import Person, principal_of
from app.models import PageSession
from app.models.tenancy import as_system
from app.platform.db import database_now, read_scope, session_scope
from app.platform.errors import ServiceError
from app.platform.ids import new_id
from app.platform.settings import Settings

SESSION_SECONDS = 12 * 3600
MAX_ID_TOKEN_CHARACTERS = 16 * 2**10
_FORM = re.compile(r"dfads_([0-9a-f]{32})_([A-Za-z0-9_-]{43})")
_NO_DIGEST = "0" * 64


def has_form(text: str) -> bool:
    """Whether it could be what a browser keeps."""
    return _FORM.fullmatch(text) is not None


def open_session(person: Person, id_token: str, issuer: str) -> tuple[str, str]:
    """A new session: its id, and what the browser keeps. Those that are over are deleted."""
    secret = new_secret()
    with as_system(), session_scope() as session:
        now = database_now(session)
        session.execute(delete(PageSession).where(PageSession.expires_at <= now))
        row = PageSession(
            id=new_id("ses"),
            digest=digest_of(secret),
            issuer=issuer,
            subject=person.subject,
            name=person.name,
            groups=list(person.groups),
            id_token=id_token if len(id_token) <= MAX_ID_TOKEN_CHARACTERS else None,
            created_at=now,
            expires_at=now + timedelta(seconds=SESSION_SECONDS),
        )
        session.add(row)
    return row.id, f"dfads_{row.id.removeprefix('ses_')}_{secret}"


def principal_of_session(cookie: str, settings: Settings) -> Principal:
    """Who is signed in with it. Raises ServiceError 401, and 403 `no_role` where the settings changed."""
    with as_system(), read_scope() as session:
        row = _find(session, cookie)
    if row is None or row.issuer != settings.oidc_issuer:
        raise ServiceError(401, "unauthorized", "The sign-in is over: sign in again.")
    person = Person(row.subject, row.name, tuple(row.groups))
    return principal_of(person, settings, credential=row.id)


def close_session(cookie: str) -> str | None:
    """End it; the ID token that it began with."""
    with as_system(), session_scope() as session:
        row = _find(session, cookie)
        if row is None:
            return None
        session.execute(delete(PageSession).where(PageSession.id == row.id))
        return row.id_token


def open_sessions(session: Session, ids: Collection[str]) -> set[str]:
    """Those that are not over."""
    lasting = PageSession.expires_at > database_now(session)
    return set(session.scalars(select(PageSession.id).where(PageSession.id.in_(ids), lasting)))


def _find(session: Session, cookie: str) -> PageSession | None:
    parsed = _FORM.fullmatch(cookie)
    if parsed is None:
        return None
    row = session.get(PageSession, f"ses_{parsed[1]}")
    # Compared in any case, so that the time tells nothing of which ids exist.
    same = hmac.compare_digest(digest_of(parsed[2]), row.digest if row else _NO_DIGEST)
    return row if row is not None and same and row.expires_at > database_now(session) else None
