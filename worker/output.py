"""What the processes that we start write: a log line for each of theirs, with the ids of the attempt."""

from __future__ import annotations

import contextvars
import logging
import os
import threading
from collections.abc import Iterator
from typing import BinaryIO

MAX_LINE_BYTES = 4096
MAX_LINES = 10_000
"""Of one process; a file that makes its reader talk for ever fills no disk."""


class Output(threading.Thread):
    """A pipe whose lines become log lines until whoever writes is gone.

    Give `descriptor` to the process and call `handed_over`; `close` waits a little for its last words.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name="output", daemon=True)
        reading, self.descriptor = os.pipe()
        self._stream: BinaryIO = os.fdopen(reading, "rb")
        self._logger = logging.getLogger(name)
        self._context = contextvars.copy_context()
        self.start()

    def handed_over(self) -> None:
        """The process has it: its end is the end."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def close(self) -> None:
        """For after the process's end."""
        self.handed_over()
        self.join(timeout=5)

    def run(self) -> None:
        """Read; never stops reading, for the process would wait."""
        with self._stream:
            for number, line in enumerate(self._lines()):
                if number < MAX_LINES:
                    self._context.run(self._logger.info, "%s", line)
                elif number == MAX_LINES:
                    self._context.run(self._logger.warning, "more than %d lines: no more", MAX_LINES)

    def _lines(self) -> Iterator[str]:
        """Without their ends; long ones cut, empty ones left out."""
        within = False
        while data := self._stream.readline(MAX_LINE_BYTES):
            text = data.decode(errors="replace").rstrip()
            if text and not within:
                yield text
            within = not data.endswith(b"\n")
