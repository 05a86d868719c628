"""The one place that keeps tenants apart.

While a request is served, every SELECT, UPDATE and DELETE of the ORM sees the rows of its tenant alone,
whatever its own WHERE says, and nothing can be added for another. For the operator who looks at all tenants
(`ALL_TENANTS`) there are the rows of all, and none can be changed. Workers, and what the service does on its
own account (`as_system`), see and change all rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Executable, event, select, true
from sqlalchemy.orm import ORMExecuteState, Session, UOWTransaction, with_loader_criteria

from app.models import Job
from app.platform.db import Base

ALL_TENANTS = "*"
"""In place of a tenant's name: the rows of all tenants, to be looked at and not changed."""

_tenant: ContextVar[str | None] = ContextVar("tenant", default=None)


@contextmanager
def acting_for(tenant_id: str) -> Iterator[None]:
    """For the block (and the threads and tasks it starts) only this tenant's rows exist.

    With ALL_TENANTS all rows exist, and a change of any raises RuntimeError.
    """
    token = _tenant.set(tenant_id)
    try:
        yield
    finally:
        _tenant.reset(token)


@contextmanager
def as_system() -> Iterator[None]:
    """For the block all rows exist: for what is done on the service's account, never for an answer."""
    token = _tenant.set(None)
    try:
        yield
    finally:
        _tenant.reset(token)


def current_tenant() -> str | None:
    """Whose rows exist now, ALL_TENANTS included; None for the service itself."""
    return _tenant.get()


def owned_by(model: Any, tenant_id: str) -> ColumnElement[bool]:
    """Rows of `model` that belong to the tenant; every row for ALL_TENANTS."""
    if tenant_id == ALL_TENANTS:
        return true()
    owned: ColumnElement[bool] = model.tenant_id == tenant_id
    return owned


def owned_models() -> tuple[list[Any], list[Any]]:
    """Models with a tenant of their own, and those that are a part of a job."""
    models = [mapper.class_ for mapper in Base.registry.mappers]
    own = [model for model in models if hasattr(model, "tenant_id")]
    parts = [model for model in models if model not in own and hasattr(model, "job_id")]
    return own, parts


@event.listens_for(Session, "do_orm_execute")
def _only_its_own(state: ORMExecuteState) -> None:
    tenant_id = _tenant.get()
    if tenant_id is None or not (state.is_select or state.is_update or state.is_delete):
        return
    if tenant_id == ALL_TENANTS:
        if not state.is_select:
            raise RuntimeError(_NO_CHANGE)
        return
    if state.statement in _standing:
        state.statement = _ruled(state.statement, tenant_id)
    else:
        state.statement = state.statement.options(*_rules(tenant_id))


_NO_CHANGE = "a change while the rows of all tenants are looked at"
_standing: set[Any] = set()
_Made = TypeVar("_Made", bound=Executable)


def standing(statement: _Made) -> _Made:
    """`statement`, which is made once and executed often: then its rules, too, are added once a tenant."""
    _standing.add(statement)
    return statement


@lru_cache(maxsize=4096)
def _ruled(statement: Any, tenant_id: str) -> Any:
    return statement.options(*_rules(tenant_id))


@lru_cache(maxsize=1024)
def _rules(tenant_id: str) -> tuple[Any, ...]:
    """What every statement gets; made once a tenant, as making it costs more than a small query."""
    own, parts = owned_models()
    jobs = select(Job.id).where(Job.tenant_id == tenant_id)
    rules = [with_loader_criteria(m, m.tenant_id == tenant_id, include_aliases=True) for m in own]
    rules += [with_loader_criteria(m, m.job_id.in_(jobs), include_aliases=True) for m in parts]
    return tuple(rules)


@event.listens_for(Session, "before_flush")
def _nothing_for_another(session: Session, _context: UOWTransaction, _instances: Any) -> None:
    tenant_id = _tenant.get()
    if tenant_id is None:
        return
    if tenant_id == ALL_TENANTS and (session.new or session.dirty or session.deleted):
        raise RuntimeError(_NO_CHANGE)
    for row in session.new:
        if getattr(row, "tenant_id", tenant_id) != tenant_id:
            raise RuntimeError(f"a {type(row).__name__} of another tenant")
