"""Checkpoints in a folder, for callers that run the engine without a service."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from dfad_core.contract.errors import CheckpointError
from dfad_core.formats.whole_file import UNFINISHED, write_whole
from dfad_core.training.checkpoint import verify

_NAME = re.compile(r"step-(\d{12})\.dfad")
DAMAGED = ".damaged"


class CheckpointFolder:
    """Keeps the newest `keep` checkpoints, each written whole or not at all.

    Whenever the process or the machine dies, the folder holds the checkpoints that it held before, or one
    more. Other files in the folder are left alone.
    """

    def __init__(self, path: Path, keep: int = 2) -> None:
        self.path, self._keep = path, max(keep, 1)

    def save(self, step: int, data: bytes) -> Path:
        """Write the checkpoint of `step`, then delete those that are too old.

        Checkpoints of later steps are deleted too; they belong to another run, since steps only grow.
        OSError leaves the folder as it was.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        target = self.path / f"step-{step:012d}.dfad"
        write_whole(target, data)
        self._tidy(step)
        return target

    def load(self, on_damaged: Callable[[Path, CheckpointError], object] | None = None) -> bytes | None:
        """The newest intact checkpoint; None if there is none.

        Damaged ones get the suffix `.damaged`; `on_damaged` is called with the former path and the reason.
        """
        for path in self._newest_first():
            data = path.read_bytes()
            try:
                verify(data)
            except CheckpointError as error:
                path.replace(path.with_suffix(DAMAGED))
                if on_damaged is not None:
                    on_damaged(path, error)
                continue
            return data
        return None

    def newest_step(self) -> int | None:
        """Step of the newest checkpoint, damaged or not; None if there is none."""
        return next((_step(path) for path in self._newest_first()), None)

    def _newest_first(self) -> list[Path]:
        if not self.path.is_dir():
            return []
        return sorted((p for p in self.path.iterdir() if _NAME.fullmatch(p.name)), reverse=True)

    def _tidy(self, step: int) -> None:
        """Keep the newest ones up to `step`; delete the others, and unfinished files of dead processes."""
        paths = self._newest_first()
        newest = [path for path in paths if _step(path) <= step][: self._keep]
        for path in [*(p for p in paths if p not in newest), *self.path.glob(f".step-*{UNFINISHED}")]:
            path.unlink(missing_ok=True)


def _step(path: Path) -> int:
    return int(path.stem.removeprefix("step-"))
