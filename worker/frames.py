"""What a runner may say, frame by frame: kinds, fields, sizes and order. Whatever else it says ends it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from dfad_core.contract.formats import FORMATS, STUDENT_FORMATS
from dfad_core.contract.inspection import Inspection
from dfad_core.contract.job_result import Accuracy, JobError, JobResult
from dfad_core.contract.machine import GpuMemory
from dfad_core.contract.progress import PhaseProgress, Progress
from dfad_core.contract.serialization import from_json
from worker.protocol import Message, ProtocolError

Mode = Literal["inspect", "distill", "measure"]

ARTIFACTS = {
    **{
        row.artifact_kind: (f"student{row.suffix}", row.media_type)
        for row in (FORMATS[name] for name in STUDENT_FORMATS)
    },
    "report": ("report.html", "text/html; charset=utf-8"),
    "samples": ("samples.png", "image/png"),
}
"""File name and media type by the kind of a finished file: no frame says them."""
LAST = ("result", "stopped", "error")

MOST_BYTES = 16 * 2**30
MOST_PICTURE_BYTES, MOST_REPORT_BYTES = 64 * 2**20, 256 * 2**20
MOST_TEXT = 64
"""Characters in the name of a phase or a code."""


class Conversation:
    """What one runner has said."""

    def __init__(self, mode: Mode) -> None:
        self._kinds = _KINDS[mode]
        self._mode = mode
        self._ended = False
        self._files: list[str] = []

    def check(self, message: Message) -> None:
        """Raises ProtocolError for a frame that has no place here."""
        if self._ended:
            raise ProtocolError("a frame after the last")
        if message.type not in self._kinds:
            raise ProtocolError("a frame of a kind that has no place here")
        if len(message.payload) > _PAYLOADS.get(message.type, 0):
            raise ProtocolError(f"too many bytes in a frame of kind {message.type}")
        try:
            _FIELDS[message.type](message)
            if message.type == "artifact":
                self._file(message)
            elif message.type == "result":
                self._result(message)
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise ProtocolError(f"a frame of kind {message.type} is garbled") from error
        self._ended = message.type in LAST

    def _file(self, message: Message) -> None:
        kind = message.data["kind"]
        if kind not in ARTIFACTS or (self._mode == "measure" and kind != "report"):
            raise ProtocolError("a file of a kind that has no place here")
        # A student comes again where one of before is overtaken.
        if kind != "student" and kind in self._files:
            raise ProtocolError("a second file of its kind")
        if kind == "report" and len(message.payload) > MOST_REPORT_BYTES:
            raise ProtocolError("too large a report")
        self._files.append(kind)

    def _result(self, message: Message) -> None:
        match self._mode:
            case "inspect":
                from_json(Inspection, message.data["inspection"])
            case "measure":
                from_json(Accuracy, message.data["accuracy"])
                if self._files != ["report"]:
                    raise ProtocolError("a measurement without its report")
            case _:
                from_json(JobResult, message.data["result"])


def _nothing(_: Message) -> None:
    return


def _alive(message: Message) -> None:
    if message.data.get("gpu") is not None:
        from_json(GpuMemory, message.data["gpu"])


def _phase(message: Message) -> None:
    _text(message.data["phase"])


def _told(message: Message) -> None:
    _text(message.data["code"])


def _text(value: object) -> None:
    if not isinstance(value, str) or len(value) > MOST_TEXT:
        raise ValueError


def _step(message: Message) -> None:
    step = message.data["step"]
    if type(step) is not int or step < 0:
        raise ValueError


def _artifact(message: Message) -> None:
    if message.data.get("step") is not None:
        _step(message)
    if message.data.get("result") is not None:
        from_json(JobResult, message.data["result"])


def _progress(message: Message) -> None:
    from_json(Progress, message.data)


def _phase_progress(message: Message) -> None:
    from_json(PhaseProgress, message.data)


def _inspection(message: Message) -> None:
    from_json(Inspection, message.data)


def _end(message: Message) -> None:
    if message.data.get("result") is not None:
        from_json(JobResult, message.data["result"])
    if message.type == "error":
        from_json(JobError, message.data)


_FIELDS: dict[str, Callable[[Message], None]] = {
    "alive": _alive,
    "phase": _phase,
    "progress": _progress,
    "phase_progress": _phase_progress,
    "note": _told,
    "warning": _told,
    "samples": _step,
    "checkpoint": _step,
    "inspection": _inspection,
    "artifact": _artifact,
    "result": _nothing,
    "stopped": _end,
    "error": _end,
}
_KINDS: dict[Mode, frozenset[str]] = {
    "inspect": frozenset(("alive", "result", "error")),
    "measure": frozenset(_FIELDS) - {"samples", "checkpoint", "inspection", "stopped"},
    "distill": frozenset(_FIELDS),
}
_PAYLOADS = {"samples": MOST_PICTURE_BYTES, "checkpoint": MOST_BYTES, "artifact": MOST_BYTES}
