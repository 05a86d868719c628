"""Frames between supervisor and runner: a JSON head and, behind it, bytes.

`4 bytes: length of the head | head (JSON, with "bytes": length of the payload) | payload`. A reader
that is slow makes the writer wait: the pipe is the back-pressure.

Runner to supervisor: `alive`, `phase`, `progress`, `samples` (PNG), `checkpoint`, `note`, `warning`,
`inspection`, `artifact` (a finished file; of kind `student` before the evaluation, with its `result` until
then), `phase_progress` (of evaluation and export), then exactly one of `result`, `stopped` or `error`. The
JSON of progress, inspection and result is that of the dataclasses in `dfad_core.contract`.
Supervisor to runner: `start`, then at most one `stop`.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from typing import IO, Any

MAX_HEAD_BYTES = 16 * 2**20
MAX_PAYLOAD_BYTES = 16 * 2**30
_PIECE_BYTES = 8 * 2**20
_LENGTH = struct.Struct(">I")


class ProtocolError(Exception):
    """The other side did not speak this protocol, or died in the middle of a frame."""


@dataclass(frozen=True)
class Message:
    """One frame."""

    type: str
    data: dict[str, Any] = field(default_factory=dict)
    payload: bytes = b""


def write_message(stream: IO[bytes], message: Message) -> None:
    """Write one whole frame and flush it."""
    head = json.dumps({"type": message.type, "bytes": len(message.payload), "data": message.data})
    encoded = head.encode()
    stream.write(_LENGTH.pack(len(encoded)) + encoded)
    if message.payload:
        stream.write(message.payload)
    stream.flush()


def read_message(stream: IO[bytes]) -> Message | None:
    """The next frame; None at the end of the stream. Raises ProtocolError on half a frame."""
    prefix = stream.read(_LENGTH.size)
    if not prefix:
        return None
    if len(prefix) < _LENGTH.size:
        raise ProtocolError("the stream ended inside a frame")
    (length,) = _LENGTH.unpack(prefix)
    if length > MAX_HEAD_BYTES:
        raise ProtocolError("a frame's head is too long")
    try:
        head = json.loads(_exactly(stream, length))
        kind, data, size = head["type"], head["data"], head["bytes"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ProtocolError("a frame's head is garbled") from error
    if not (isinstance(kind, str) and isinstance(data, dict) and type(size) is int):
        raise ProtocolError("a frame's head is garbled")
    if not 0 <= size <= MAX_PAYLOAD_BYTES:
        raise ProtocolError("a frame's payload is too long")
    return Message(kind, data, _exactly(stream, size))


def _exactly(stream: IO[bytes], length: int) -> bytes:
    """So many bytes. What is announced takes no memory before it is there."""
    if length <= _PIECE_BYTES:
        data = stream.read(length) if length else b""
    else:
        whole = bytearray()
        while len(whole) < length and (piece := stream.read(min(_PIECE_BYTES, length - len(whole)))):
            whole += piece
        data = bytes(whole)
    if len(data) != length:
        raise ProtocolError("the stream ended inside a frame")
    return data
