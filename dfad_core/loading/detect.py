"""What a model file is, told from its bytes."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Literal

from dfad_core.errors import TeacherRejected
from dfad_core.loading.archive import GZIP, Folder

Format = Literal["safetensors", "state_dict_pt", "onnx", "huggingface"]

MAX_SAFETENSORS_HEADER_BYTES = 100_000_000
CONFIG = "config.json"
"""What makes an archive a Hugging Face folder."""
MAX_ZIP_ENTRIES = 100_000
LEGACY_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""The pickled number that torch.save wrote first before it wrote zip archives."""
ONNX_VERSIONS = range(3, 64)
"""Of the format itself; the first field of every file, behind its tag 8."""
PICKLE_PROTOCOLS = (b"\x02", b"\x03", b"\x04", b"\x05")
_EXPORT_HINT = "Save the weights instead: torch.save(model.state_dict(), 'teacher.pt')."


def detect_format(path: Path) -> Format:
    """The format of the file at `path`.

    Raises TeacherRejected: `corrupt_file`, `format_refused` (TorchScript, .pt2, legacy tar),
    `compressed_archive`, `unsafe_pickle` (a bare pickle), `unsupported_format` (anything else).
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(16)
        # By the first bytes alone, as torch.load does: a zip behind something else would be checked
        # here and the something else would be read there.
        if head[:4] == b"PK\x03\x04":
            return _check_zip(path, size)
        file.seek(257)
        is_tar = file.read(5) == b"ustar"
    if is_tar or head[:2] == GZIP:
        if CONFIG in Folder(path).names:
            return "huggingface"
        raise TeacherRejected(f"Tar files are not read. {_EXPORT_HINT}", code="format_refused")
    if len(head) > 9 and head[8:9] == b"{":
        header_bytes = int.from_bytes(head[:8], "little")
        if header_bytes > MAX_SAFETENSORS_HEADER_BYTES or header_bytes > size - 8:
            raise TeacherRejected("The safetensors header is longer than it may be.", code="corrupt_file")
        return "safetensors"
    if head.startswith(LEGACY_TORCH):
        raise TeacherRejected(
            f"Files of torch.save before version 1.6 are not read. {_EXPORT_HINT}", code="format_refused"
        )
    if len(head) > 2 and head[0] == 8 and head[1] in ONNX_VERSIONS:
        return "onnx"
    if head[:1] == b"\x80" and head[1:2] in PICKLE_PROTOCOLS:
        raise TeacherRejected(f"Bare pickles are not read. {_EXPORT_HINT}", code="unsafe_pickle")
    raise TeacherRejected(
        "The file is no safetensors file, PyTorch state dict, ONNX model or Hugging Face folder.",
        code="unsupported_format",
    )


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
