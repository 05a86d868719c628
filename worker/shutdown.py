"""One byte shared by the worker's main process and its child: "the worker shuts down"."""

from __future__ import annotations

import mmap

# Anonymous shared memory, made before the fork: the child sees what the main process writes.
_FLAG = mmap.mmap(-1, 1)


def ask_shutdown() -> None:
    """Called in the main process; safe in a signal handler."""
    _FLAG[0] = 1


def shutdown_asked() -> bool:
    """Looked at by the attempt that runs in the child."""
    return _FLAG[0] == 1
