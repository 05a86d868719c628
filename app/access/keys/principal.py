"""Who asks, and what that allows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from app.models.tenancy import ALL_TENANTS

Scope = Literal["read", "write", "admin", "worker", "worker:auto", "worker:cpu", "worker:cuda"]
SCOPES: tuple[Scope, ...] = ("read", "write", "admin")
"""Of clients; each includes those before it."""
WORKER: Scope = "worker"
WORKER_SCOPES: dict[Scope, tuple[str, ...]] = {
    WORKER: ("auto", "cpu", "cuda"),
    "worker:auto": ("auto",),
    "worker:cpu": ("cpu",),
    "worker:cuda": ("cuda",),
}
"""Of workers that reach the service over HTTP alone, with the devices of the jobs that they may claim."""

LOCAL_TENANT = "local"
TENANT_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,63}$"
OPEN_PATHS = frozenset({"/healthz", "/readyz", "/ui/sign-in", "/ui/sign-out"})
"""Those that need no key."""
ADMIN_PATHS = ("/keys", "/audit", "/quotas")
WORKER_PATH = "/leases"
"""For workers, who can do nothing else."""


@dataclass(frozen=True)
class Principal:
    """The tenant a request acts for, and what it may do."""

    tenant_id: str
    scopes: frozenset[str]
    key_id: str | None = None
    """None for the operator: the key of the settings, or anyone where no key was ever made."""
    name: str = ""
    """Name of the key; empty where none was needed."""
    named_tenant: bool = False
    """Whether the operator named the tenant, instead of acting for their own."""

    @property
    def operator(self) -> bool:
        """Whether it may manage the keys of all tenants, and act for each."""
        return self.key_id is None

    @property
    def anonymous(self) -> bool:
        """Whether it came without a key, as everybody does to a server without any."""
        return self.key_id is None and not self.name

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
        """Scopes, the widest last."""
        return [scope for scope in (*SCOPES, *WORKER_SCOPES) if scope in self.scopes]

    def may(self, scope: Scope) -> bool:
        """admin includes write, and write includes read; none of them includes worker, nor the other way."""
        if scope in WORKER_SCOPES:
            return self.is_worker
        return bool(self.scopes & set(SCOPES[SCOPES.index(scope) :]))


OPERATOR = Principal(LOCAL_TENANT, frozenset(SCOPES), name="operator")
ANYONE = replace(OPERATOR, name="")
"""Whoever asks a server without keys, or for what needs no key."""


def needed(method: str, path: str) -> Scope:
    """What a request needs."""
    if path == WORKER_PATH or path.startswith(f"{WORKER_PATH}/"):
        return WORKER
    if any(path == p or path.startswith(f"{p}/") for p in ADMIN_PATHS):
        return "admin"
    return "read" if method in ("GET", "HEAD", "OPTIONS") else "write"
