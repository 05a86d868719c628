"""Frames on the pipe: whole, or an error; never half."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.protocol import MAX_HEAD_BYTES, Message, ProtocolError, read_message, write_message

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def framed(*messages: Message) -> bytes:
    stream = io.BytesIO()
    for message in messages:
        write_message(stream, message)
    return stream.getvalue()


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.builds(
            Message, TEXT, st.dictionaries(TEXT, st.integers() | TEXT | st.none()), st.binary(max_size=300)
        )
    )
)
def test_roundtrip(messages):
    stream = io.BytesIO(framed(*messages))
    assert [read_message(stream) for _ in messages] == messages
    assert read_message(stream) is None


def test_half_a_frame_is_an_error_at_every_cut():
    whole = framed(Message("checkpoint", {"step": 3}, b"12345"))
    for cut in range(1, len(whole)):
        with pytest.raises(ProtocolError):
            read_message(io.BytesIO(whole[:cut]))


@pytest.mark.parametrize(
    "head", [b"not json", b"[]", b"{}", b'{"type": "x", "data": {}}', b'{"type": "x", "bytes": 0}', b"\xff"]
)
def test_a_garbled_head_is_an_error(head):
    with pytest.raises(ProtocolError):
        read_message(io.BytesIO(len(head).to_bytes(4, "big") + head))


def test_a_giant_head_is_refused_before_it_is_read():
    with pytest.raises(ProtocolError):
        read_message(io.BytesIO((MAX_HEAD_BYTES + 1).to_bytes(4, "big")))


@pytest.mark.parametrize("length", [-1, "7", 1.5, None])
def test_a_lying_payload_length_is_refused(length):
    import json

    head = json.dumps({"type": "x", "data": {}, "bytes": length}).encode()
    with pytest.raises(ProtocolError):
        read_message(io.BytesIO(len(head).to_bytes(4, "big") + head + b"payload"))
