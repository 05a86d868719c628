"""Checkpoints: a run's state as bytes, with a hash and its job's fingerprint, loaded without running code."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import pickle
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from dfad_core.contract.config import DistillConfig
from dfad_core.contract.errors import CheckpointError

MAGIC = b"DFADCKP3"
_HEADER_BYTES = len(MAGIC) + 32 + 32 + 8


def fingerprint(config: DistillConfig, teacher: nn.Module, student: nn.Module) -> bytes:
    """32 bytes that identify a job: a hash of its settings, the teacher's weights and the student's shapes.

    Device, threads, intervals of reports and the deadline are left out; they may change between two attempts.
    """
    settings = dataclasses.asdict(config)
    for name in ("device", "progress_seconds", "sample_seconds", "checkpoint_seconds"):
        del settings[name]
    del settings["budget"]["max_runtime_seconds"]
    for name in ("threads", "cuda_graphs"):
        del settings["training"][name]
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for name, tensor in teacher.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    for name, tensor in student.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
    return digest.digest()


def pack(state: dict[str, Any], job: bytes) -> bytes:
    """The checkpoint of `state` (tensors, numbers, text, lists, dicts) for the job with this fingerprint."""
    buffer = io.BytesIO()
    buffer.write(bytes(_HEADER_BYTES))
    torch.save(state, buffer)
    digest = hashlib.sha256(job)
    with buffer.getbuffer() as whole, whole[_HEADER_BYTES:] as payload:
        digest.update(payload)
        whole[:_HEADER_BYTES] = b"".join((MAGIC, job, digest.digest(), len(payload).to_bytes(8, "big")))
    return buffer.getvalue()  # the buffer's own bytes: a large pool is not copied again


def verify(data: bytes) -> memoryview:
    """The payload of a checkpoint, not parsed. Raises CheckpointError if it is damaged."""
    header, payload = data[:_HEADER_BYTES], memoryview(data)[_HEADER_BYTES:]
    if len(header) < _HEADER_BYTES or not header.startswith(MAGIC):
        raise CheckpointError("this is not a checkpoint")
    if len(payload) != int.from_bytes(header[72:80], "big"):
        raise CheckpointError("the checkpoint is damaged: its length is wrong")
    digest = hashlib.sha256(header[8:40])
    digest.update(payload)
    if digest.digest() != header[40:72]:
        raise CheckpointError("the checkpoint is damaged: its hash is wrong")
    return payload


@contextlib.contextmanager
def restoring() -> Iterator[None]:
    """For the block, a part of a state that is missing or does not fit is a CheckpointError."""
    try:
        yield
    except (CheckpointError, torch.OutOfMemoryError):
        raise  # without the memory the checkpoint is sound; another attempt may have it
    except (RuntimeError, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise CheckpointError(f"the checkpoint does not fit this run: {error}") from error


def unpack(data: bytes, job: bytes) -> dict[str, Any]:
    """The state in a checkpoint. Raises CheckpointError if it is damaged or from another job."""
    payload = verify(data)
    if data[8:40] != job:
        raise CheckpointError("the checkpoint belongs to another job", code="foreign_checkpoint")
    try:
        state = torch.load(io.BytesIO(payload), weights_only=True, map_location="cpu")
    except (RuntimeError, pickle.UnpicklingError, EOFError, KeyError) as error:
        raise CheckpointError(f"the checkpoint cannot be read: {error}") from error
    if not isinstance(state, dict):
        raise CheckpointError("the checkpoint holds no state")
    return state
