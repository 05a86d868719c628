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
"""Names under which training scripts store the weights next to optimizer and epoch."""

MAX_ENTRIES = 500_000
MAX_DEPTH = 100

READ_ERRORS = (
    ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError, OSError,
    RuntimeError, TypeError, ValueError, struct.error,
)  # fmt: skip
"""Errors of PyTorch's reader for damaged pickles, found by damaging some."""

_EXPORT_HINT = "Save the weights instead: torch.save(model.state_dict(), 'teacher.pt')."


def recognises(path: Path) -> bool:
    """True for a zip archive that PyTorch may read; TeacherRejected for every other one.

    `corrupt_file` for entries that are damaged, duplicate, overlapping or outside of the archive,
    `format_refused` for TorchScript and .pt2, which are code, `compressed_archive`, and
    `unsupported_format` for an archive without a state dict.
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
        raise TeacherRejected("The archive has paths that lead out of it.", code="corrupt_file")
    inner = [name.partition("/")[2] for name in names]
    if any(n == "constants.pkl" or n.startswith("code/") for n in inner):
        raise TeacherRejected(f"TorchScript is code and is not run. {_EXPORT_HINT}", code="format_refused")
    if any(n == "archive_format" or n.startswith(("models/", "data/weights/")) for n in [*names, *inner]):
        raise TeacherRejected(f".pt2 files are not supported. {_EXPORT_HINT}", code="format_refused")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise TeacherRejected("Compressed archives are not supported.", code="compressed_archive")
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise TeacherRejected("The archive's entries overlap.", code="corrupt_file")
    if "data.pkl" not in inner:
        raise TeacherRejected("The zip archive contains no PyTorch state dict.", code="unsupported_format")
    return True


def load(path: Path, hints: Hints) -> LoadedTeacher:
    """A network of the catalogue that the tensors fit.

    Raises TeacherRejected: the codes of `read_tensors` and `load_fitting`.
    """
    tensors, notes = read_tensors(path)
    return load_fitting(tensors, hints, None, notes)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors of the file and notes on what was left out. Code in the pickle is never run.

    `path` must be one that `recognises` accepted: of other archives torch.load reads more than tensors.
    Raises TeacherRejected: `unsafe_pickle`, `corrupt_file`, `structure_limit`, `unsupported_format`.
    """
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Weights only load failed" in str(error) or "Unsupported" in str(error):
            raise TeacherRejected(
                "The file contains more than tensors: loading it could run code. "
                "Save the weights alone: torch.save(model.state_dict(), 'teacher.pt').",
                code="unsafe_pickle",
            ) from error
        raise TeacherRejected("The file's pickle is damaged.", code="corrupt_file") from error
    except READ_ERRORS as error:
        raise TeacherRejected("The file is damaged or incomplete.", code="corrupt_file") from error
    _check_structure(loaded)
    return _unwrap(loaded)


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


def _unwrap(loaded: Any) -> tuple[dict[str, Tensor], list[str]]:
    notes: list[str] = []
    for _ in range(3):
        if not isinstance(loaded, dict):
            break
        wrapper = next((w for w in WRAPPERS if isinstance(loaded.get(w), dict)), None)
        if wrapper is None:
            break
        others = sorted(str(k) for k in loaded if k != wrapper)
        notes.append(f"read the weights under {wrapper!r}" + (f", left out {others[:8]}" if others else ""))
        loaded = loaded[wrapper]
    if not isinstance(loaded, dict):
        raise TeacherRejected("The file contains no state dict.", code="unsupported_format")
    tensors = {str(k): v for k, v in loaded.items() if isinstance(v, Tensor)}
    others = sorted(str(k) for k, v in loaded.items() if not isinstance(v, Tensor))
    if not tensors:
        raise TeacherRejected("The file's state dict contains no tensor.", code="unsupported_format")
    if others:
        notes.append(f"left out entries that are no tensors: {others[:8]}")
    return tensors, notes
