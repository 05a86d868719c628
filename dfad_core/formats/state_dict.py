"""State dicts written by torch.save."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dfad_core.errors import TeacherRejected

WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "ema", "module", "teacher", "weights")
"""Names under which training scripts keep the weights beside optimizer and epoch."""

MAX_ENTRIES = 500_000
MAX_DEPTH = 100

BROKEN = (
    ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError, OSError,
    RuntimeError, TypeError, ValueError, struct.error,
)  # fmt: skip
"""What PyTorch's reader raises on garbled pickles; found by garbling them."""


def read_state_dict_pt(path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors of the file and notes on what was left out. Code in the pickle is never run.

    Raises TeacherRejected: `unsafe_pickle`, `corrupt_file`, `structure_limit`, `unsupported_format`.
    """
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Weights only load failed" in str(error) or "Unsupported" in str(error):
            raise TeacherRejected(
                "The file holds more than tensors: loading it could run code. "
                "Save the weights alone: torch.save(model.state_dict(), 'teacher.pt').",
                code="unsafe_pickle",
            ) from error
        raise TeacherRejected("The file's pickle is damaged.", code="corrupt_file") from error
    except BROKEN as error:
        raise TeacherRejected("The file is damaged or incomplete.", code="corrupt_file") from error
    _check_structure(loaded)
    return _unwrap(loaded)


def _check_structure(loaded: Any) -> None:
    """Raise TeacherRejected (`structure_limit`) where walking through it would not end.

    A pickle of a few hundred bytes can hold lists that hold each other twice, sixty times over.
    """
    seen, waiting = 0, [(loaded, 0)]
    while waiting:
        value, depth = waiting.pop()
        seen += 1
        if seen > MAX_ENTRIES or depth > MAX_DEPTH:
            raise TeacherRejected("The file nests more values than are read.", code="structure_limit")
        if isinstance(value, Mapping):
            waiting += [(part, depth + 1) for pair in value.items() for part in pair]
        elif isinstance(value, list | tuple | set | frozenset):
            waiting += [(part, depth + 1) for part in value]


def _unwrap(loaded: Any) -> tuple[dict[str, Tensor], list[str]]:
    notes: list[str] = []
    for _ in range(3):
        if not isinstance(loaded, dict):
            break
        wrapper = next((w for w in WRAPPERS if isinstance(loaded.get(w), dict)), None)
        if wrapper is None:
            break
        left = sorted(str(k) for k in loaded if k != wrapper)
        notes.append(f"read the weights under {wrapper!r}" + (f", left out {left[:8]}" if left else ""))
        loaded = loaded[wrapper]
    if not isinstance(loaded, dict):
        raise TeacherRejected("The file holds no state dict.", code="unsupported_format")
    tensors = {str(k): v for k, v in loaded.items() if isinstance(v, Tensor)}
    others = sorted(str(k) for k, v in loaded.items() if not isinstance(v, Tensor))
    if not tensors:
        raise TeacherRejected("The file's state dict holds no tensor.", code="unsupported_format")
    if others:
        notes.append(f"left out entries that are no tensors: {others[:8]}")
    return tensors, notes
