"""Whether the worker shuts down: set by its signal handler, read by whatever goes on in other threads."""

from __future__ import annotations

import threading

_asked = threading.Event()


def ask_shutdown() -> None:
    """From now on nothing new begins, and what is under way ends. Safe in a signal handler."""
    _asked.set()


def shutdown_asked() -> bool:
    """Whether `ask_shutdown` was called."""
    return _asked.is_set()
