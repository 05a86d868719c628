"""Who asks, and what that allows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from app.models.tenancy import ALL_TENANTS
from app.platform.setting_types import TENANT_PATTERN
from app.platform.sign_in_settings import Role

__all__ = ["TENANT_PATTERN", "Principal", "Scope"]

Scope = Literal["read", "write", "admin", "metrics", "worker", "worker:auto", "worker:cpu", "worker:cuda"]
SCOPES: tuple[Scope, ...] = ("read", "write", "admin", "metrics")
"""Of clients."""
INCLUDED_IN: Mapping[Scope, frozenset[str]] = {
    "read": frozenset({"read", "write", "admin"}),
    "write": frozenset({"write", "admin"}),
    "admin": frozenset({"admin"}),
    "metrics": frozenset({"metrics"}),
}
"""The scopes that give each of them: admin includes write, and write includes read."""
WORKER: Scope = "worker"
WORKER_SCOPES: Mapping[Scope, tuple[str, ...]] = {
    WORKER: ("auto", "cpu", "cuda"),
    "worker:auto": ("auto",),
    "worker:cpu": ("cpu",),
    "worker:cuda": ("cuda",),
}
"""Of workers that reach the service over HTTP alone, with the devices of the jobs that they may claim."""
ROLE_SCOPES: Mapping[Role, frozenset[str]] = {
    "reader": frozenset({"read"}),
    "writer": frozenset({"read", "write"}),
    "admin": frozenset({"read", "write", "admin"}),
    "operator": frozenset(SCOPES),
}
"""What people may do, by their role."""

LOCAL_TENANT = "local"
SIGN_IN_PATHS = frozenset({"/ui/sign-in", "/ui/sign-out", "/ui/sign-in/provider", "/ui/sign-in/callback"})
OPEN_PATHS = frozenset({"/healthz", "/readyz"}) | SIGN_IN_PATHS
"""Those that need no key."""
ADMIN_PATHS = ("/keys", "/audit", "/quotas")
METRICS_PATH = "/metrics"
CHOICE_PATH = "/ui/tenant"
"""Where the page sends the choice of a tenant: one's own doing, whatever was chosen before, and no change."""
WORKER_PATH = "/leases"
"""For workers, who can do nothing else."""


@dataclass(frozen=True)
class Principal:
    """The tenant a request acts for, and what it may do."""

    tenant_id: str
    scopes: frozenset[str]
    key_id: str | None = None
    """None for people, for the operator's key of the settings, and for anyone where no key was ever made."""
    secret_number: int | None = None
    """Which secret of the key it came with."""
    name: str = ""
    """Name of the key or of the person; empty where none was needed."""
    operator: bool = False
    """Whether it may manage the keys of all tenants, and act for each."""
    named_tenant: bool = False
    """Whether the tenant was named, instead of being one's own."""
    person: str | None = None
    """Of a person, the subject that the sign-in provider knows them by."""
    roles: tuple[tuple[str, Role], ...] = ()
    """Of a person, tenants in order of their names, each with the role there."""
    must_choose: bool = False
    """Whether one of several tenants has to be named, as no page shows which one it is."""
    credential: str = ""
    """What it came with, as `app.access.still_open` knows it; nothing secret is in it."""

    @property
    def anonymous(self) -> bool:
        """Whether it came without a key, as everybody does to a server without any."""
        return self.operator and not self.name

    @property
    def sees_all(self) -> bool:
        """Whether it looks at the rows of all tenants, and changes none."""
        return self.tenant_id == ALL_TENANTS and not self.is_worker

    @property
    def is_worker(self) -> bool:
        """Whether its key is a worker's; of the tenant ALL_TENANTS it serves all."""
        return not self.scopes.isdisjoint(WORKER_SCOPES)

    @property
    def worker_devices(self) -> frozenset[str]:
        """Devices of the jobs that it may claim."""
        return frozenset(
            device for scope, devices in WORKER_SCOPES.items() if scope in self.scopes for device in devices
        )

    @property
    def manages_all_keys(self) -> bool:
        """Whether keys of all tenants are there for it: where the operator named none."""
        return self.operator and not self.named_tenant

    @property
    def listed_scopes(self) -> list[str]:
        """Its scopes, the widest of a client last."""
        return [scope for scope in (*SCOPES, *WORKER_SCOPES) if scope in self.scopes]

    @property
    def rights(self) -> str:
        """What it may do, in words; empty for the operator, who may do all."""
        if self.operator:
            return ""
        if self.person is not None:
            return dict(self.roles).get(self.tenant_id, "")
        return ", ".join(self.listed_scopes)

    def may(self, scope: Scope) -> bool:
        """Whether one of its scopes is, or includes, `scope`; no client has a worker's, nor the other way."""
        return self.is_worker if scope in WORKER_SCOPES else bool(self.scopes & INCLUDED_IN[scope])

    def acting_for(self, tenant_id: str) -> Principal:
        """Itself in that tenant, which has to be one that it may name."""
        mine = replace(self, tenant_id=tenant_id, named_tenant=True, must_choose=False)
        if self.operator or self.person is None:
            return mine
        return replace(mine, scopes=ROLE_SCOPES[dict(self.roles)[tenant_id]])


OPERATOR = Principal(LOCAL_TENANT, frozenset(SCOPES), name="operator", operator=True, credential="operator")
ANYONE = replace(OPERATOR, name="", credential="")
"""Whoever asks a server without keys, or for what needs no key."""


def needed(method: str, path: str) -> Scope:
    """What a request needs."""
    if path == WORKER_PATH or path.startswith(f"{WORKER_PATH}/"):
        return WORKER
    if any(path == p or path.startswith(f"{p}/") for p in ADMIN_PATHS):
        return "admin"
    if path == METRICS_PATH:
        return "metrics"
    return "read" if method in ("GET", "HEAD", "OPTIONS") or path == CHOICE_PATH else "write"


def lacks(principal: Principal, scope: Scope) -> str:
    """Why that is refused, and who can help."""
    if scope in WORKER_SCOPES:
        return (
            "This is for workers, and needs a key with the scope worker. The operator (DFAD_API_KEY of the "
            "server) makes such keys, which open nothing else."
        )
    if principal.person is not None:
        where = f"in the tenant {principal.tenant_id}" if scope != "metrics" else "here"
        role = {"read": "reader", "write": "writer", "admin": "admin", "metrics": "operator"}[scope]
        return (
            f"Your groups give you the role {principal.rights} {where}, and this needs the role {role}. "
            "Ask whoever manages the groups at the sign-in provider for one that has it."
        )
    who = "The operator's key (DFAD_API_KEY of the server)"
    if scope != "metrics":
        who = "An admin key, or the operator's (DFAD_API_KEY of the server),"
    return f"The key does not have the scope {scope}. {who} can make one that has it."
