"""Saying what a command waits for, so that silence never means that."""

from __future__ import annotations

import time
from collections.abc import Callable

SOON_SECONDS = 1.5
"""What takes no longer needs no word."""


class Notices:
    """Says a text once the wait has lasted, and again whenever it has changed."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say, self._begun = say, time.monotonic()
        self._last: str | None = None

    def __call__(self, text: str | None) -> None:
        """What is waited for now; None where nobody knows."""
        if text and text != self._last and time.monotonic() - self._begun >= SOON_SECONDS:
            self._last = text
            self._say(text)
