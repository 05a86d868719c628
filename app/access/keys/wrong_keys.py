"""Wrong keys, counted by the address that they come from: nobody tries keys as fast as a server answers.

A right key opens the service from any address, however many wrong ones came from there: others may share it.
"""

from __future__ import annotations

import time
from collections import OrderedDict

BURST = 20
"""Wrong keys that an address has free."""
SECONDS_EACH = 3.0
"""After which it has another one."""
ADDRESSES = 10_000
"""That are remembered, by each server process; those whose last wrong key is longest ago are forgotten."""


class WrongKeys:
    """How many came from where."""

    def __init__(self) -> None:
        #: When each address will have its whole burst again.
        self._free_at: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._free_at)

    def wait_seconds(self, source: str) -> float:
        """Until the address may try another key; 0 where it may now."""
        behind = self._free_at.get(source, 0.0) - time.monotonic()
        return max(0.0, behind - (BURST - 1) * SECONDS_EACH)

    def add(self, source: str) -> bool:
        """Count one; whether it was the last that the address had free."""
        now, waited = time.monotonic(), self.wait_seconds(source)
        free_at = max(now, self._free_at.pop(source, 0.0)) + SECONDS_EACH
        self._free_at[source] = min(free_at, now + BURST * SECONDS_EACH)  # those under way were all let in
        while len(self._free_at) > ADDRESSES:
            self._free_at.popitem(last=False)
        return not waited and self.wait_seconds(source) > 0

    def clear(self) -> None:
        """Forget all."""
        self._free_at.clear()


wrong_keys = WrongKeys()
"""Of this process."""
audited_failures = WrongKeys()
"""Those of sign-ins that are in the audit: an address has no more lines there than wrong keys free."""
