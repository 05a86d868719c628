"""Figures that pass from the attempt, in the worker's child, to its main process, which tells of them.

Memory of a GPU is asked for by the runner, the only process that may touch CUDA, and comes with its messages.
"""

from __future__ import annotations

import mmap
import struct

from dfad_core.contract.machine import GpuMemory

_LAYOUT = struct.Struct("<3d64s")
# Anonymous shared memory, made before the fork: the main process sees what the child writes.
_SHARED = mmap.mmap(-1, _LAYOUT.size)


def tell(runner_bytes: int, gpu: GpuMemory | None) -> None:
    """Of the runner that runs: memory that it holds, and of its GPU; see `worker.hooks.gpu_memory`."""
    used, total = (gpu.used_bytes, gpu.total_bytes) if gpu else (0, 0)
    name = gpu.name.encode()[:64] if gpu else b""
    _LAYOUT.pack_into(_SHARED, 0, float(runner_bytes), float(used), float(total), name)


def told() -> tuple[int, GpuMemory | None]:
    """What `tell` was given last: bytes of the runner, 0 if none runs, and its GPU."""
    runner_bytes, used, total, name = _LAYOUT.unpack_from(_SHARED, 0)
    text = name.rstrip(b"\0").decode(errors="replace")
    return int(runner_bytes), GpuMemory(text, int(used), int(total)) if total else None
