"""Scratch folders, each locked by the process that works in it: an unlocked one was left by one that died."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.platform.locked_folders import delete_unlocked
from app.platform.settings import get_settings

NO_SPACE_BYTES = 2**20
UNEXPLAINED = ("engine_error", "loader_crashed", "runner_crashed")
"""Errors of a runner that may have had no space to write: it tells no more of what it did not expect."""
YOUNG_SECONDS = 60.0
"""A folder is locked well within this time of being made."""


@contextmanager
def scratch_folder(subject_id: str) -> Iterator[Path]:
    """A folder for work on the job or teacher `subject_id`; it is deleted at the end of the block.

    OSError where it cannot be made.
    """
    parent = get_settings().scratch_folder
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{subject_id}-", dir=parent))
    try:
        # No runner inherits it: the system frees the lock as soon as this process is gone.
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield folder
        finally:
            os.close(descriptor)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def no_space_in(folder: Path) -> bool:
    """Whether so little is free there that what was written last may not have fitted."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize < NO_SPACE_BYTES or (disk.f_files > 0 and disk.f_favail == 0)


def sweep_scratch() -> list[str]:
    """Delete what processes that died have left; the names of the folders."""
    parent = get_settings().scratch_folder
    if not parent.is_dir():
        return []
    return sorted(folder.name for folder in parent.iterdir() if _is_old(folder) and delete_unlocked(folder))


def _is_old(folder: Path) -> bool:
    """Whether it is one of these, and old enough to be locked if somebody works in it."""
    try:
        old = folder.stat().st_mtime < time.time() - YOUNG_SECONDS
    except FileNotFoundError:  # another sweeper has just deleted it
        return False
    return old and folder.name.startswith(("job_", "tch_"))
