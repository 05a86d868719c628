"""Checkpoints in a folder, for whoever runs the engine without a service."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from pathlib import Path

from dfad_core.errors import CheckpointError
from dfad_core.training.checkpoint import verify

_NAME = re.compile(r"step-(\d{12})\.dfad")
_UNFINISHED = ".unfinished"


class CheckpointFolder:
    """Keeps the newest `keep` checkpoints, each written whole or not at all.

    A checkpoint is written under another name, brought to the disk, and renamed; whatever moment the
    process or the machine dies at, the folder holds the checkpoints it held before, or one more.
    """

    def __init__(self, path: Path, keep: int = 2) -> None:
        self._path, self._keep = path, max(keep, 1)

    def save(self, step: int, data: bytes) -> Path:
        """Write the checkpoint of `step`, then drop what is too old. OSError leaves the folder as it was."""
        self._path.mkdir(parents=True, exist_ok=True)
        target = self._path / f"step-{step:012d}.dfad"
        handle, name = tempfile.mkstemp(suffix=_UNFINISHED, dir=self._path)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
        _sync_folder(self._path)  # the new name itself must reach the disk
        self._tidy(target)
        return target

    def load(self) -> bytes | None:
        """The newest sound checkpoint; None if there is none.

        Those that are torn or damaged are renamed to end in `.damaged`, and the one before is taken.
        """
        for path in self._newest_first():
            data = path.read_bytes()
            try:
                verify(data)
            except CheckpointError:
                path.rename(path.with_suffix(".damaged"))
                continue
            return data
        return None

    def _newest_first(self) -> list[Path]:
        if not self._path.is_dir():
            return []
        return sorted((p for p in self._path.iterdir() if _NAME.fullmatch(p.name)), reverse=True)

    def _tidy(self, saved: Path) -> None:
        """Drop all but the newest, but never what was just saved: a run begun anew is at a lower step."""
        for path in [*self._newest_first()[self._keep :], *self._path.glob(f"*{_UNFINISHED}")]:
            if path != saved:
                path.unlink(missing_ok=True)


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
