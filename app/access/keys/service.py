"""Making, finding and revoking keys."""

from __future__ import annotations

import hashlib
import hmac
import time
from datetime import datetime, timedelta

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.access.keys.principal import ANYONE, LOCAL_TENANT, OPERATOR, WORKER_SCOPES, Principal
from app.access.keys.tokens import digest_of, new_secret, parse, token_of
from app.models import ApiKey
from app.models.tenancy import as_system
from app.platform.db import database_now, hold, read_scope, session_scope
from app.platform.errors import NotFound, ServiceError
from app.platform.ids import new_id, require_id
from app.platform.settings import Settings, get_settings

TRUSTED_SECONDS = 1.0
REMEMBERED = 1000
USED_EVERY = timedelta(minutes=1)
"""How exactly `last_used_at` is kept: a write at every request would be felt."""
KEYS_LOCK = "keys"
NO_DIGEST = "0" * 64
databases_with_keys: set[str] = set()
"""Addresses of databases in which this process has seen a key."""
FIRST_KEY = (
    "Once there is a key every request needs one, so the first has to manage the others: make it with the "
    f"scope admin, for the tenant {LOCAL_TENANT}, without an expiry (`dfad keys create NAME --scope admin`). "
    "Or start the server with DFAD_API_KEY, the operator's key, which keys of other tenants need anyway."
)
LAST_ADMIN_KEY = (
    "It is the tenant's last key with the scope admin that never expires; without one nobody could manage "
    "its keys. Make another one first, or start the server with DFAD_API_KEY, the operator's key."
)


def create_key(
    session: Session,
    principal: Principal,
    *,
    tenant_id: str,
    name: str,
    scopes: list[str],
    expires_at: datetime | None,
) -> tuple[ApiKey, str]:
    """A new key, made by `principal`, and its token, which nobody can be shown again.

    Before anything is locked in its transaction. Raises ServiceError 409 `first_key_must_be_admin` where the
    server has no key yet and this one could not manage the others, since it would lock its owner out, and 403
    for the scope metrics, which the operator alone gives.
    """
    check_gives(principal, scopes)
    hold(session, KEYS_LOCK)
    if principal.anonymous:
        with as_system():
            known = session.scalar(select(ApiKey.id).limit(1))
        if known is not None:
            raise unauthorized()  # somebody else made the first one meanwhile
        if "admin" not in scopes or tenant_id != LOCAL_TENANT or expires_at is not None:
            raise ServiceError(409, "first_key_must_be_admin", FIRST_KEY)
    secret = new_secret()
    key = ApiKey(
        id=new_id("key"),
        tenant_id=tenant_id,
        name=name,
        scopes=scopes,
        digest=digest_of(secret),
        created_at=database_now(session),
        expires_at=expires_at,
    )
    session.add(key)
    session.flush()
    return key, token_of(key.id, secret)


def check_gives(principal: Principal, scopes: list[str]) -> None:
    """Raise ServiceError 403 where a key with these scopes would open more than its maker may give.

    What the metrics tell is of all tenants, and what workers do is bounded by no quota.
    """
    if principal.operator:
        return
    if kept := [scope for scope in scopes if scope == "metrics" or scope in WORKER_SCOPES]:
        raise ServiceError(
            403, "forbidden", f"The operator alone makes and rotates keys with the scope {kept[0]}."
        )


def revoke_key(session: Session, key_id: str) -> None:
    """From now on none of its secrets opens anything. Idempotent.

    Before anything is locked in its transaction.
    Raises NotFound for a key that is not there, and ServiceError 409 `last_admin_key` where nobody, and no
    operator, could manage the tenant's keys without it.
    """
    key = held_key(session, key_id)
    if key.revoked_at is not None:
        return
    settings = get_settings()
    managed = settings.api_key is not None or settings.oidc_admins(key.tenant_id)
    if not managed and _is_last_admin(session, key):
        raise ServiceError(409, "last_admin_key", LAST_ADMIN_KEY)
    key.revoked_at = database_now(session)


def held_key(session: Session, key_id: str) -> ApiKey:
    """The key, which no other transaction changes until the end of this one.

    Raises NotFound, and InvalidBody for what is no id.
    """
    require_id(key_id, "key", "/key_id")
    hold(session, KEYS_LOCK)
    key = session.scalar(select(ApiKey).where(ApiKey.id == key_id))
    if key is None:
        raise NotFound("key")
    return key


def _is_last_admin(session: Session, key: ApiKey) -> bool:
    """Whether `key` alone manages the keys of its tenant for good."""
    lasting = (ApiKey.revoked_at.is_(None), ApiKey.expires_at.is_(None))
    of_tenant = session.scalars(select(ApiKey).where(ApiKey.tenant_id == key.tenant_id, *lasting))
    return [one.id for one in of_tenant if "admin" in one.scopes] == [key.id]


