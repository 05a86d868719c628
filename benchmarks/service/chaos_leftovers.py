"""What is left behind once every job has ended and whatever was killed has been cleared up after."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path

from testing.processes import below
from testing.stack import Stack

SETTLE_SECONDS = 150.0
"""In which the workers' sweepers have looked again at folders that were young at first."""


def left_behind(stack: Stack) -> dict[str, int]:
    """How many of each; the stack runs and has nothing to do.

    Bytes of no row are kept for a day, as a row may still come: `young_blobs` counts those that are there
    now, `blobs` those that would be there after a sweep in a day's time.
    """
    deadline = time.monotonic() + SETTLE_SECONDS
    while (_scratch() or _strays(stack)) and time.monotonic() < deadline:
        stack.keep_alive()
        time.sleep(1)
    found = {
        "scratch": len(_scratch()),
        "temporary": len(list(stack.temporary.iterdir())),
        "processes": len(_strays(stack)),
        "removals": _removals(),
        "young_blobs": _unowned(),
    }
    from worker.sweeper import sweep_orphans

    sweep_orphans(hours=-1)
    return found | {"blobs": _unowned()}


def _scratch() -> list[Path]:
    from app.platform.settings import get_settings

    folder = get_settings().scratch_folder
    return [path for path in folder.iterdir() if not _locked(path)] if folder.is_dir() else []


def _locked(path: Path) -> bool:
    """Whether a living process works in it."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def _strays(stack: Stack) -> list[int]:
    """Processes of the stack whose parents are gone."""
    ours = below(os.getpid())
    mark = f"DFAD_HOME={stack.folder / 'home'}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) not in ours:
            with contextlib.suppress(OSError):
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


def _removals() -> int:
    from sqlalchemy import func, select

    from app.models import BlobRemoval
    from app.platform.db import read_scope

    with read_scope() as session:
        return session.scalar(select(func.count()).select_from(BlobRemoval)) or 0


def _unowned() -> int:
    from app.files.artifacts.blobs import owned
    from app.platform.db import read_scope
    from app.storage import get_store

    kept = [blob for blob, _ in get_store().kept()]
    with read_scope() as session:
        known = {blob for at in range(0, len(kept), 500) for blob in owned(session, kept[at : at + 500])}
    return len(set(kept) - known)
