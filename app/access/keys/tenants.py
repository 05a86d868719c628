"""Which tenants there are. They have no table: a tenant is whoever has a key or a job."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import InstrumentedAttribute

from app.access.keys.principal import LOCAL_TENANT
from app.models import ApiKey, Job
from app.models.tenancy import ALL_TENANTS, as_system


def tenant_names(session: Session) -> list[str]:
    """All tenants, sorted; `local` is always among them."""
    with as_system():
        found = {LOCAL_TENANT, *_values(session, ApiKey.tenant_id), *_values(session, Job.tenant_id)}
    return sorted(found - {ALL_TENANTS})  # of keys of workers that serve everybody


def _values(session: Session, column: InstrumentedAttribute[str]) -> list[str]:
    """Every value of an indexed column: one look into the index for each, however many rows there are."""
    values = select(func.min(column).label("value")).cte("tenants", recursive=True)
    following = select(func.min(column)).where(column > values.c.value).scalar_subquery()
    values = values.union_all(select(following).where(values.c.value.is_not(None)))
    return list(session.scalars(select(values.c.value).where(values.c.value.is_not(None))))
