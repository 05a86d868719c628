"""What a supervisor believes of a runner: frames in their place, and nothing else."""

from __future__ import annotations

import io
import json
import struct

import pytest

from dfad_core.contract.job_result import JobResult
from dfad_core.contract.serialization import from_json, to_json
from worker.frames import Conversation
from worker.protocol import MAX_PAYLOAD_BYTES, Message, ProtocolError, read_message

RESULT = {
    "result": to_json(
        from_json(
            JobResult,
            {"student": {"parameters": 3}, "training": {"steps": 9, "seconds": 1, "complete": True}},
        )
    )
}
REPORT = Message("artifact", {"kind": "report"}, b"<p>")


def test_a_job_says_all_that_it_has_to() -> None:
    talk = Conversation("distill")
    for message in (
        Message("alive", {}),
        Message("phase", {"phase": "distilling"}),
        Message("samples", {"step": 1}, b"png"),
        Message("checkpoint", {"step": 2}, b"weights"),
        Message("note", {"code": "resumed", "message": "from step 2"}),
        Message("artifact", {"kind": "student", "step": 3, **RESULT}, b"weights"),
        Message("artifact", {"kind": "student"}, b"weights"),
        REPORT,
        Message("result", RESULT),
    ):
        talk.check(message)


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("inspect", [REPORT]),
        ("inspect", [Message("result", {"inspection": "many"})]),
        ("inspect", [Message("result", RESULT)]),
        ("measure", [Message("artifact", {"kind": "student"}, b"weights")]),
        ("measure", [Message("result", {"accuracy": {}})]),
        ("measure", [Message("checkpoint", {"step": 1}, b"weights")]),
        ("distill", [REPORT, REPORT]),
        ("distill", [Message("artifact", {"kind": "manifest"}, b"{}")]),
        ("distill", [Message("artifact", {"kind": ["student"]}, b"")]),
        ("distill", [Message("artifact", {}, b"")]),
        ("distill", [Message("phase", {"phase": "x" * 65})]),
        ("distill", [Message("phase", {"phase": "distilling"}, b"bytes where there are none")]),
        ("distill", [Message("progress", {"step": "one"})]),
        ("distill", [Message("checkpoint", {"step": "../../etc/cron.d/x"}, b"")]),
        ("distill", [Message("samples", {"step": -1}, b"")]),
        ("distill", [Message("samples", {"step": True}, b"")]),
        ("distill", [Message("result", RESULT), Message("alive", {})]),
        ("distill", [Message("error", {"code": "x", "message": "y"}), Message("result", RESULT)]),
        ("distill", [Message("error", {"code": 5})]),
        ("distill", [Message("owner", {})]),
        ("distill", [Message("stopped", {})]),
    ],
)
def test_what_has_no_place_is_not_taken(mode, said: list[Message]) -> None:
    talk = Conversation(mode)
    for message in said[:-1]:
        talk.check(message)
    with pytest.raises(ProtocolError):
        talk.check(said[-1])


def _frame(head: bytes) -> io.BytesIO:
    return io.BytesIO(struct.pack(">I", len(head)) + head)


@pytest.mark.parametrize(
    "head",
    [
        b"[" * 100_000,
        b"null",
        b'{"type": "alive", "data": [], "bytes": 0}',
        b'{"type": ["alive"], "data": {}, "bytes": 0}',
        b'{"type": "alive", "data": {}, "bytes": -1}',
        b'{"type": "alive", "data": {}, "bytes": 1e3}',
        b'{"type": "alive", "data": {}, "bytes": true}',
        json.dumps({"type": "artifact", "data": {}, "bytes": MAX_PAYLOAD_BYTES + 1}).encode(),
        b'{"type": "artifact", "data": {}, "bytes": 99999999999999999999}',
        json.dumps({"type": "artifact", "data": {}, "bytes": MAX_PAYLOAD_BYTES}).encode(),
    ],
)
def test_a_garbled_head_is_an_error_of_the_protocol(head: bytes) -> None:
    """The last takes no memory either: sixteen GiB are announced, and no byte comes."""
    with pytest.raises(ProtocolError):
        read_message(_frame(head))
