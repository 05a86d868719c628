"""What a runner may say, frame by frame: kinds, fields, sizes and order. Whatever else it says ends it.

The figures in a frame become dataclasses by `from_json`, which takes values of the right type alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from app.leases.files import ARTIFACTS, MOST_BYTES, MOST_PICTURE_BYTES, MOST_REPORT_BYTES
from worker.protocol import Message, ProtocolError

Mode = Literal["inspect", "distill", "measure"]

LAST = ("result", "stopped", "error")

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
        _object(message.data[_RESULTS[self._mode]])
        if self._mode == "measure" and self._files != ["report"]:
            raise ProtocolError("a measurement without its report")


def _object(value: object) -> None:
    if not isinstance(value, dict):
        raise TypeError


def _text(value: object) -> None:
    if not isinstance(value, str) or len(value) > MOST_TEXT:
        raise TypeError


def _number(value: object) -> None:
    if type(value) is not int or value < 0:
        raise TypeError


def _nothing(_: Message) -> None:
    return


def _phase(message: Message) -> None:
    _text(message.data["phase"])


def _told(message: Message) -> None:
    _text(message.data["code"])


def _step(message: Message) -> None:
    _number(message.data["step"])


def _artifact(message: Message) -> None:
    _number(message.data.get("step", 0))
    _object(message.data.get("result", {}))


def _stopped(message: Message) -> None:
    _object(message.data["result"])


def _error(message: Message) -> None:
    _told(message)
    _object(message.data.get("result", {}))


_FIELDS: dict[str, Callable[[Message], None]] = {
    "alive": _nothing,
    "phase": _phase,
    "progress": _step,
    "phase_progress": _nothing,
    "note": _told,
    "warning": _told,
    "samples": _step,
    "checkpoint": _step,
    "inspection": _nothing,
    "artifact": _artifact,
    "result": _nothing,
    "stopped": _stopped,
    "error": _error,
}
_KINDS: dict[Mode, frozenset[str]] = {
    "inspect": frozenset(("alive", "result", "error")),
    "measure": frozenset(_FIELDS) - {"samples", "checkpoint", "inspection", "stopped"},
    "distill": frozenset(_FIELDS),
}
_RESULTS: dict[Mode, str] = {"inspect": "inspection", "measure": "accuracy", "distill": "result"}
_PAYLOADS = {"samples": MOST_PICTURE_BYTES, "checkpoint": MOST_BYTES, "artifact": MOST_BYTES}
