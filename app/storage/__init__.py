"""Where artifact bytes live. The store is chosen here and nowhere else.

New bytes go to the store that `DFAD_ARTIFACT_STORE` names; the rows that name them say which one that was. So
bytes are read and deleted in every store that the settings know: the database, the folder, and the object
store where it has an address.
"""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING

from app.platform.settings import Settings, get_settings
from app.storage.base import ArtifactStore, IntegrityError, StoreAway, Stored, Writer
from app.storage.database import DatabaseStore

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Config

__all__ = [
    "ArtifactStore", "IntegrityError", "StoreAway", "Stored", "Writer",
    "find_store", "get_store", "make_store", "store_names",
]  # fmt: skip


@cache
def get_store(name: str | None = None) -> ArtifactStore:
    """The process's store of that name, or that of new bytes. Raises StoreAway without an address."""
    return make_store(get_settings(), name)


def store_names() -> tuple[str, ...]:
    """The stores that this process knows, those that answer the quickest first."""
    return ("database", "filesystem") if get_settings().s3_url is None else ("database", "filesystem", "s3")


def find_store(blob_id: str) -> str:
    """Name of the store with these bytes, where no row names it; the last one where none has them."""
    *others, last = store_names()
    return next((name for name in others if get_store(name).has(blob_id)), last)


def make_store(
    settings: Settings, name: str | None = None, *, wait_seconds: float | None = None
) -> ArtifactStore:
    """The store of that name, or that of new bytes. Raises StoreAway where the settings give no address.

    `wait_seconds`: of an object store's answer, without a second try.
    """
    name = name or settings.artifact_store
    if name == "filesystem":
        from app.storage.filesystem import FilesystemStore

        return FilesystemStore(settings.resolved_artifact_folder)
    if name == "s3":
        return _objects_store(settings, wait_seconds)
    return DatabaseStore()


def _objects_store(settings: Settings, wait_seconds: float | None) -> ArtifactStore:
    if settings.s3_url is None:
        raise StoreAway("the bytes are in the object store, and DFAD_S3_URL does not say where that is")
    from obstore.store import S3Store

    from app.storage.s3 import ObjectsStore

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
