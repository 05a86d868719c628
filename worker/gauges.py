"""Figures that pass from the attempt, in the worker's child, to its main process, which tells of them.

Memory of a GPU is asked for by the runner, the only process that may touch CUDA, and comes with its messages.
"""

from __future__ import annotations

import mmap
import struct
from typing import Any

_LAYOUT = struct.Struct("<3d64s")
# Anonymous shared memory, made before the fork: the main process sees what the child writes.
_SHARED = mmap.mmap(-1, _LAYOUT.size)
_GPU = ("used_bytes", "total_bytes")


def tell(runner_bytes: int, gpu: dict[str, Any] | None) -> None:
    """Of the runner that runs: memory that it holds, and of its GPU; see `worker.hooks.gpu_memory`."""
    used, total = (float(gpu[name]) for name in _GPU) if gpu else (0.0, 0.0)
    name = str(gpu["name"]).encode()[:64] if gpu else b""
    _LAYOUT.pack_into(_SHARED, 0, float(runner_bytes), used, total, name)


def told() -> dict[str, Any]:
    """As the worker's row keeps it; `gpu` is None where no runner holds one."""
    runner_bytes, used, total, name = _LAYOUT.unpack_from(_SHARED, 0)
    text = name.rstrip(b"\0").decode(errors="replace")
    gpu = {"name": text, "used_bytes": int(used), "total_bytes": int(total)} if total else None
    return {"runner_bytes": int(runner_bytes), "gpu": gpu}
