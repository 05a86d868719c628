"""Folders that the process which works in them has locked: an unlocked one was left by one that died."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path


def delete_unlocked(folder: Path) -> bool:
    """Delete the folder unless a living process has locked it (`flock`); whether it is gone."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:  # no folder, or another user's
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    else:
        shutil.rmtree(folder, ignore_errors=True)
        return True
    finally:
        os.close(descriptor)
