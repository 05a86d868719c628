"""The application factory."""

from __future__ import annotations

from fastapi import FastAPI

from app import openapi, problems
from app.api import router
from app.config import get_settings
from app.edge import Edge


def create_app() -> FastAPI:
    """The service over the process's settings. The database must be migrated already."""
    settings = get_settings()
    # The documentation pages load scripts from other hosts; the description itself is enough.
    app = FastAPI(title="Data-free distillation", version="0.1.0", docs_url=None, redoc_url=None)
    problems.install(app)
    openapi.install(app)
    app.include_router(router)
    app.add_middleware(Edge, settings=settings)
    return app
