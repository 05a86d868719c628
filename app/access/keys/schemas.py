"""Keys as they are asked for and shown."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, Field, StringConstraints

from app.access.keys.principal import TENANT_PATTERN, Scope
from app.http.fields import Strict
from app.http.pagination import Page

Tenant = Annotated[str, StringConstraints(pattern=TENANT_PATTERN)]


class KeyRequest(Strict):
    """A key to be made."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")]
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=3)] = Field(default=["read", "write"])
    expires_at: AwareDatetime | None = None
    tenant_id: Tenant | None = None
    """For the operator alone; others make keys of their own tenant."""


class KeyView(BaseModel):
    """A key, without its secret."""

    id: str
    object: str = "api_key"
    tenant_id: str
    name: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


class NewKeyView(KeyView):
    """A key that was just made, with what opens the service. It is shown this once."""

    key: str
    first: bool
    """Whether it is the first of a server without the operator's: from now on every request needs a key."""


class KeyList(Page[KeyView]):
    """A page of keys, newest first."""
