"""One job at a time on a GPU, whichever workers share it by mistake or by design."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dfad_core.contract.machine import has_gpu

LOOK_SECONDS = 0.5


def lock_path() -> Path:
    """The same for all workers of the machine that see the same GPUs."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
    name = hashlib.sha256(visible.encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"dfad-gpu-{name}.lock"


@contextmanager
def gpu_lock(give_up: Callable[[], bool]) -> Iterator[tuple[int, ...] | None]:
    """The lock's descriptor, once it is ours; nothing to hold on a machine without a GPU.

    None if `give_up` came true first. A runner that is given the descriptor keeps the lock for as long as it
    lives, also where its supervisor was killed.
    """
    if not has_gpu():
        yield ()
        return
    descriptor = os.open(lock_path(), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    try:
        while not _taken(descriptor):
            if give_up():
                yield None
                return
            time.sleep(LOOK_SECONDS)
        yield (descriptor,)
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
