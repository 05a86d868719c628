"""Parts of the GPU pass, and the file of result lines that records which of them are done."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.record import append, surroundings

Figures = dict[str, Any]


@dataclass(frozen=True)
class Part:
    """One line of the pass."""

    name: str
    run: Callable[[float], Figures]
    """Takes the deadline, in seconds of time.monotonic."""
    needs: str | None = None
    """Name of the part that must have a result before this one runs."""
    stands: Callable[[Mapping[str, Any]], bool] = lambda _line: True
    """Whether the files that its line names still exist."""


@dataclass(frozen=True)
class Stage:
    """Parts that share a fraction of the time; None: all of the rest."""

    name: str
    share: float | None
    what: str
    parts: Sequence[Part]


class Journal:
    """The folder's lines of this device and scale. An incomplete line of a killed pass is removed."""

    def __init__(self, path: Path, device: torch.device, scale: str, code: str | None) -> None:
        self.path, self.device = path, device
        self._scale = scale
        # Read once: a failed GPU may not answer any more.
        self._surroundings = surroundings(device)
        if code is not None:
            self._surroundings |= {"git_revision": code, "git_clean": None}
        self._newest: dict[str, Mapping[str, Any]] = {}
        for line in _repaired(path):
            self._remember(line)

    def _remember(self, line: Mapping[str, Any]) -> None:
        of_this = (line.get("device"), line.get("scale")) == (self.device.type, self._scale)
        if of_this and "tenth" not in line:
            self._newest[line["part"]] = line

    def line(self, part: str) -> Mapping[str, Any]:
        """The newest line of the part; empty where there is none."""
        return self._newest.get(part, {})

    def state(self, part: Part) -> str:
        """`result`, `failed`, `skipped` or `left`."""
        line = self.line(part.name)
        for word in ("failed", "skipped"):
            if word in line:
                return word
        return "result" if line and part.stands(line) else "left"

    def add(self, part: str, figures: Figures) -> None:
        """Write the line of a part, or of a tenth of it."""
        named = {"benchmark": "gpu_pass", "scale": self._scale, "part": part, **figures}
        self._remember(append(self.path, named, self.device, about=self._surroundings))


def _repaired(path: Path) -> list[dict[str, Any]]:
    """The lines of the file, after incomplete ones are removed from it."""
    if not path.is_file():
        return []
    data = path.read_bytes()
    whole = []
    for text in data.splitlines(keepends=True):
        try:
            line = json.loads(text) if text.endswith(b"\n") else None
        except ValueError:
            continue
        if isinstance(line, dict):
            whole.append((text, line))
    repaired = b"".join(text for text, _ in whole)
    if repaired != data:
        scratch = path.with_suffix(".tmp")
        scratch.write_bytes(repaired)
        os.replace(scratch, path)
    return [line for _, line in whole]
