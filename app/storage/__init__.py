"""Where artifact bytes live. The store is chosen here and nowhere else."""

from functools import cache

from app.storage.base import ArtifactStore, IntegrityError, Stored
from app.storage.database import DatabaseStore

__all__ = ["ArtifactStore", "IntegrityError", "Stored", "get_store"]


@cache
def get_store() -> ArtifactStore:
    """The process's store."""
    return DatabaseStore()
