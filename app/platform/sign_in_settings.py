"""The settings of sign-in by OpenID Connect, and of what groups there allow here."""

from __future__ import annotations

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, field_validator, model_validator

from app.platform.setting_types import TENANT_PATTERN, Group, Secret

Role = Literal["reader", "writer", "admin", "operator"]
"""Of a person: what their groups at the sign-in provider allow them."""
LOOPBACK = ("localhost", "127.0.0.1", "::1")
NO_SPACE = r"^[\x21-\x7e]+$"
MAX_RULES = 1000
Word = Annotated[str, Field(pattern=NO_SPACE, max_length=256)]


class RoleRule(BaseModel, extra="forbid", frozen=True):
    """What the members of one group are in one tenant, or that they are operators."""

    group: Annotated[str, Field(min_length=1, max_length=256)]
    tenant: Annotated[str, Field(pattern=TENANT_PATTERN)] | None = None
    role: Role

    @model_validator(mode="after")
    def _tenant_where_there_is_one(self) -> Self:
        if self.role == "operator" and self.tenant is not None:
            raise ValueError("the role operator is of all tenants: name none")
        if self.role != "operator" and self.tenant is None:
            raise ValueError(f"the role {self.role} needs a tenant")
        return self


class SignIn(Group):
    """Sign-in by OpenID Connect

    Read by the server alone. People sign in on the page through a provider, and send its access tokens to the
    API; their groups there say what they may do here.
    """

    oidc_issuer: str | None = None
    """The provider's issuer, as it names itself: `https://id.example.com/realms/main`. Not set: nobody signs
    in but with a key."""
    oidc_client_id: Word | None = None
    """The client that the page is at the provider. Not set: the page takes keys alone."""
    oidc_client_secret: Secret | None = None
    """That client's secret. Not set: it is a public client, which PKCE protects alone."""
    oidc_audience: Word | None = None
    """Audience of the access tokens that the API takes. Not set: it takes none. Another one than the client,
    so that no ID token passes for an access token."""
    oidc_scopes: Annotated[str, Field(pattern=r"^[\x21-\x7e]+( [\x21-\x7e]+)*$")] = "openid profile"
    """Scopes that the page asks for, separated by spaces; `openid` is one of them. Some providers name groups
    under a scope of its own."""
    oidc_groups_claim: Word = "groups"
    """Claim with a person's groups, a list of texts or one text. Dots lead into objects:
    `realm_access.roles`."""
    oidc_roles: tuple[RoleRule, ...] = ()
    """What groups allow, as JSON: `[{"group": "vision", "tenant": "vision", "role": "writer"}, {"group":
    "platform", "role": "operator"}]`. Roles are `reader`, `writer`, `admin` (also keys and the audit of the
    tenant) and `operator` (all tenants). Of several the widest counts."""

    @field_validator("oidc_issuer")
    @classmethod
    def _is_an_issuer(cls, issuer: str | None) -> str | None:
        if issuer is None:
            return None
        try:
            url = urlsplit(issuer)
            host, _ = url.hostname, url.port
        except ValueError:
            raise ValueError("it must be an address, as https://id.example.com") from None
        if url.scheme not in ("https", "http") or not host or not issuer.isascii() or " " in issuer:
            raise ValueError("it must be an address, as https://id.example.com")
        if url.scheme == "http" and host not in LOOPBACK:
            raise ValueError("it must begin with https://, but for a provider on this machine")
        if url.query or url.fragment or url.username is not None or "?" in issuer or "#" in issuer:
            raise ValueError("it must have neither a user, nor a query, nor a fragment")
        return issuer

    @field_validator("oidc_scopes")
    @classmethod
    def _asks_for_openid(cls, scopes: str) -> str:
        if "openid" not in scopes.split(" "):
            raise ValueError("openid must be one of the scopes")
        return scopes

    @field_validator("oidc_roles")
    @classmethod
    def _not_without_end(cls, rules: tuple[RoleRule, ...]) -> tuple[RoleRule, ...]:
        if len(rules) > MAX_RULES:
            raise ValueError(f"no more than {MAX_RULES} entries")
        return rules

    @model_validator(mode="after")
    def _sign_in_is_whole(self) -> Self:
        """What is set in vain, or opens nothing, would be found out by whoever cannot sign in."""
        if self.oidc_issuer is None:
            for name in sorted(name for name in self.model_fields_set if name.startswith("oidc_")):
                raise ValueError(f"DFAD_{name.upper()} needs DFAD_OIDC_ISSUER")
            return self
        if self.oidc_client_id is None and self.oidc_audience is None:
            raise ValueError("DFAD_OIDC_ISSUER needs DFAD_OIDC_CLIENT_ID, or DFAD_OIDC_AUDIENCE, or both")
        if self.oidc_client_secret is not None and self.oidc_client_id is None:
            raise ValueError("DFAD_OIDC_CLIENT_SECRET needs DFAD_OIDC_CLIENT_ID")
        if self.oidc_audience is not None and self.oidc_audience == self.oidc_client_id:
            text = "an ID token would pass for an access token"
            raise ValueError(f"DFAD_OIDC_AUDIENCE must be another one than DFAD_OIDC_CLIENT_ID: {text}")
        if not self.oidc_roles:
            raise ValueError("DFAD_OIDC_ROLES must say what groups allow: without it nobody may do anything")
        return self

    def oidc_admins(self, tenant_id: str) -> bool:
        """Whether a group manages the tenant's keys."""
        return any(
            rule.role == "operator" or (rule.role, rule.tenant) == ("admin", tenant_id)
            for rule in self.oidc_roles
        )
