"""Who holds a lease, and which worker this is."""

from __future__ import annotations

import os
import socket
from functools import cache
from uuid import uuid4

WORKER_PID = os.getpid()
"""Process id of the worker: of its main process, in its forked child as well."""


@cache
def _process(pid: int) -> str:
    return f"{socket.gethostname()[:60]}:{pid}:{uuid4().hex[:12]}"


def owner() -> str:
    """A name that no other process has or will have; a forked child gets its own."""
    return _process(os.getpid())
