"""`/healthz` and `/readyz`: open to all, and they tell no secrets.

Neither waits for a thread or a connection: long requests may hold all of them. What they say was seen by the
watcher a moment ago.
"""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from app.health.watcher import OK, Watcher

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """The process answers."""

    status: str


class Readiness(BaseModel):
    """What the service needs, part by part."""

    status: str
    checks: dict[str, str]
    seen_seconds_ago: dict[str, float | None]
    """Age of each check; null: not made yet. A part that was not seen for 10 s counts as away."""


@router.get("/healthz")
async def healthz() -> Health:
    """The process lives."""
    return Health(status=OK)


@router.get("/readyz", responses={503: {"model": Readiness}})
async def readyz(request: Request, response: Response) -> Readiness:
    """Database, broker, storage and a worker are there; 503 otherwise."""
    watcher: Watcher = request.app.state.watcher
    seen = watcher.seen()
    ready = all(part.state == OK for part in seen.values())
    response.status_code = 200 if ready else 503
    ages = {name: part.seconds_ago for name, part in seen.items()}
    return Readiness(
        status="ready" if ready else "not_ready",
        checks={name: part.state for name, part in seen.items()},
        seen_seconds_ago={name: None if age is None else round(age, 3) for name, age in ages.items()},
    )
