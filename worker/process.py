"""The runner, seen from the supervisor: a process and the two pipes to it."""

from __future__ import annotations

import logging
import os
import queue
import subprocess
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import BinaryIO, ClassVar

from dfad_core.contract.machine import usable_processors
from worker.child import Child, FreshChild, NurseryHandle
from worker.frames import Conversation, Mode
from worker.protocol import Message, ProtocolError, read_message, write_message

logger = logging.getLogger(__name__)

_KEPT = (
    "PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "CUDA_HOME", "MPLCONFIGDIR",
)  # fmt: skip
"""All that a runner inherits of the environment; settings and secrets stay with the supervisor."""
WAITING_MESSAGES = 16
DEFAULT_PROGRAM = ("-m", "worker.runner")


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


@cache
def nursery() -> NurseryHandle:
    """This process's nursery. Its runners are told how many threads to take: other workers come and go."""
    return NurseryHandle(runner_environment(Path("/"), usable_processors()))


class RunnerProcess:
    """One runner in a process group of its own. `close` always leaves no process behind."""

    program: ClassVar[tuple[str, ...]] = DEFAULT_PROGRAM
    """What the interpreter runs; tests put a script here that misbehaves on demand."""

    def __init__(
        self,
        folder: Path,
        threads: int,
        log: BinaryIO | int = subprocess.DEVNULL,
        *,
        mode: Mode = "distill",
        warm: bool = False,
        kept: Sequence[int] = (),
    ) -> None:
        """A runner for one command of that `mode`.

        `warm`: forked from this process's nursery. `kept`: descriptors that it holds while it lives.
        """
        reading, writing = os.pipe()
        listening, commanding = os.pipe()
        null = os.open(os.devnull, os.O_WRONLY)
        where = null if log == subprocess.DEVNULL else log if isinstance(log, int) else log.fileno()
        try:
            descriptors = (listening, writing, where, *kept)
            self._child = self._make(folder, threads, descriptors, warm=warm)
        except BaseException:
            os.close(reading)
            os.close(commanding)
            raise
        finally:
            for descriptor in (writing, listening, null):
                os.close(descriptor)
        self._stream = os.fdopen(reading, "rb")
        self._commands = os.fdopen(commanding, "wb")
        self._conversation = Conversation(mode)
        self._messages: queue.Queue[Message | None] = queue.Queue(WAITING_MESSAGES)
        self._closing = threading.Event()
        self._reader = threading.Thread(target=self._read, name="runner-reader", daemon=True)
        self._reader.start()

    @classmethod
    def warm_up(cls) -> None:
        """Begin to load what runners need, so that the first job does not wait for it."""
        if cls.program == DEFAULT_PROGRAM:
            nursery().start()

    def _make(self, folder: Path, threads: int, descriptors: Sequence[int], *, warm: bool) -> Child:
        environment = runner_environment(folder, threads)
        if warm and self.program == DEFAULT_PROGRAM:
            try:
                return nursery().fork(folder, environment, descriptors)
            except OSError as error:
                logger.warning("no runner from the nursery (%s); starting one afresh", error)
        return FreshChild(self.program, folder, environment, descriptors)

    @property
    def pid(self) -> int:
        """Of the runner."""
        return self._child.pid

    def _read(self) -> None:
        try:
            while (message := read_message(self._stream)) is not None:
                self._conversation.check(message)
                self._put(message)
        except ProtocolError as error:
            # It died in the middle of a frame, which is the same as its end, or is not what it should be.
            logger.warning("the runner %d is not heard any further: %s", self.pid, error)
            self.kill()
        except (OSError, ValueError):
            pass
        except MemoryError:
            logger.exception("a frame of the runner %d is larger than the memory that is left", self.pid)
            self.kill()
        self._put(None)

    def _put(self, message: Message | None) -> None:
        while not self._closing.is_set():
            try:
                self._messages.put(message, timeout=0.2)
            except queue.Full:
                continue
            return

    def send(self, kind: str, data: Mapping[str, object]) -> None:
        """Send a command; a runner that is gone is noticed by `receive`."""
        try:
            write_message(self._commands, Message(kind, dict(data)))
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
        return self._child.wait(timeout)

    def kill(self) -> None:
        """End the whole process group at once."""
        self._child.kill()

    def close(self) -> None:
        """Kill what still runs and release everything."""
        self.kill()
        self._closing.set()
        while self._child.wait(60) is None:
            logger.error("runner %d does not die", self.pid)
        self._reader.join(timeout=5)
        self._stream.close()
        try:
            self._commands.close()
        except BrokenPipeError:
            return
