"""State dicts written by torch.save: zip archives with a pickle of tensors, and the files of before 1.6."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from torch import Tensor

from dfad_core.contract.containers import ZIP
from dfad_core.contract.errors import TeacherRejected
from dfad_core.contract.own_network import OWN_NETWORK
from dfad_core.formats.archive import is_system_file
from dfad_core.formats.class_names import found_in
from dfad_core.formats.fitting import MAX_STATE_DICTS, StateDicts, is_beside, load_one_of, main_name
from dfad_core.formats.interface import Hints, LoadedTeacher
from dfad_core.formats.legacy_torch import check_legacy
from dfad_core.formats.match import first_names
from dfad_core.formats.pickled import LeftOutArray, read_pickled

MAX_ZIP_ENTRIES = 100_000
MODEL_SUFFIXES = (".pt", ".pth", ".th", ".ckpt", ".bin", ".safetensors", ".onnx")
MAX_WRAPPERS = 3
"""Largest number of dictionaries around a state dict."""


def recognises(path: Path) -> bool:
    """True for a file that PyTorch may read; TeacherRejected for every other one.

    The codes of `check_legacy`; for a zip archive `corrupt_file` for entries that are damaged, duplicate,
    overlapping or outside of the archive, `format_refused` for TorchScript and .pt2, which are code,
    `compressed_archive`, and `unsupported_format` for an archive without a state dict.
    """
    with path.open("rb") as file:
        zipped = file.read(len(ZIP)) == ZIP
    if not zipped:
        check_legacy(path)
        return True
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
        raise TeacherRejected(f"TorchScript is code and is not run. {OWN_NETWORK}", code="format_refused")
    if any(n == "archive_format" or n.startswith(("models/", "data/weights/")) for n in [*names, *inner]):
        raise TeacherRejected(f".pt2 files are not supported. {OWN_NETWORK}", code="format_refused")
    if "data.pkl" not in inner:
        raise _no_state_dict(names)
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        text = "The state dict was packed again, with compression. Send the file as torch.save wrote it."
        raise TeacherRejected(text, code="compressed_archive")
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise TeacherRejected("The archive's entries overlap.", code="corrupt_file")
    return True


def _no_state_dict(names: Sequence[str]) -> TeacherRejected:
    """Why an archive without a state dict is refused."""
    paths = [PurePosixPath(name) for name in names]
    models = [path.name for path in paths if path.suffix in MODEL_SUFFIXES and not is_system_file(path)]
    if any(path.name == "saved_model.pb" for path in paths):
        text = "The archive is a TensorFlow SavedModel: export the network to ONNX, e.g. with tf2onnx."
    elif models:
        text = f"The zip archive contains {first_names(models)}. Unpack it, and send the model's file alone."
    else:
        text = (
            "The zip archive contains no PyTorch state dict, no ONNX model and no folder with a config.json."
        )
    return TeacherRejected(text, code="unsupported_format")


def load(path: Path, hints: Hints) -> LoadedTeacher:
    """A network of the catalogue that some of the tensors fit.

    Raises TeacherRejected: the codes of `read_pickled` and `load_one_of`, and `unsupported_format`.
    """
    loaded = read_pickled(path)
    state_dicts, notes = _state_dicts(loaded)
    teacher = load_one_of(state_dicts, hints, notes)
    teacher.class_names = found_in(loaded, teacher.num_classes)
    return teacher


def read_tensors(path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors of the file and notes on what was left out. Code in the pickle is never run.

    `path` must be one that `recognises` accepted: of other archives torch.load reads more than tensors.
    Raises TeacherRejected: the codes of `read_pickled`, and `unsupported_format`.
    """
    state_dicts, notes = _state_dicts(read_pickled(path))
    return dict(state_dicts[main_name(state_dicts)]), notes


def _state_dicts(loaded: Any) -> tuple[StateDicts, list[str]]:
    """Every dictionary of tensors in a file by its keys, as in `trainer.ema`, and notes on the rest."""
    if not isinstance(loaded, Mapping | list | tuple):
        raise TeacherRejected("The file contains no state dict.", code="unsupported_format")
    found: dict[str, dict[str, Tensor]] = {}
    arrays: list[tuple[str, str]] = []
    for place, name, part in _named_tensors(loaded, "", 0):
        if isinstance(part, LeftOutArray):
            arrays.append((place, name))
            continue
        if name in found.setdefault(place, {}):
            text = f"The file names {place[:100]}.{name[:100]} twice."
            raise TeacherRejected(text, code="corrupt_file")
        found[place][name] = part
        if len(found) > MAX_STATE_DICTS:
            text = f"The file contains more than {MAX_STATE_DICTS} dictionaries of tensors."
            raise TeacherRejected(text, code="structure_limit")
    for place, name in arrays:
        if (place in found or not found) and not is_beside(f"{place}.{name}"):
            text = (
                f"{name[:200]} is an array of numpy, not a tensor. Save torch.from_numpy(array) in its place."
            )
            raise TeacherRejected(text, code="unsupported_format", param=name[:200])
    if not found:
        raise TeacherRejected("The file contains no state dict with a tensor.", code="unsupported_format")
    others = [
        key
        for key, value in _items(loaded)
        if not isinstance(value, Tensor)
        and not any(place == key or place.startswith(f"{key}.") for place in found)
    ]
    return found, [f"left out entries that are no weights: {first_names(sorted(others))}"] if others else []


def _named_tensors(value: Any, place: str, depth: int) -> Iterator[tuple[str, str, Tensor | LeftOutArray]]:
    """Key of the dictionary, name and tensor, or array of the dimensions of a layer's.

    A dictionary by number is an optimizer's, and left out.
    """
    for key, part in _items(value):
        if isinstance(part, Tensor) or (isinstance(part, LeftOutArray) and part.dims >= 2):
            yield place, key, part
        elif depth < MAX_WRAPPERS:
            yield from _named_tensors(part, f"{place}.{key}" if place else key, depth + 1)


def _items(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        return [(key, part) for key, part in value.items() if isinstance(key, str)]
    if isinstance(value, list | tuple):
        return [(str(number), part) for number, part in enumerate(value) if isinstance(part, Mapping)]
    return []
