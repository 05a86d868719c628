"""The runner's process, seen from the supervisor."""

from __future__ import annotations

import ctypes
import os
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

from worker.protocol import Message, ProtocolError, read_message, write_message

_PR_SET_PDEATHSIG = 1
_KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "CUDA_HOME")
"""All that a runner inherits of the environment; settings and secrets stay with the supervisor."""
WAITING_MESSAGES = 16
_LIBC = ctypes.CDLL(None, use_errno=True)


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent dies."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def runner_environment(folder: Path, threads: int) -> dict[str, str]:
    """A runner's whole environment."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    root = str(Path(__file__).resolve().parent.parent)
    return {
        **kept,
        "PYTHONPATH": root,
        "PYTHONUNBUFFERED": "1",
        "HOME": str(folder),
        "TMPDIR": str(folder),
        # Threads of two processes that spin on the same processors slow both many times over.
        **{name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")},
        "MPLBACKEND": "agg",
    }


class RunnerProcess:
    """One runner in a process group of its own. `close` always leaves no process behind."""

    program: ClassVar[tuple[str, ...]] = ("-m", "worker.runner")
    """What the interpreter runs; tests put a script here that misbehaves on demand."""

    def __init__(self, folder: Path, threads: int, log: BinaryIO | int = subprocess.DEVNULL) -> None:
        reading, writing = os.pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, *self.program, str(writing)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=folder,
                env=runner_environment(folder, threads),
                pass_fds=(writing,),
                process_group=0,
                preexec_fn=die_with_parent,  # noqa: PLW1509  (one async-signal-safe call, no locks)
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        self._stream = os.fdopen(reading, "rb")
        self._messages: queue.Queue[Message | None] = queue.Queue(WAITING_MESSAGES)
        self._closing = threading.Event()
        self._reader = threading.Thread(target=self._read, name="runner-reader", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Of the runner."""
        return self._process.pid

    def _read(self) -> None:
        try:
            while (message := read_message(self._stream)) is not None:
                self._put(message)
        except (ProtocolError, OSError, ValueError):
            pass  # the runner died in the middle of a frame: the same as its end
        self._put(None)

    def _put(self, message: Message | None) -> None:
        while not self._closing.is_set():
            try:
                self._messages.put(message, timeout=0.2)
            except queue.Full:
                continue
            return

    def send(self, kind: str, data: dict[str, Any]) -> None:
        """Send a command; a runner that is gone is noticed by `receive`."""
        assert self._process.stdin is not None
        try:
            write_message(self._process.stdin, Message(kind, data))
        except (BrokenPipeError, ValueError):
            return

    def receive(self, timeout: float) -> Message | None:
        """The next message; None when the runner has said its last. Raises TimeoutError."""
        try:
            message = self._messages.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError from None
        if message is None:
            self._put(None)  # whoever asks again gets the same answer
        return message

    def wait(self, timeout: float) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        """End the whole process group at once."""
        if self._process.poll() is None:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except ProcessLookupError:
                return

    def close(self) -> None:
        """Kill what still runs and release everything."""
        self.kill()
        self._closing.set()
        self._process.wait()
        self._reader.join(timeout=5)
        self._stream.close()
        if self._process.stdin is not None:
            try:
                self._process.stdin.close()
            except BrokenPipeError:
                return
