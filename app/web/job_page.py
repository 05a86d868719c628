"""One job, everything."""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from sqlalchemy.orm import Session

from app.access.keys.acting import KEY_COOKIE, SESSION_COOKIE
from app.http.parameters import JobId
from app.jobs import queries, service
from app.jobs.views import JobView, event_view, job_views
from app.platform.db import read_scope
from app.platform.ids import require_id
from app.web.commands import commands
from app.web.figures import ONE_JOB, UNDRAWN
from app.web.rendering import page
from app.web.timeline import Stretch, by_phase, timeline
from dfad_core.contract.job_result import Resources

router = APIRouter(include_in_schema=False)

EVENTS = 40
MOST_STATES = 500


def shown(session: Session, job_id: str, tenant_id: str) -> JobView:
    """The tenant's job. Raises NotFound."""
    return job_views(session, [service.get_shown(session, job_id, tenant_id)])[0]


@router.get("/ui/jobs/{job_id}")
def job_page(request: Request, job_id: JobId) -> Response:
    """The whole page."""
    found = _everything(request, job_id)
    job, url = found["job"], str(request.base_url).rstrip("/")
    with_key = bool({KEY_COOKIE, SESSION_COOKIE} & request.cookies.keys())
    tenant = job.tenant_id if request.state.principal.named_tenant else None
    return page(
        request,
        "job.html",
        **found,
        **_log(job_id, None, ""),
        figures=ONE_JOB,
        undrawn=UNDRAWN,
        commands=commands(url, job, with_key=with_key, tenant=tenant),
        spec=json.dumps(job.spec, indent=2, ensure_ascii=False),
    )


@router.get("/ui/jobs/{job_id}/live")
def job_parts(request: Request, job_id: JobId) -> Response:
    """What of the page changes while the job goes on, each part to take the place of the one before."""
    return page(request, "_job.html", **_everything(request, job_id))


@router.get("/ui/jobs/{job_id}/log")
def job_log(
    request: Request, job_id: JobId, before: int | None = Query(None, ge=1, le=2**53), kind: str = ""
) -> Response:
    """The log by itself, newest first, a page at a time."""
    with read_scope() as session:
        job = shown(session, job_id, request.state.tenant_id)
    return page(request, "log.html", job=job, **_log(job_id, before, kind))


def _everything(request: Request, job_id: str) -> dict[str, Any]:
    require_id(job_id, "job", "/job_id")
    with read_scope() as session:
        # Before the rest: what happens in between is heard of twice, and never missed.
        last = queries.newest_seq(session, job_id)
        job = shown(session, job_id, request.state.tenant_id)
        pictures = session.scalars(queries.published(job_id, "samples"))
        samples = [(picture.id, picture.step or 0) for picture in pictures]
        states = [event_view(e) for e in session.scalars(queries.states(job_id, MOST_STATES))]
        stored_bytes = queries.stored_bytes(session, job_id)
    stretches = timeline(states, job.finished_at)
    return {
        "job": job, "samples": samples, "stretches": stretches, "last_seq": last,
        "resources": _resources(job, stretches, stored_bytes),
    }  # fmt: skip


def _resources(job: JobView, stretches: list[Stretch], stored_bytes: int) -> dict[str, Any]:
    """What the job took, as far as it is known by now."""
    training = job.result.training if job.result is not None else None
    used = (job.result.resources if job.result is not None else None) or Resources()
    return {
        "device": training.device if training is not None else None,
        "precision": training.precision if training is not None else None,
        "threads": (training.threads if training is not None else None) or job.metrics.get("threads"),
        "memory_bytes": used.peak_memory_bytes or job.metrics.get("memory_bytes"),
        "peak": used.peak_memory_bytes is not None,
        "gpu_memory_bytes": used.gpu_peak_memory_bytes,
        "teacher_queries": used.teacher_queries or job.metrics.get("teacher_queries"),
        "stored_bytes": stored_bytes,
        "attempts": job.attempt,
        "by_phase": by_phase(stretches),
    }


def _log(job_id: str, before: int | None, kind: str) -> dict[str, Any]:
    """The newest events below `before`, of one kind."""
    kind = kind if kind in queries.LOGS else ""
    with read_scope() as session:
        newest = session.scalars(queries.log(job_id, kind, before, EVENTS + 1))
        found = [event_view(event) for event in newest]
    more = len(found) > EVENTS
    return {
        "events": found[:EVENTS],
        "more_events": more,
        "kind": kind,
        "kinds": queries.LOGS,
        "before": before,
    }
