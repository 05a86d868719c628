"""Processors, memory and GPU of this machine and of this process. Torch-free: supervisors use it as well."""

from __future__ import annotations

import hashlib
import math
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

Reader = Callable[[Path], float | None]

CGROUP_ROOT = Path("/sys/fs/cgroup")
CGROUP_OF_SELF = Path("/proc/self/cgroup")
CPUINFO = Path("/proc/cpuinfo")
MEMINFO = Path("/proc/meminfo")
STATM = Path("/proc/self/statm")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
CGROUP_NAMESPACE = Path("/proc/self/ns/cgroup")
NO_LIMIT = 2**60
"""Version 1 of control groups writes a number near 2^63 where no limit is set."""


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
    quota = processor_quota()
    return count if quota is None else max(1, min(count, math.ceil(quota)))


def processor_quota() -> float | None:
    """Number of CPUs that the strictest control group of this process allows; None: no limit is set."""
    return min(_cgroup_values("cpu", _quota_v2, _quota_v1), default=None)


@cache
def boot_id() -> str | None:
    """Another one after each boot of the machine; None where the system tells none."""
    try:
        return BOOT_ID.read_text().strip() or None
    except OSError:
        return None


def processors_id() -> str:
    """Identifies the processors that this process may use: equal for all processes that share them.

    They are those of one machine, one affinity mask and one control group, where its CPU quota is the
    strictest. Containers with a quota of their own share with nobody; those without share with the machine.
    """
    mask = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return _machine_part(mask, _cgroup_limits("cpu", _quota_v2, _quota_v1))


def memory_id() -> str:
    """Identifies the memory that `total_memory` tells the size of, in the same way."""
    return _machine_part(None, _cgroup_limits("memory", _limit_v2, _limit_v1))


def _machine_part(part: object, limits: Iterator[tuple[float, Path]]) -> str:
    """A short name for this machine, the part of it, and the control group with the lowest of the limits."""
    machine = boot_id() or socket.gethostname()  # the boot is the same in its containers, whose names differ
    lowest = min(limits, default=None)
    # Paths of control groups are equal in different containers.
    group = None if lowest is None else (str(lowest[1]), _link(CGROUP_NAMESPACE))
    return hashlib.sha256(repr((machine, part, group)).encode()).hexdigest()[:16]


def _link(path: Path) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def processor_name() -> str | None:
    """The processor's name as Linux gives it; None elsewhere."""
    try:
        lines = CPUINFO.read_text().splitlines()
    except OSError:
        return None
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, None)


def free_memory(limit: int | None = None) -> int | None:
    """Bytes that this process may take beyond those that it holds; None where nothing is known.

    The least of what the machine has available, what the control groups leave, and what is left of `limit`,
    the memory that the process may hold.
    """
    known: list[float] = [*_cgroup_values("memory", _memory_v2, _memory_v1)]
    if (available := _available_memory()) is not None:
        known.append(available)
    if limit is not None:
        known.append(limit - _resident_memory())
    return max(0, int(min(known))) if known else None


def total_memory() -> int:
    """Memory of the machine, or of the strictest control group of this process."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return int(min([machine, *_cgroup_values("memory", _limit_v2, _limit_v1)]))


def has_gpu() -> bool:
    """Whether the machine shows an NVIDIA device. CUDA itself is not touched: a fork would break it."""
    return os.path.exists("/dev/nvidiactl") and os.environ.get("CUDA_VISIBLE_DEVICES", "all") != ""


def _available_memory() -> int | None:
    try:
        lines = MEMINFO.read_text().splitlines()
        (line,) = (line for line in lines if line.startswith("MemAvailable:"))
        return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        return None


def _resident_memory() -> int:
    try:
        return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def _cgroup_values(controller: str, read_v2: Reader, read_v1: Reader) -> Iterator[float]:
    """What the control groups of this process say, from its own to the root, as far as they say it."""
    return (value for value, _ in _cgroup_limits(controller, read_v2, read_v1))


def _cgroup_limits(controller: str, read_v2: Reader, read_v1: Reader) -> Iterator[tuple[float, Path]]:
    """The same, with the folder of each group."""
    try:
        lines = CGROUP_OF_SELF.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        version_2 = controllers == ""
        if not version_2 and controller not in controllers.split(","):
            continue
        root = CGROUP_ROOT if version_2 else CGROUP_ROOT / controller
        folder = root / path.lstrip("/")
        for group in (folder, *folder.parents):
            if not group.is_relative_to(root):
                break
            value = (read_v2 if version_2 else read_v1)(group)
            if value is not None:
                yield value, group


def _memory_v2(group: Path) -> int | None:
    return _memory_left(group, "memory.max", "memory.current", "inactive_file")


def _memory_v1(group: Path) -> int | None:
    return _memory_left(group, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def _limit_v2(group: Path) -> int | None:
    return _limit(group / "memory.max")


def _limit_v1(group: Path) -> int | None:
    return _limit(group / "memory.limit_in_bytes")


def _limit(file: Path) -> int | None:
    try:
        most = int(file.read_text())
    except (OSError, ValueError):  # `max`: no limit
        return None
    return None if most >= NO_LIMIT else most


def _memory_left(group: Path, limit: str, usage: str, cache: str) -> int | None:
    """What the group's limit leaves; its cache of files, which the kernel gives up first, counts as free."""
    most = _limit(group / limit)
    if most is None:
        return None
    try:
        used = int((group / usage).read_text())
        statistics = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return most - used + int(statistics.get(cache, 0))
    except (OSError, ValueError):
        return most


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
