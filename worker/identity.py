"""Who holds a lease."""

from __future__ import annotations

import os
import socket
from functools import cache
from uuid import uuid4


@cache
def owner() -> str:
    """The name of this worker, which no other process has or will have."""
    return f"{socket.gethostname()[:60]}:{os.getpid()}:{uuid4().hex[:12]}"
