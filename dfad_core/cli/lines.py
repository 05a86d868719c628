"""The program's standard output, and its handling of signals."""

from __future__ import annotations

import itertools
import json
import math
import signal
from collections.abc import Mapping
from types import FrameType
from typing import IO, Any

UNLIMITED_STEPS = 10_000_000
"""Number of rounds where the budget is in seconds."""


class Lines:
    """One JSON object a line, numbered, each flushed at once."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._numbers = itertools.count(1)

    def write(self, kind: str, data: Mapping[str, Any]) -> None:
        """Write one line."""
        line = {"seq": next(self._numbers), "type": kind, "data": finite(data)}
        self._stream.write(json.dumps(line) + "\n")
        self._stream.flush()


def finite(value: Any) -> Any:
    """`value` with None in place of NaN and infinity, which JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return value


class Interrupt:
    """Handler of SIGINT and SIGTERM.

    The first signal requests a stop that keeps the student; the second one ends the program at once.
    """

    def __init__(self) -> None:
        self.requested = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True

    def check(self) -> None:
        """Raise KeyboardInterrupt if a stop was requested."""
        if self.requested:
            raise KeyboardInterrupt
