"""Where artifact bytes live. The store is chosen here and nowhere else."""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING

from app.platform.settings import Settings, get_settings
from app.storage.base import ArtifactStore, IntegrityError, Stored, Writer
from app.storage.database import DatabaseStore

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Config

__all__ = ["ArtifactStore", "IntegrityError", "Stored", "Writer", "get_store", "make_store"]


@cache
def get_store() -> ArtifactStore:
    """The process's store. What is there stays where it is: move the bytes before you choose another."""
    return make_store(get_settings())


def make_store(settings: Settings, *, wait_seconds: float | None = None) -> ArtifactStore:
    """A store as the settings say. `wait_seconds`: of an object store's answer, without a second try."""
    if settings.artifact_store == "filesystem":
        from app.storage.filesystem import FilesystemStore

        return FilesystemStore(settings.resolved_artifact_folder)
    if settings.artifact_store == "s3":
        return _objects_store(settings, wait_seconds)
    return DatabaseStore()


def _objects_store(settings: Settings, wait_seconds: float | None) -> ArtifactStore:
    from obstore.store import S3Store

    from app.storage.s3 import ObjectsStore

    assert settings.s3_url is not None
    about: S3Config = {}
    if settings.s3_access_key_id is not None and settings.s3_secret_access_key is not None:
        about["access_key_id"] = settings.s3_access_key_id
        about["secret_access_key"] = settings.s3_secret_access_key.get_secret_value()
    options: ClientConfig = {}
    if settings.s3_endpoint is not None:
        about["endpoint"] = settings.s3_endpoint
        options["allow_http"] = settings.s3_endpoint.startswith("http://")
    retry: RetryConfig | None = None
    if wait_seconds is not None:
        options["timeout"] = timedelta(seconds=wait_seconds)
        retry = {"max_retries": 0}
    store = S3Store.from_url(settings.s3_url, config=about, client_options=options, retry_config=retry)
    return ObjectsStore(store)
