"""`/healthz` and `/readyz`: open to all, and they tell no secrets."""

from __future__ import annotations

from fastapi import APIRouter, Response
from pydantic import BaseModel

from app.health.service import check

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """The process answers."""

    status: str


class Readiness(BaseModel):
    """What the service needs, part by part."""

    status: str
    checks: dict[str, str]


@router.get("/healthz")
async def healthz() -> Health:
    """The process lives. Waits for no thread: long requests may hold all of them."""
    return Health(status="ok")


@router.get("/readyz", responses={503: {"model": Readiness}})
def readyz(response: Response) -> Readiness:
    """Database, broker and a worker are there; 503 otherwise."""
    checks = check()
    ready = all(state == "ok" for state in checks.values())
    response.status_code = 200 if ready else 503
    return Readiness(status="ready" if ready else "not_ready", checks=checks)
