"""A runner's process, however it came to be: forked from a nursery, or started afresh."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Protocol

from worker.kernel import die_with_parent
from worker.nursery import NUMBER
from worker.output import Output

logger = logging.getLogger(__name__)

ISOLATED = ("-P", "-s")
"""No module is looked for where the process starts, which may be a job's folder, nor in the user's own."""
FORK_SECONDS = 60.0
"""A nursery that has not forked by then is given up; it may still be loading torch."""


class Child(Protocol):
    """A process that this one has to end."""

    pid: int

    def wait(self, timeout: float) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""

    def kill(self) -> None:
        """End it and its whole group at once, if it still runs."""


class FreshChild:
    """Started by this process."""

    def __init__(
        self, command: Sequence[str], folder: Path, environment: dict[str, str], descriptors: Sequence[int]
    ) -> None:
        commands, out, log, *kept = descriptors
        self._process = subprocess.Popen(
            [sys.executable, *ISOLATED, *command, str(out)],
            stdin=commands,
            stdout=log,
            stderr=log,
            cwd=folder,
            env=environment,
            pass_fds=(out, *kept),
            process_group=0,
            preexec_fn=die_with_parent,  # noqa: PLW1509  (one async-signal-safe call, no locks)
        )
        self.pid = self._process.pid

    def wait(self, timeout: float) -> int | None:
        """See Child."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        """See Child."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)


class ForkedChild:
    """Forked by a nursery, which says its id and, in the end, its exit code on `line`."""

    def __init__(self, line: int) -> None:
        self._line = line
        self._code: int | None = None
        self._lock = threading.Lock()
        pid = self._number(FORK_SECONDS)
        if pid is None:
            os.close(line)
            raise OSError("the nursery did not fork")
        self.pid = pid

    def _number(self, timeout: float) -> int | None:
        """The next number on the line; None if there is none in time. Raises OSError at its end."""
        readable, _, _ = select.select([self._line], [], [], timeout)
        if not readable:
            return None
        data = os.read(self._line, NUMBER.size)
        if len(data) != NUMBER.size:
            raise OSError("the nursery is gone")
        return int(NUMBER.unpack(data)[0])

    def wait(self, timeout: float) -> int | None:
        """See Child. A runner whose nursery is gone is gone too."""
        with self._lock:
            if self._code is None:
                try:
                    self._code = self._number(timeout)
                except OSError:
                    self._code = -signal.SIGKILL
                if self._code is not None:
                    os.close(self._line)
            return self._code

    def kill(self) -> None:
        """See Child."""
        if self.wait(0) is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)


class NurseryHandle:
    """This process's nursery: started once, and again if it is gone."""

    program: ClassVar[tuple[str, ...]] = ("-m", "worker.nursery")
    """What the interpreter runs; tests put a nursery here whose readers are hostile."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._orders: socket.socket | None = None
        # A job and an inspection order at the same time.
        self._lock = threading.Lock()

    def start(self) -> None:
        """Begin to load torch in the background, unless that is done."""
        with self._lock:
            self._started()

    def _started(self) -> socket.socket:
        if self._process is not None and self._process.poll() is None:
            assert self._orders is not None
            return self._orders
        self._close()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            output = Output("worker.nursery")
            self._process = subprocess.Popen(
                [sys.executable, *ISOLATED, *self.program, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=output.descriptor,
                stderr=output.descriptor,
                env=self._environment,
                pass_fds=(theirs.fileno(),),
                preexec_fn=die_with_parent,  # noqa: PLW1509  (as above)
            )
            output.handed_over()
        self._orders = ours
        return ours

    def fork(self, folder: Path, environment: dict[str, str], descriptors: Sequence[int]) -> ForkedChild:
        """A runner with these descriptors: commands, out, log and what else it keeps. Raises OSError."""
        line, told = os.pipe()
        order = json.dumps({"folder": str(folder), "environment": environment}).encode()
        try:
            with self._lock:
                socket.send_fds(self._started(), [order], [*descriptors, told])
        except BaseException:
            os.close(line)
            raise
        finally:
            os.close(told)
        return ForkedChild(line)

    def close(self) -> None:
        """End it, and with it what it forked."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._orders is not None:
            self._orders.close()
            self._orders = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
