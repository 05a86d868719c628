"""Processors and GPU of this machine and of this process. Torch-free: supervisors use it as well."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

CGROUP_ROOT = Path("/sys/fs/cgroup")
CGROUP_OF_SELF = Path("/proc/self/cgroup")
CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class GpuMemory:
    """Memory of one GPU, whoever uses it."""

    name: str
    used_bytes: int
    total_bytes: int


def usable_processors() -> int:
    """Number of processors for this process: its affinity mask, cut by its control groups' CPU quota."""
    has_mask = hasattr(os, "sched_getaffinity")  # Linux
    count = len(os.sched_getaffinity(0)) if has_mask else os.cpu_count() or 1
    quota = _cgroup_quota()
    return count if quota is None else max(1, min(count, math.ceil(quota)))


def processor_name() -> str | None:
    """The processor's name as Linux gives it; None elsewhere."""
    try:
        lines = CPUINFO.read_text().splitlines()
    except OSError:
        return None
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, None)


def _cgroup_quota() -> float | None:
    """Number of CPUs that the strictest control group of this process allows; None: no limit is set."""
    try:
        lines = CGROUP_OF_SELF.read_text().splitlines()
    except OSError:
        return None
    quotas = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        version_2 = controllers == ""
        if not version_2 and "cpu" not in controllers.split(","):
            continue
        root = CGROUP_ROOT if version_2 else CGROUP_ROOT / "cpu"
        read = _quota_v2 if version_2 else _quota_v1
        folder = root / path.lstrip("/")
        for group in (folder, *folder.parents):
            if not group.is_relative_to(root):
                break
            quota = read(group)
            if quota is not None:
                quotas.append(quota)
    return min(quotas, default=None)


def _quota_v2(group: Path) -> float | None:
    try:
        limit, period = (group / "cpu.max").read_text().split()
    except (OSError, ValueError):
        return None
    return None if limit == "max" else int(limit) / int(period)


def _quota_v1(group: Path) -> float | None:
    try:
        limit = int((group / "cpu.cfs_quota_us").read_text())
        period = int((group / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None
    return None if limit <= 0 else limit / period
