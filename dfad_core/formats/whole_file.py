"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

UNFINISHED = ".unfinished"
"""Suffix of a file that is being written, or whose process died."""


def write_whole(path: Path, content: bytes) -> None:
    """Write `content` to `path`. If the process or the machine dies, `path` is the old file or the new one.

    After an OSError `path` is the old file.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}{UNFINISHED}")
    try:
        # "x" neither follows nor overwrites an existing file.
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
