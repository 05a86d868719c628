"""The container of a model file, by its first bytes: an archive, or a format of its own. Torch-free.

The service checks uploads with the same function as the readers, so it refuses only what they would refuse.
"""

from __future__ import annotations

from dfad_core.contract.errors import TeacherRejected
from dfad_core.contract.formats import FORMATS, accepted

HEAD_BYTES = 512
"""Number of bytes that `container_of` needs: the first block of a tar."""
ZIP, GZIP = b"PK\x03\x04", b"\x1f\x8b"
TAR, TAR_OFFSET = b"ustar", 257
LEGACY_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""Pickled magic number at the start of the files that torch.save wrote before version 1.6."""
PICKLE_PROTOCOLS = (b"\x02", b"\x03", b"\x04", b"\x05")
LFS_POINTER = b"version https://git-lfs"
TFLITE, TFLITE_OFFSET = b"TFL3", 4
OTHERS = (
    (b"\x89PNG\r\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"%PDF-", "a PDF document"),
    (b"\x89HDF\r\n", "an HDF5 file, as Keras writes them (export the network to ONNX, e.g. with tf2onnx)"),
    (b"RIFF", "a sound, a film or a WebP image"),
    (b"fLaC", "a sound"),
    (b"ID3", "a sound"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"PAR1", "a Parquet file"),
    (b"GGUF", "a GGUF file"),
    (b"\xfd7zXZ", "compressed by xz (unpack it)"),
    (b"BZh", "compressed by bzip2 (unpack it)"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd (unpack it)"),
    (b"7z\xbc\xaf", "a 7z archive (unpack it)"),
    (b"Rar!", "a RAR archive (unpack it)"),
)
"""First bytes of files that users upload by mistake, and what such a file is."""


def container_of(head: bytes) -> str | None:
    """`zip`, `tar`, `gzip`, the name of a format, `legacy_torch` or `pickle`; None: unknown.

    `head` is the file's first HEAD_BYTES, or all of it. A file in one of these containers may still be
    damaged or refused; any other file is refused by every reader.
    """
    checks = (
        # Only at the very beginning, as in torch.load: it would read what comes before a later zip archive,
        # while the checks would see the archive.
        ("zip", head.startswith(ZIP)),
        ("tar", head[TAR_OFFSET:].startswith(TAR)),
        ("gzip", head.startswith(GZIP)),
        *((row.name, row.begins(head)) for row in FORMATS.values() if row.begins is not None),
        ("legacy_torch", head.startswith(LEGACY_TORCH)),
        ("pickle", head.startswith(b"\x80") and head[1:2] in PICKLE_PROTOCOLS),
    )
    return next((name for name, matches in checks if matches), None)


def unknown_container(head: bytes) -> TeacherRejected:
    """The error for a file in an unknown container: what it seems to be, and which formats are accepted."""
    hint = ""
    if head.startswith(LFS_POINTER):
        kind = "a Git LFS pointer"
        hint = " The model itself is elsewhere: `git lfs pull` fetches it."
    else:
        kind = next((name for magic, name in OTHERS if head.startswith(magic)), "") or _text(head)
        if head[TFLITE_OFFSET:].startswith(TFLITE):
            kind = "a TensorFlow Lite model (export the network to ONNX, e.g. with tf2onnx)"
        if kind == "a web page":
            hint = " A link to a file often leads to a page about it: download the file itself."
    text = f"The file is {kind}, not {accepted()}." if kind else f"The file is not {accepted()}."
    return TeacherRejected(text + hint, code="unsupported_format")


def _text(head: bytes) -> str:
    """`a web page`, `text`, or "" for content that is not text."""
    # The last character may be cut in two.
    text = head.decode("utf-8", "ignore") if b"\0" not in head else ""
    if len(text.encode()) < len(head) - 3 or not text.strip():
        return ""
    if any(not (character.isprintable() or character.isspace()) for character in text):
        return ""
    return "a web page" if text.lstrip().lower().startswith(("<!doctype html", "<html")) else "text"
