"""What a model file is, told from its bytes."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Literal

from dfad_core.contract.containers import (
    HEAD_BYTES,
    SAFETENSORS_LENGTH_BYTES,
    container_of,
    unknown_container,
)
from dfad_core.errors import TeacherRejected
from dfad_core.formats.archive import Folder

Format = Literal["safetensors", "state_dict_pt", "onnx", "huggingface"]

MAX_SAFETENSORS_HEADER_BYTES = 100_000_000
CONFIG = "config.json"
"""What makes an archive a Hugging Face folder."""
MAX_ZIP_ENTRIES = 100_000
_EXPORT_HINT = "Save the weights instead: torch.save(model.state_dict(), 'teacher.pt')."


def detect_format(path: Path) -> Format:
    """The format of the file at `path`.

    Raises TeacherRejected: `corrupt_file`, `format_refused` (TorchScript, .pt2, legacy tar),
    `compressed_archive`, `unsafe_pickle` (a bare pickle), `unsupported_format` (anything else).
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    match container_of(head):
        case "zip":
            return _check_zip(path, size)
        case "tar" | "gzip":
            if CONFIG in Folder(path).names:
                return "huggingface"
            raise TeacherRejected(f"Tar files are not read. {_EXPORT_HINT}", code="format_refused")
        case "safetensors":
            header_bytes = int.from_bytes(head[:SAFETENSORS_LENGTH_BYTES], "little")
            most = min(MAX_SAFETENSORS_HEADER_BYTES, size - SAFETENSORS_LENGTH_BYTES)
            if header_bytes > most:
                raise TeacherRejected("The safetensors header is longer than it may be.", code="corrupt_file")
            return "safetensors"
        case "legacy_torch":
            raise TeacherRejected(
                f"Files of torch.save before version 1.6 are not read. {_EXPORT_HINT}", code="format_refused"
            )
        case "onnx":
            return "onnx"
        case "pickle":
            raise TeacherRejected(f"Bare pickles are not read. {_EXPORT_HINT}", code="unsafe_pickle")
    raise unknown_container(head)


def _check_zip(path: Path, size: int) -> Format:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise TeacherRejected("The file is a damaged zip archive.", code="corrupt_file") from error
    names = [entry.filename for entry in entries]
    if any(name.rpartition("/")[2] == CONFIG for name in names) and CONFIG in Folder(path).names:
        return "huggingface"
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
    if sum(entry.file_size for entry in entries) > size:
        raise TeacherRejected("The archive's entries overlap.", code="corrupt_file")
    if "data.pkl" not in inner:
        raise TeacherRejected("The zip archive holds no PyTorch state dict.", code="unsupported_format")
    return "state_dict_pt"
