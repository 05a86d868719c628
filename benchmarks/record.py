"""Result lines: one JSON object a run, with what is needed to judge and repeat it."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from dfad_core import __version__
from dfad_core.contract.machine import usable_processors
from dfad_core.training.runtime import computes_bfloat16

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def append(
    path: Path, figures: dict[str, Any], device: torch.device, *, about: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Append `figures` with the time and their `surroundings` to `path`; return the whole line.

    It is on the disk when this returns. `about`: the surroundings, where the caller has read them already.
    """
    now = datetime.now(UTC).isoformat(timespec="seconds")
    line = {"time": now, **figures, **(surroundings(device) if about is None else about)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
        file.flush()
        os.fsync(file.fileno())
    return line


def read(path: Path) -> list[Mapping[str, Any]]:
    """All lines of a results file; none if there is no such file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def surroundings(device: torch.device) -> dict[str, Any]:
    """Device, versions, machine and git revision."""
    return {"device": device.type, "versions": versions(), "machine": machine(device), **revision()}


def versions() -> dict[str, str | None]:
    """Versions of the project, Python, torch and CUDA."""
    return {
        "dfad": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
    }


def machine(device: torch.device) -> dict[str, Any]:
    """Processor and accelerator, without the machine's name."""
    facts: dict[str, Any] = {
        "cpu": _cpu_model(),
        "processors": usable_processors(),
        "threads": torch.get_num_threads(),
        "bfloat16": computes_bfloat16(device),
    }
    if device.type == "cuda":
        facts["gpu"] = torch.cuda.get_device_name(device)
    return facts


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        facts: dict[str, str] = {}
        for line in cpuinfo.read_text().splitlines():
            name, _, value = line.partition(":")
            facts.setdefault(name.strip(), value.strip())
        if "model name" in facts:
            # Virtual machines often shorten the name; family and model still identify the generation.
            numbers = [f"{name} {facts[name]}" for name in ("cpu family", "model") if name in facts]
            return ", ".join([facts["model name"], *numbers])
    return platform.processor() or platform.machine()


def revision() -> dict[str, Any]:
    """`git_revision` and whether the code was exactly that; None for both without a repository."""
    head = _git("rev-parse", "HEAD")
    if head is None:
        return {"git_revision": None, "git_clean": None}
    # Result lines themselves are not code.
    changed = _git("status", "--porcelain", "--", ".", ":!benchmarks/results")
    return {"git_revision": head, "git_clean": changed == ""}


def revision_text(line: Mapping[str, Any]) -> str:
    """A line's revision for a table: ten characters, and whether the code had changes."""
    if line["git_revision"] is None:
        return "-"
    return str(line["git_revision"][:10]) + (" and changes" if line["git_clean"] is False else "")


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None  # no git on this machine: the line says so
    return done.stdout.strip() if done.returncode == 0 else None
