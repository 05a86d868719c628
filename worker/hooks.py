"""The engine's hooks as messages on the pipe to the supervisor."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray

from dfad_core.contract.inspection import Inspection
from dfad_core.contract.job_result import JobResult
from dfad_core.contract.machine import GpuMemory
from dfad_core.contract.serialization import to_json
from dfad_core.hooks import JobHooks, PhaseProgress, Progress
from dfad_core.report.picture import png
from worker.kernel import resident_bytes
from worker.protocol import Message, ProtocolError, read_message, write_message

if TYPE_CHECKING:
    from dfad_core.contract.job_result import OutputFile

SAMPLES_EVERY_SECONDS = 10.0
ALIVE_EVERY_SECONDS = 5.0
MOST_PICTURES = 8
SAMPLES_GROWTH = 0.1
"""A new picture when this share of the time so far has passed: few pictures even of long jobs."""


class Channel:
    """The runner's end of the pipe; one frame at a time, from any thread."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def send(self, kind: str, data: Mapping[str, object] | None = None, payload: bytes = b"") -> None:
        """Send one message; waits while the supervisor is behind."""
        with self._lock:
            write_message(self._stream, Message(kind, dict(data or {}), payload))


class StopListener(threading.Thread):
    """Waits for the supervisor's `stop`. Its end of the pipe closing means that it died: so do we."""

    def __init__(self, commands: BinaryIO) -> None:
        super().__init__(name="stop-listener", daemon=True)
        self._commands = commands
        self.reason: str | None = None

    def run(self) -> None:
        """Read until the pipe closes."""
        try:
            while (message := read_message(self._commands)) is not None:
                if message.type == "stop":
                    self.reason = str(message.data["reason"])
        except (ProtocolError, OSError):
            pass  # a torn pipe says the same as a closed one
        os._exit(3)


class PipeHooks(JobHooks):
    """The engine's seam over the channel."""

    def __init__(self, channel: Channel, listener: StopListener) -> None:
        self._channel = channel
        self._listener = listener
        self._started = self._spoke = time.monotonic()
        self._sampled_at = -SAMPLES_EVERY_SECONDS
        self.pictures: list[tuple[int, bytes]] = []
        """Some of the pictures so far, each with its step, for the report."""

    def inspection(self, inspection: Inspection) -> None:
        """Send the report on the teacher."""
        self._channel.send("inspection", to_json(inspection))

    def phase(self, name: str) -> None:
        """See Hooks."""
        self._channel.send("phase", {"phase": name})

    def progress(self, progress: Progress) -> None:
        """See Hooks."""
        metrics = {**progress.metrics, "memory_bytes": float(resident_bytes(os.getpid()))}
        self._channel.send("progress", to_json(replace(progress, metrics=metrics)))

    def samples(self, step: int, grid_HWC: NDArray[np.uint8]) -> None:
        """See Hooks. Pictures grow rarer as the job grows older."""
        now = time.monotonic() - self._started
        if now - self._sampled_at < max(SAMPLES_EVERY_SECONDS, SAMPLES_GROWTH * now):
            return
        self._sampled_at = now
        picture = png(grid_HWC)
        self.pictures.append((step, picture))
        if len(self.pictures) > MOST_PICTURES:
            del self.pictures[1::2]
        self._channel.send("samples", {"step": step}, picture)

    def checkpoint(self, step: int, data: bytes) -> None:
        """See Hooks."""
        self._channel.send("checkpoint", {"step": step}, data)

    def keep_student(self, file: OutputFile, step: int, result: JobResult, *, complete: bool) -> None:
        """See JobHooks. The student is stored whatever becomes of its evaluation."""
        head = {"kind": file.kind, "step": step, "complete": complete, "result": to_json(result)}
        self._channel.send("artifact", head, file.content)

    def phase_progress(self, progress: PhaseProgress) -> None:
        """See Hooks."""
        self._channel.send("phase_progress", to_json(progress))

    def note(self, code: str, data: Mapping[str, object]) -> None:
        """See Hooks."""
        self._channel.send("note", {"code": code, **data})

    def warn(self, code: str, data: Mapping[str, object]) -> None:
        """See Hooks."""
        self._channel.send("warning", {"code": code, **data})

    def should_stop(self) -> str | None:
        """See Hooks. Asked at every step and batch, so it also tells the supervisor that the work goes on."""
        now = time.monotonic()
        if now - self._spoke >= ALIVE_EVERY_SECONDS:
            self._spoke = now
            gpu = gpu_memory()
            self._channel.send("alive", {"gpu": None if gpu is None else to_json(gpu)})
        return self._listener.reason


def gpu_memory() -> GpuMemory | None:
    """Name, used and total bytes of the GPU in use, whoever uses it; None if this process uses none."""
    import torch

    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return None
    free, total = torch.cuda.mem_get_info()
    return GpuMemory(torch.cuda.get_device_name(), total - free, total)
