"""The service that this worker works for."""

from __future__ import annotations

from functools import cache

from app.platform.settings import get_settings
from worker.database_service import DatabaseService
from worker.service import Service


@cache
def get_service() -> Service:
    """Over HTTP where DFAD_SERVER names a server, else over the database."""
    if get_settings().server is not None:
        from worker.remote.service import RemoteService

        return RemoteService(get_settings())
    return DatabaseService()
