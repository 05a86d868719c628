"""Where artifact bytes live. The store is chosen here and nowhere else."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from app.config import get_settings
from app.storage.base import ArtifactStore, IntegrityError, Stored, Writer
from app.storage.database import DatabaseStore

if TYPE_CHECKING:
    from obstore.store import S3Config

__all__ = ["ArtifactStore", "IntegrityError", "Stored", "Writer", "get_store"]


@cache
def get_store() -> ArtifactStore:
    """The process's store. What is there stays where it is: move the bytes before you choose another."""
    settings = get_settings()
    if settings.artifact_store == "filesystem":
        from app.storage.filesystem import FilesystemStore

        return FilesystemStore(settings.resolved_artifact_folder)
    if settings.artifact_store == "s3":
        from obstore.store import S3Store

        from app.storage.s3 import ObjectsStore

        assert settings.s3_url is not None
        url, endpoint = settings.s3_url, settings.s3_endpoint
        about: S3Config = {}
        if settings.s3_access_key_id is not None and settings.s3_secret_access_key is not None:
            about["access_key_id"] = settings.s3_access_key_id
            about["secret_access_key"] = settings.s3_secret_access_key.get_secret_value()
        if endpoint is None:
            return ObjectsStore(S3Store.from_url(url, config=about))
        about["endpoint"] = endpoint
        plain = endpoint.startswith("http://")
        return ObjectsStore(S3Store.from_url(url, config=about, client_options={"allow_http": plain}))
    return DatabaseStore()
