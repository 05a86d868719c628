"""Several jobs beside each other."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from app.platform.db import read_scope
from app.web.figures import compared
from app.web.job_page import shown
from app.web.rendering import page

router = APIRouter(include_in_schema=False)

MOST_COMPARED = 6


@router.get("/ui/compare")
def compare_page(request: Request, job: Annotated[list[str] | None, Query()] = None) -> Response:
    """Curves over each other, and what the settings differ in."""
    with read_scope() as session:
        wanted = list(dict.fromkeys(job or []))
        jobs = [shown(session, one, request.state.tenant_id) for one in wanted[:MOST_COMPARED]]
    flat = [_flat(one.resolved_spec) for one in jobs]
    names = sorted(set().union(*flat))
    differing = {
        name: [settings.get(name) for settings in flat]
        for name in names
        if len({json.dumps(settings.get(name)) for settings in flat}) > 1
    }
    left_out = max(0, len(wanted) - MOST_COMPARED)
    figures = compared([one.metrics for one in jobs])
    return page(request, "compare.html", jobs=jobs, differing=differing, figures=figures, left_out=left_out)


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {name: value}
    found: dict[str, Any] = {}
    for key, inner in value.items():
        found |= _flat(inner, f"{name}.{key}" if name else key)
    return found
