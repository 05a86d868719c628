"""`/keys`: for keys with the scope admin, and for the operator."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from sqlalchemy import select

from app.access.keys import service
from app.access.keys.principal import WORKER_SCOPES, Principal
from app.access.keys.rotation import rotate_key as rotate
from app.access.keys.schemas import KeyList, KeyRequest, NewKeyView, RotatedKeyView, RotationRequest
from app.access.keys.views import key_view
from app.http.json_body import JsonBody
from app.http.pagination import After, Limit, page
from app.http.parameters import KeyId
from app.models import ApiKey
from app.models.tenancy import ALL_TENANTS, as_system
from app.platform.db import database_now, read_scope, session_scope
from app.platform.errors import FieldProblem, InvalidBody, ServiceError

router = APIRouter(prefix="/keys", tags=["keys"])


def _reach(principal: Principal) -> AbstractContextManager[None]:
    """The operator manages the keys of all tenants, or of the one that was named; others their own."""
    return as_system() if principal.manages_all_keys else nullcontext()


@router.post("", status_code=201)
def create_key(
    request: Request,
    response: Response,
    asked: Annotated[KeyRequest, Depends(JsonBody(KeyRequest, {"name": "me", "scopes": ["admin"]}))],
) -> NewKeyView:
    """Make a key. The answer is the only place where it is ever shown.

    On a server without the operator's key the first one has the scope admin, is of the tenant `local` and
    never expires (`first_key_must_be_admin` otherwise). From then on every request needs a key.
    """
    made = _create(asked, request.state.principal)
    response.headers["Location"] = f"/keys/{made.id}"
    response.headers["Cache-Control"] = "no-store"
    return made


def _create(asked: KeyRequest, principal: Principal) -> NewKeyView:
    tenant_id = asked.tenant_id or principal.tenant_id
    if not WORKER_SCOPES.keys().isdisjoint(asked.scopes):
        _check_worker(asked, principal)
        if asked.tenant_id is None and principal.manages_all_keys:
            tenant_id = ALL_TENANTS
    if tenant_id not in (principal.tenant_id, ALL_TENANTS) and not principal.manages_all_keys:
        whose = "another than DFAD-Tenant names" if principal.operator else "not yours"
        raise InvalidBody(
            "Keys of another tenant are the operator's to make.", FieldProblem("/tenant_id", whose)
        )
    with _reach(principal), session_scope() as session:
        now = database_now(session)
        if asked.expires_at is not None and asked.expires_at <= now:
            raise InvalidBody(
                "The key would never open anything.", FieldProblem("/expires_at", "in the past")
            )
        key, token = service.create_key(
            session,
            principal,
            tenant_id=tenant_id,
            name=asked.name,
            scopes=sorted(set(asked.scopes)),
            expires_at=asked.expires_at,
        )
    service.remember_keys()
    service.recent.clear()
    return NewKeyView(**key_view(key, now).model_dump(), key=token, first=principal.anonymous)


def _check_worker(asked: KeyRequest, principal: Principal) -> None:
    """Raise ServiceError for a worker's key that is asked for by a tenant, or for more than a worker does."""
    if not principal.operator:
        raise ServiceError(403, "forbidden", "Keys of workers are the operator's to make (DFAD_API_KEY).")
    if not WORKER_SCOPES.keys() >= set(asked.scopes):
        problem = FieldProblem("/scopes", "a worker's key has no other scope")
        raise InvalidBody("A worker's key can do nothing else.", problem)


@router.get("")
def list_keys(request: Request, limit: Limit = 20, after: After = None) -> KeyList:
    """Keys, newest first, revoked ones too; never their secrets."""
    with _reach(request.state.principal), read_scope() as session:
        rows, more = page(session, select(ApiKey), ApiKey.id, prefix="key", after=after, limit=limit)
        now = database_now(session)
        data = [key_view(row[0], now) for row in rows]
    return KeyList.of(data, more=more)


@router.delete("/{key_id}", status_code=204)
def revoke_key(request: Request, key_id: KeyId) -> Response:
    """From now on the key opens nothing, with none of its secrets. Idempotent.

    Refused as `last_admin_key` where nobody could manage the tenant's keys afterwards.
    """
    with _reach(request.state.principal), session_scope() as session:
        service.revoke_key(session, key_id)
    service.recent.clear()
    return Response(status_code=204)


@router.post("/{key_id}/rotate")
def rotate_key(
    request: Request,
    response: Response,
    key_id: KeyId,
    asked: Annotated[RotationRequest, Depends(JsonBody(RotationRequest, {"overlap_seconds": 86400}))],
) -> RotatedKeyView:
    """Give the key a new secret, which the answer shows this once; the one before it stays valid for a while.

    With `overlap_seconds` 0 it ends at once. A key has two secrets at the most: one that was never used is
    replaced, so that an answer that was lost locks nobody out. Refused as `key_closed` where the key was
    revoked or has expired.
    """
    principal, overlap = request.state.principal, timedelta(seconds=asked.overlap_seconds)
    with _reach(principal), session_scope() as session:
        key, token = rotate(session, principal, key_id, overlap)
        view = key_view(key, database_now(session))
    service.recent.clear()
    response.headers["Cache-Control"] = "no-store"
    return RotatedKeyView(**view.model_dump(), key=token)
