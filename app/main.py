"""The application factory."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI

from app.access.keys.acting import PARAMETER, check_change
from app.access.keys.principal import OPEN_PATHS
from app.access.people.provider import load as load_sign_in
from app.access.usage.requests import RequestCounts
from app.edge import MAX_FIELDS, Edge
from app.health.watcher import Watcher
from app.http import openapi, problems
from app.http.waiting import stop_with_the_server
from app.platform.settings import get_settings
from app.routes import router
from app.telemetry import tracing
from app.web.refusals import refusal
from app.web.serving import install as install_pages


@asynccontextmanager
async def _life(app: FastAPI) -> AsyncIterator[None]:
    stop_with_the_server()
    # What is there by now stays: going through it again and again stops every request for a while.
    gc.collect()
    gc.freeze()
    tracing.start(get_settings(), "dfad-server")
    await app.state.watcher.start()
    yield
    app.state.watcher.close()
    tracing.stop()
    gc.unfreeze()  # a process that goes on, as one of tests does, gets the memory back


def create_app() -> FastAPI:
    """The service over the process's settings. The database must be migrated already."""
    settings = get_settings()
    # The documentation pages load scripts from other hosts; the description itself is enough.
    app = FastAPI(
        title="Data-free distillation",
        version="0.1.0",
        docs_url=None,
        redoc_url=None,
        lifespan=_life,
        dependencies=[Depends(check_change)],
        # What generated clients call their functions.
        generate_unique_id_function=lambda route: route.name,
        # FastAPI's own spans and records would tell of bodies; ours tell ids alone.
        telemetry={"tracing": False, "metrics": False, "logs": False},
        # Files come in the streamed bodies alone, which are read by `app.files.teacher_upload`.
        form_limits={"max_fields": MAX_FIELDS, "max_files": 0},
    )
    if settings.oidc_issuer is not None:
        load_sign_in()
    requests = RequestCounts()
    app.state.watcher = Watcher(settings, requests)
    problems.install(app, refusal)
    openapi.install(app, parameters={"Tenant": PARAMETER}, open_paths=OPEN_PATHS)
    app.include_router(router)
    install_pages(app)
    app.add_middleware(Edge, settings=settings, requests=requests)
    return app
