"""Whether an error says that no space is left: on a disk, in a quota, or in the database."""

from __future__ import annotations

import errno

from sqlalchemy.exc import DBAPIError

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_POSTGRES_DISK_FULL = "53100"
_SQLITE_FULL = "disk is full"


def is_full(error: BaseException) -> bool:
    """Whether more space would have helped."""
    if isinstance(error, DBAPIError):
        state = getattr(error.orig, "sqlstate", None)
        return state == _POSTGRES_DISK_FULL or _SQLITE_FULL in str(error.orig)
    return isinstance(error, OSError) and error.errno in _NO_SPACE
