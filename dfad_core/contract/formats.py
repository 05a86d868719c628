"""The catalogue of file formats: one row a format. Torch-free.

A new format of teachers or students needs its file in `dfad_core/formats` and its row here: names, suffixes,
the first check of an upload, the formats that a job may request and those on the page all come from the row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

SAFETENSORS_LENGTH_BYTES = 8
"""Size of the number before a safetensors header, which is JSON."""
ONNX_VERSIONS = range(3, 64)
"""Accepted versions of the format itself, the first field of every file (its tag is 8)."""


@dataclass(frozen=True)
class Format:
    """One row of the catalogue."""

    name: str
    title: str
    """With its article, as in "The file is a PNG image, not a safetensors file …"."""
    module: str
    """Import path of the file that reads or writes it; see `dfad_core.formats.interface`."""
    extra: str | None = None
    """The extra of this distribution that installs what the format needs."""
    reads: bool = False
    """Whether teachers can be in this format."""
    begins: Callable[[bytes], bool] | None = None
    """Whether a file with these first bytes is in this format; None for a format in an archive."""
    containers: tuple[str, ...] = ()
    """Archives that this format comes in, see `dfad_core.contract.containers`."""
    tensors_only: bool = False
    """Whether it holds named tensors and no network. Such a file can be a student's initial weights."""
    writes: bool = False
    """Whether students can be written in this format."""
    suffix: str = ""
    """Ending of a student's file name."""
    media_type: str = "application/octet-stream"
    needs: tuple[str, ...] = ()
    """Formats that it is made from; a student is written in them first."""
    student: str | None = None
    """The field of a job's `student` that it is limited to; None: a student of any kind."""
    typical_seconds: float = 0.0
    """Typical time of writing and checking a network of a few dozen layers, on two processor cores."""

    @property
    def artifact_kind(self) -> str:
        """Kind of a job's artifact in this format."""
        return "student" if self.name == DEFAULT else f"student_{self.name}"


def _begins_safetensors(head: bytes) -> bool:
    return len(head) > SAFETENSORS_LENGTH_BYTES + 1 and head[SAFETENSORS_LENGTH_BYTES:].startswith(b"{")


def _begins_onnx(head: bytes) -> bool:
    return len(head) > 2 and head[0] == 8 and head[1] in ONNX_VERSIONS


DEFAULT = "safetensors"
"""Format of every student; the others are written on request."""

_ROWS = (
    Format(
        DEFAULT,
        "a safetensors file",
        "dfad_core.formats.safetensors",
        reads=True,
        begins=_begins_safetensors,
        tensors_only=True,
        writes=True,
        suffix=".safetensors",
    ),
    Format(
        "onnx",
        "an ONNX model (alone, or in a zip with its weights)",
        "dfad_core.formats.onnx",
        extra="onnx",
        reads=True,
        begins=_begins_onnx,
        containers=("zip", "tar", "gzip"),
        writes=True,
        suffix=".onnx",
        typical_seconds=10.0,
    ),
    Format(
        "pt2",
        "a torch.export program",
        "dfad_core.formats.pt2",
        writes=True,
        suffix=".pt2",
        typical_seconds=8.0,
    ),
    Format(
        "int8",
        "an ONNX model in eight-bit integers",
        "dfad_core.formats.int8",
        extra="onnx",
        writes=True,
        suffix=".int8.onnx",
        needs=("onnx",),
        typical_seconds=10.0,
    ),
    Format(
        "huggingface",
        "a Hugging Face folder (zip or tar)",
        "dfad_core.formats.huggingface",
        extra="huggingface",
        reads=True,
        containers=("zip", "tar", "gzip"),
        writes=True,
        suffix=".zip",
        student="transformers",
        typical_seconds=3.0,
    ),
    # Last, because it takes every zip archive and refuses one that is no state dict, with the reason.
    Format(
        "state_dict_pt",
        "a PyTorch state dict (.pt or .pth)",
        "dfad_core.formats.state_dict",
        reads=True,
        containers=("zip", "legacy_torch"),
        tensors_only=True,
    ),
)

FORMATS: Mapping[str, Format] = {row.name: row for row in _ROWS}
"""In the order in which readers are tried on a file, and in which a student is written."""
TEACHER_FORMATS = tuple(row.name for row in _ROWS if row.reads)
STUDENT_FORMATS = tuple(row.name for row in _ROWS if row.writes)
EXPORTS = tuple(name for name in STUDENT_FORMATS if name != DEFAULT)
"""Formats of students besides DEFAULT."""


def accepted() -> str:
    """The formats of teachers as part of a sentence: "a safetensors file, … or …"."""
    *titles, last = (FORMATS[name].title for name in TEACHER_FORMATS)
    return f"{', '.join(titles)} or {last}"
