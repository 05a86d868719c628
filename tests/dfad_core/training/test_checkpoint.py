import hashlib

import pytest
import torch

from dfad_core.contract.errors import CheckpointError
from dfad_core.training import checkpoint

JOB, OTHER = bytes(32), bytes([1]) * 32
STATE = {"step": 3, "tensors": [torch.arange(4.0)], "text": "{}", "none": None}


@pytest.fixture(scope="module")
def sealed() -> bytes:
    return checkpoint.pack(STATE, JOB)


def test_what_goes_in_comes_out(sealed: bytes) -> None:
    state = checkpoint.unpack(sealed, JOB)
    assert state["step"] == 3
    assert torch.equal(state["tensors"][0], STATE["tensors"][0])
    assert state["text"] == "{}"
    assert state["none"] is None


@pytest.mark.parametrize("length", [0, 7, 8, 79, 80, 81, -1])
def test_an_incomplete_one_is_refused(sealed: bytes, length: int) -> None:
    with pytest.raises(CheckpointError):
        checkpoint.unpack(sealed[:length], JOB)


def test_trailing_bytes_are_refused(sealed: bytes) -> None:
    with pytest.raises(CheckpointError, match="length"):
        checkpoint.unpack(sealed + b"x", JOB)


def test_any_flipped_byte_is_noticed(sealed: bytes) -> None:
    for position in [*range(80), *range(80, len(sealed), 97), len(sealed) - 1]:
        damaged = bytearray(sealed)
        damaged[position] ^= 0x40
        with pytest.raises(CheckpointError):
            checkpoint.unpack(bytes(damaged), JOB)


def test_another_jobs_is_refused(sealed: bytes) -> None:
    with pytest.raises(CheckpointError) as caught:
        checkpoint.unpack(sealed, OTHER)
    assert caught.value.code == "foreign_checkpoint"


def _sealed(payload: bytes) -> bytes:
    header = checkpoint.MAGIC + JOB + hashlib.sha256(JOB + payload).digest()
    return header + len(payload).to_bytes(8, "big") + payload


def test_a_sealed_pickle_with_code_does_not_run() -> None:
    with pytest.raises(CheckpointError, match="cannot be read"):
        checkpoint.unpack(_sealed(b"cos\nsystem\n(S'touch /tmp/should-not-be'\ntR."), JOB)


def test_a_state_is_a_dict(tmp_path) -> None:
    torch.save([1, 2], tmp_path / "list")
    with pytest.raises(CheckpointError, match="no state"):
        checkpoint.unpack(_sealed((tmp_path / "list").read_bytes()), JOB)


def test_the_fingerprint_sees_what_matters(tiny) -> None:
    teacher, student, config = tiny.classifier(4), tiny.classifier(4), tiny.config()
    mark = checkpoint.fingerprint(config, teacher, student)
    assert mark == checkpoint.fingerprint(tiny.config(threads=3), tiny.classifier(4), student)
    assert mark == checkpoint.fingerprint(config, teacher, tiny.classifier(4, seed=5))  # the student's start
    assert mark != checkpoint.fingerprint(config, tiny.classifier(4, seed=5), student)
    assert mark != checkpoint.fingerprint(config, teacher, tiny.classifier(4, bn=False))
    assert mark != checkpoint.fingerprint(tiny.config(batch_size=17), teacher, student)
    assert mark != checkpoint.fingerprint(tiny.config(method={"name": "dfad"}), teacher, student)
