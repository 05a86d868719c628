"""Files of torch.save as plain Python values: PyTorch's reader for weights alone, with bounds of its own."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from dfad_core.contract.errors import TeacherRejected
from dfad_core.contract.own_network import OWN_NETWORK

MAX_ENTRIES = 500_000
MAX_DEPTH = 100

READ_ERRORS = (
    ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError, OSError,
    RuntimeError, TypeError, ValueError, struct.error,
)  # fmt: skip
"""Errors of PyTorch's reader for damaged pickles, found by damaging some."""


class LeftOut:
    """Takes the place of a harmless object beside the weights: it keeps nothing of it."""

    def __new__(cls, *_arguments: object) -> LeftOut:
        return object.__new__(cls)

    def __init__(self, *_arguments: object) -> None:
        pass

    def __setstate__(self, _state: object) -> None:
        pass


class LeftOutArray(LeftOut):
    """Takes the place of an array of numpy: it keeps the number of its dimensions."""

    dims = 0

    def __setstate__(self, state: object) -> None:
        if isinstance(state, tuple) and len(state) == 5 and isinstance(state[1], tuple):
            self.dims = len(state[1])


class _Dict:
    """Makes a plain dictionary in the place of one of a class of its own."""

    def __new__(cls, *_arguments: object) -> dict[Any, Any]:  # type: ignore[misc]
        return {}


_NUMPY_DTYPES = (
    "Bool", "Int8", "Int16", "Int32", "Int64", "LongLong", "UInt8", "UInt16", "UInt32", "UInt64", "ULongLong",
    "Float16", "Float32", "Float64", "LongDouble", "Str", "Bytes", "DateTime64", "TimeDelta64",
)  # fmt: skip
_DICTS = (
    "collections.defaultdict",
    "lightning.fabric.utilities.data.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "pytorch_lightning.utilities.parsing.AttributeDict",
)
_LEFT_OUT = (
    *(f"numpy.{module}.multiarray.scalar" for module in ("core", "_core")),
    "numpy.dtype", "numpy.ndarray", *(f"numpy.dtypes.{name}DType" for name in _NUMPY_DTYPES),
    *(f"numpy.{name.lower()}" for name in _NUMPY_DTYPES), "numpy.bool_", "numpy.str_", "numpy.bytes_",
    *(f"{module}.{kind}{system}Path" for module in ("pathlib", "pathlib._local")
      for kind in ("", "Pure") for system in ("", "Posix", "Windows")),
    *(f"datetime.{name}" for name in ("date", "datetime", "time", "timedelta", "timezone")),
    *(f"builtins.{name}" for name in ("bool", "bytes", "dict", "float", "frozenset", "int", "list", "range",
                                      "slice", "str", "tuple")),
    "argparse.Namespace", "types.SimpleNamespace", "uuid.UUID", "torch.torch_version.TorchVersion",
)  # fmt: skip
"""Classes and functions whose objects training scripts keep beside the weights. None of them is called:
LeftOut is, in their place."""
_STAND_INS: list[Any] = [
    *((_Dict, name) for name in _DICTS),
    *((LeftOutArray, f"numpy.{module}.multiarray._reconstruct") for module in ("core", "_core")),
    *((LeftOut, name) for name in _LEFT_OUT),
]


def read_pickled(path: Path) -> Any:
    """The file's object: plain values, tensors, and LeftOut for what is harmless. Its code is never run.

    Raises TeacherRejected: `unsafe_pickle`, `corrupt_file`, `structure_limit`.
    """
    try:
        with torch.serialization.safe_globals(_STAND_INS):
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Weights only load failed" in str(error) or "Unsupported" in str(error):
            raise TeacherRejected(
                "The file contains more than tensors: loading it could run code. Of a network of the "
                f"catalogue save the weights alone (its state dict). {OWN_NETWORK}",
                code="unsafe_pickle",
            ) from error
        raise TeacherRejected("The file's pickle is damaged.", code="corrupt_file") from error
    except READ_ERRORS as error:
        raise TeacherRejected("The file is damaged or incomplete.", code="corrupt_file") from error
    _check_structure(loaded)
    return loaded


def _check_structure(loaded: Any) -> None:
    """Raise TeacherRejected (`structure_limit`) for more values than a walk can visit.

    A pickle of a few hundred bytes can nest sixty lists that each contain the next one twice.
    """
    visited, waiting = 0, [(loaded, 0)]
    while waiting:
        value, depth = waiting.pop()
        visited += 1
        if visited > MAX_ENTRIES or depth > MAX_DEPTH:
            raise TeacherRejected(
                "The file contains too many or too deeply nested values.", code="structure_limit"
            )
        if isinstance(value, Mapping):
            waiting += [(part, depth + 1) for pair in value.items() for part in pair]
        elif isinstance(value, list | tuple | set | frozenset):
            waiting += [(part, depth + 1) for part in value]