class Recent:
    """Who came a moment ago, so that a client that polls is not looked up each time.

    What another process revokes is refused here TRUSTED_SECONDS later; what this one does, at once.
    """

    def __init__(self) -> None:
        #: By digest: the keys themselves are not kept.
        self._known: dict[bytes, tuple[float, Principal]] = {}

    def find(self, authorization: str) -> Principal | None:
        """Who came with this header less than TRUSTED_SECONDS ago."""
        until, principal = self._known.get(_digest(authorization), (0.0, None))
        return principal if time.monotonic() < until else None

    def add(self, authorization: str, principal: Principal) -> None:
        """Remember; the oldest are forgotten when there are many."""
        while len(self._known) >= REMEMBERED:
            self._known.pop(next(iter(self._known)), None)
        self._known[_digest(authorization)] = time.monotonic() + TRUSTED_SECONDS, principal

    def clear(self) -> None:
        """A key was made or revoked here."""
        self._known.clear()


def _digest(authorization: str) -> bytes:
    return hashlib.sha256(authorization.encode("utf-8", "surrogateescape")).digest()


recent = Recent()


def look_up(authorization: str, settings: Settings) -> tuple[Principal, bool]:
    """Who comes with this Authorization header, for whichever tenant, and whether `note_use` has to follow.

    It waits for no writer by itself. See Recent. Raises ServiceError 401.
    """
    found = _look_up(authorization, settings)
    recent.add(authorization, found[0])
    return found


def note_use(principal: Principal) -> None:
    """Keep when the secret of the key was used last."""
    mine, number = update(ApiKey).where(ApiKey.id == principal.key_id), principal.secret_number
    with as_system(), session_scope() as session:
        now = database_now(session)
        session.execute(mine.where(ApiKey.secret_number == number).values(last_used_at=now))
        session.execute(mine.where(ApiKey.previous_number == number).values(previous_last_used_at=now))


def _look_up(authorization: str, settings: Settings) -> tuple[Principal, bool]:
    """Who it is by the settings and the database.

    Without any key, in the settings or ever made in the database, everybody is the operator: the server
    listens on loopback alone then.
    """
    if not authorization:
        if is_open_to_all(settings):
            return ANYONE, False
        raise unauthorized()
    token = _token(authorization)
    if token is None:
        raise unauthorized()
    if _is_operators(token, settings):
        return OPERATOR, False
    found = _find(token)
    if found is not None:
        return found
    if is_open_to_all(settings):
        return ANYONE, False
    raise unauthorized()


def _token(authorization: str) -> str | None:
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _is_operators(token: str, settings: Settings) -> bool:
    fixed = settings.api_key
    return fixed is not None and hmac.compare_digest(token.encode(), fixed.get_secret_value().encode())


def may_open(authorization: str, settings: Settings) -> bool:
    """Whether it is worth looking the key up: it has the form of ours, or is the operator's."""
    token = _token(authorization)
    return token is not None and (parse(token) is not None or _is_operators(token, settings))


def is_open_to_all(settings: Settings) -> bool:
    """Whether nobody needs a key: there is none, nor a provider, and this machine alone can connect."""
    alone = settings.api_key is None and settings.oidc_issuer is None and settings.is_loopback
    return alone and not any_keys()


def any_keys() -> bool:
    """Whether a key was ever made: revoking the last one must not open the service to everybody.

    Nor must an older copy of the database that is put in its place: the process remembers that it saw one.
    """
    if get_settings().resolved_database_url in databases_with_keys:
        return True
    with as_system(), read_scope() as session:
        found = session.scalar(select(ApiKey.id).limit(1)) is not None
    if found:
        remember_keys()
    return found


def remember_keys() -> None:
    """A key was made or found here."""
    databases_with_keys.add(get_settings().resolved_database_url)


def _find(token: str) -> tuple[Principal, bool] | None:
    """Whose key it is, of all tenants' keys, for who asks is not known before; whether its use is unnoted."""
    parsed = parse(token)
    if parsed is None:
        return None
    key_id, secret = parsed
    with as_system(), read_scope() as session:
        key = session.get(ApiKey, key_id)
        now = database_now(session)
    # Both compared in any case, so that the time tells nothing of which ids exist.
    digest = digest_of(secret)
    current = hmac.compare_digest(digest, key.digest if key else NO_DIGEST)
    previous = hmac.compare_digest(digest, (key and key.previous_digest) or NO_DIGEST)
    if key is None or not (current or previous) or key.revoked_at is not None:
        return None
    remember_keys()
    if key.expires_at is not None and key.expires_at <= now:
        return None
    if not current and (key.previous_expires_at is None or key.previous_expires_at <= now):
        return None
    number = key.secret_number if current else key.previous_number
    used = key.last_used_at if current else key.previous_last_used_at
    found = Principal(
        key.tenant_id,
        frozenset(key.scopes),
        key_id=key_id,
        secret_number=number,
        name=key.name,
        credential=f"{key_id}/{number}",
    )
    return found, used is None or now - used >= USED_EVERY


def unauthorized() -> ServiceError:
    """The answer to no key, and to one that opens nothing."""
    challenge = {"WWW-Authenticate": "Bearer"}
    return ServiceError(401, "unauthorized", "A valid API key is needed.", headers=challenge)
