"""Which quota holds for a tenant: DFAD_QUOTAS and what the operator set while the service runs.

Each limit is looked for by itself, and the first place that sets it holds:

1. the tenant's own row in the database,
2. the tenant's own entry in DFAD_QUOTAS, where a limit that is written as null means none,
3. everybody's row (`*`) in the database,
4. everybody's entry (`*`) in DFAD_QUOTAS.

Where none sets it there is no limit. A null in the database sets nothing.

Server processes keep the rows in memory and read them again every few seconds (`app.health.watcher`), the
process that changed one at once: no request asks the database for its quota. Workers read them in the
transaction of each claim.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.models import StoredQuota
from app.platform.db import database_now
from app.platform.settings import Quota, Settings, get_settings

EVERYBODY = "*"
LIMITS = tuple(Quota.model_fields)


def read(session: Session) -> dict[str, Quota]:
    """All rows, by tenant."""
    columns = [getattr(StoredQuota, name) for name in LIMITS]
    rows = session.execute(select(StoredQuota.tenant_id, *columns))
    return {row.tenant_id: Quota(**{name: getattr(row, name) for name in LIMITS}) for row in rows}


class _Known:
    """The rows as this process read them last, and what followed from them: every request asks."""

    def __init__(self) -> None:
        self._reading = threading.Lock()
        #: Replaced as a whole, so that no thread sees rows of one read with what followed from another.
        self._state: tuple[Settings | None, Mapping[str, Quota], dict[str, Quota]] = (None, {}, {})

    def refresh(self, session: Session) -> None:
        """Read them again; one read after the other, so that an older one never replaces a newer one."""
        with self._reading:
            self._set(get_settings(), read(session))

    def _set(self, settings: Settings, rows: Mapping[str, Quota]) -> None:
        if settings is not self._state[0] or rows != self._state[1]:
            self._state = settings, rows, {}

    def quota_of(self, tenant_id: str) -> Quota:
        """What holds for the tenant; by the settings alone where no row has been read yet."""
        if self._state[0] is not get_settings():  # another database's rows
            self._set(get_settings(), {})
        _, rows, holds = self._state
        if tenant_id not in holds:
            holds[tenant_id] = _merged(tenant_id, rows)
        return holds[tenant_id]


_known = _Known()


def refresh(session: Session) -> None:
    """Read the rows again, for this process."""
    _known.refresh(session)


def quota_of(tenant_id: str, stored: Mapping[str, Quota] | None = None) -> Quota:
    """The quota that holds for the tenant, or for everybody else (`*`); None stands for no limit.

    `stored`: the rows of the database; as this process read them last, if they are not given.
    """
    return _known.quota_of(tenant_id) if stored is None else _merged(tenant_id, stored)


def _merged(tenant_id: str, stored: Mapping[str, Quota]) -> Quota:
    configured, values = get_settings().quotas, dict[str, int | None]()
    for name in (EVERYBODY, tenant_id):
        values |= configured.get(name, Quota()).model_dump(exclude_unset=True)
        values |= stored.get(name, Quota()).model_dump(exclude_none=True)
    return Quota(**values)


def running_limits(session: Session) -> tuple[int | None, dict[str, int | None]]:
    """How many jobs of a tenant may run at once: everybody's number, and those of tenants with their own."""
    stored = read(session)
    own = {*stored, *get_settings().quotas} - {EVERYBODY}
    everybodys = quota_of(EVERYBODY, stored).running_jobs
    return everybodys, {tenant: quota_of(tenant, stored).running_jobs for tenant in own}


def put(session: Session, tenant_id: str, quota: Quota) -> None:
    """Replace the tenant's row."""
    values: dict[str, Any] = quota.model_dump()
    session.merge(StoredQuota(tenant_id=tenant_id, updated_at=database_now(session), **values))
    session.flush()


def remove(session: Session, tenant_id: str) -> None:
    """Delete the tenant's row, if there is one."""
    row = session.get(StoredQuota, tenant_id)
    if row is not None:
        session.delete(row)
        session.flush()
