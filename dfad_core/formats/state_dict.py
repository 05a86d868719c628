"""State dicts written by torch.save: zip archives with a pickle of tensors."""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dfad_core.contract.errors import TeacherRejected
from dfad_core.formats.interface import Hints, LoadedTeacher
from dfad_core.formats.match import load_fitting

MAX_ZIP_ENTRIES = 100_000
WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "ema", "module", "teacher", "weights")
"""Names under which training scripts keep the weights beside optimizer and epoch."""

MAX_ENTRIES = 500_000
MAX_DEPTH = 100

BROKEN = (
    ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError, OSError,
    RuntimeError, TypeError, ValueError, struct.error,
)  # fmt: skip
"""What PyTorch's reader raises on garbled pickles, as garbling them showed."""


_EXPORT_HINT = "Save the weights instead: torch.save(model.state_dict(), 'teacher.pt')."


def recognises(path: Path) -> bool:
    """True for a zip archive that PyTorch may read; TeacherRejected for every other one.

    `corrupt_file` for entries that are damaged, duplicate, overlapping or outside of the archive,
    `format_refused` for TorchScript and .pt2, which are code, `compressed_archive`, and
    `unsupported_format` for an archive of something else.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise TeacherRejected("The file is a damaged zip archive.", code="corrupt_file") from error
    names = [entry.filename for entry in entries]
    if len(names) > MAX_ZIP_ENTRIES or len(set(names)) != len(names):
        raise TeacherRejected("The archive has duplicate or too many entries.", code="corrupt_file")
    if any(name.startswith("/") or ".." in name.split("/") for name in names):
        raise TeacherRejected("The archive has entries outside of itself.", code="corrupt_file")
    inner = [name.partition("/")[2] for name in names]
    if any(n == "constants.pkl" or n.startswith("code/") for n in inner):
        raise TeacherRejected(f"TorchScript is code and is not run. {_EXPORT_HINT}", code="format_refused")
    if any(n == "archive_format" or n.startswith(("models/", "data/weights/")) for n in [*names, *inner]):
        raise TeacherRejected(f".pt2 files are not read. {_EXPORT_HINT}", code="format_refused")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise TeacherRejected("Compressed archives are not read.", code="compressed_archive")
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise TeacherRejected("The archive's entries overlap.", code="corrupt_file")
    if "data.pkl" not in inner:
        raise TeacherRejected("The zip archive holds no PyTorch state dict.", code="unsupported_format")
    return True


def load(path: Path, hints: Hints) -> LoadedTeacher:
    """A network of the catalogue that the tensors fit.

    Raises TeacherRejected: the codes of `read_tensors` and `load_fitting`.
    """
    tensors, notes = read_tensors(path)
    return load_fitting(tensors, hints, None, notes)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors of the file and notes on what was left out. Code in the pickle is never run.

    `path` must be one that `recognises` accepted: of an archive that it refuses torch.load would read more
    than tensors. Raises TeacherRejected: `unsafe_pickle`, `corrupt_file`, `structure_limit`,
    `unsupported_format`.
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
    visited, waiting = 0, [(loaded, 0)]
    while waiting:
        value, depth = waiting.pop()
        visited += 1
        if visited > MAX_ENTRIES or depth > MAX_DEPTH:
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
