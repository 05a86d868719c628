"""Keys as they are asked for and shown."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, Field, StringConstraints

from app.access.keys.principal import TENANT_PATTERN, Scope
from app.access.keys.rotation import DEFAULT_OVERLAP_SECONDS, MAX_OVERLAP_SECONDS
from app.http.fields import Strict
from app.http.pagination import Page

Tenant = Annotated[str, StringConstraints(pattern=TENANT_PATTERN)]


class KeyRequest(Strict):
    """A key to be made."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")]
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=4)] = Field(default=["read", "write"])
    expires_at: AwareDatetime | None = None
    tenant_id: Tenant | None = None
    """For the operator alone; others make keys of their own tenant."""


class RotationRequest(Strict):
    """A key's next secret."""

    overlap_seconds: Annotated[float, Field(ge=0, le=MAX_OVERLAP_SECONDS)] = DEFAULT_OVERLAP_SECONDS
    """For how long the secret before it opens the service as well."""


class SecretView(BaseModel):
    """A secret that opens the service, by its number; the audit names it so (`secret_number`)."""

    number: int
    created_at: datetime | None
    """Null for one that another has replaced."""
    expires_at: datetime | None
    last_used_at: datetime | None


class KeyView(BaseModel):
    """A key, without its secrets."""

    id: str
    object: str = "api_key"
    tenant_id: str
    name: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    secrets: list[SecretView]
    """Those that open the service: the newest, and after a rotation the one before it while it lasts."""


class RotatedKeyView(KeyView):
    """A key with a new secret: what opens the service from now on. It is shown this once."""

    key: str


class NewKeyView(KeyView):
    """A key that was just made, with what opens the service. It is shown this once."""

    key: str
    first: bool
    """Whether it is the first of a server without the operator's: from now on every request needs a key."""


class KeyList(Page[KeyView]):
    """A page of keys, newest first."""
