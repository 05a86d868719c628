"""The folder in which the server processes of one server share what they count."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.platform.locked_folders import delete_unlocked

PREFIX = "counts-"


@contextmanager
def counts_folder(parent: Path) -> Iterator[Path]:
    """A new folder in `parent`, deleted at the end of the block; those of dead servers are deleted first.

    Each is locked while its server lives, and the system frees the lock however that ends. `parent` is locked
    meanwhile, so that nobody takes one that is not locked yet for one that was left behind.
    """
    with _locked(parent):
        for left in parent.glob(f"{PREFIX}*"):
            delete_unlocked(left)
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(held, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
