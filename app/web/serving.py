"""Where pages, their files and people without a key meet the application."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from app.web import (
    actions,
    compare,
    job_page,
    jobs_list,
    new_job,
    provider_sign_in,
    sign_in,
    tenant_choice,
    webhook_pages,
)
from app.web.rendering import STATIC


class Files(StaticFiles):
    """Addresses carry a mark of the content, so that browsers need not ask again."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file with its time to live."""
        answer = await super().get_response(path, scope)
        answer.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        answer.headers["X-Content-Type-Options"] = "nosniff"
        return answer


def install(app: FastAPI) -> None:
    """Pages at `/` and `/ui`, files at `/static`."""
    nouns = (jobs_list, new_job, compare, job_page, actions, webhook_pages)
    for part in (*nouns, sign_in, provider_sign_in, tenant_choice):
        app.include_router(part.router)
    app.mount("/static", GZipMiddleware(Files(directory=STATIC), minimum_size=1000))
