"""Opening ONNX files: one file, one with its weights beside it, or both in an archive. Nothing of it runs.

Weights outside of the .onnx are read here as bytes, from the archive alone or from the one file that is named
after the .onnx: no library that follows the file's own paths is asked.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from dfad_core.contract.containers import GZIP, TAR, TAR_OFFSET, ZIP
from dfad_core.contract.errors import TeacherRejected
from dfad_core.formats.archive import EXTRA_BYTES, MAX_RATIO, Folder, may_hold
from dfad_core.networks.onnx_graph.spec import MAX_NODES

if TYPE_CHECKING:
    import onnx

MAX_TENSORS = 100_000
SUFFIX = ".onnx"
DATA_SUFFIXES = (".data", "_data")
"""What exporters add to the name of the .onnx for the file with its weights: PyTorch, and Optimum."""
OTHER_WEIGHTS = (".safetensors", ".bin", "data.pkl", "constants.pkl")
"""Endings of files whose archive is a Hugging Face folder or of torch.save, whatever else is in it."""


def is_archive(path: Path) -> bool:
    """Whether the file is a zip or a tar."""
    with path.open("rb") as file:
        head = file.read(TAR_OFFSET + len(TAR))
    return head.startswith((ZIP, GZIP)) or head[TAR_OFFSET:].startswith(TAR)


def holds_onnx(path: Path) -> bool:
    """Whether the archive holds an .onnx file and no weights of another format.

    Raises TeacherRejected: the codes of `Folder`, for a tar and for a zip with such a file.
    """
    if not may_hold(path, lambda name: name.endswith(SUFFIX)):
        return False
    names = Folder(path).names
    return bool(_models(names)) and not any(name.endswith(OTHER_WEIGHTS) for name in names)


def open_onnx(path: Path) -> tuple[onnx.ModelProto, bool]:
    """The model with all of its weights in it, and whether it is the file at `path` as it stands.

    Raises TeacherRejected: `corrupt_file`, `external_data` for weights that are not there, `structure_limit`,
    `several_models` for an archive of several.
    """
    if is_archive(path):
        folder = _Archive(path)
        model = _parsed(folder.read(folder.model))
        _bring_in(model, folder.beside)
        return model, False
    model = _parsed(path.read_bytes())
    return model, not _bring_in(model, lambda location: _beside(path, location))


def _parsed(content: bytes) -> onnx.ModelProto:
    import onnx
    from google.protobuf.message import DecodeError

    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except (DecodeError, ValueError) as error:
        raise TeacherRejected("The ONNX file is damaged or incomplete.", code="corrupt_file") from error
    return model


class _Archive:
    """The .onnx of an archive and the files beside it, within the archive's bounds."""

    def __init__(self, path: Path) -> None:
        self._folder = Folder(path)
        self._left = MAX_RATIO * path.stat().st_size + EXTRA_BYTES
        models = _models(self._folder.names)
        if len(models) > 1:
            text = f"The archive has {len(models)} ONNX models ({', '.join(models)[:300]}): leave one."
            raise TeacherRejected(text, code="several_models")
        self.model = models[0]

    def read(self, name: str) -> bytes:
        content = self._folder.read(name, self._left)
        self._left -= len(content)
        return content

    def beside(self, location: str) -> bytes | None:
        """The file that `location` names, from the .onnx on; None where the archive has none."""
        place = PurePosixPath(self.model).parent / location
        if place.is_absolute() or ".." in place.parts or str(place) not in self._folder.names:
            return None
        return self.read(str(place))


def _models(names: list[str]) -> list[str]:
    """The models among the files: the one called model.onnx where several are, as in Optimum's folders."""
    found = sorted(name for name in names if name.endswith(SUFFIX))
    usual = [name for name in found if PurePosixPath(name).name == f"model{SUFFIX}"]
    return usual if len(usual) == 1 else found


def _beside(path: Path, location: str) -> bytes | None:
    """The file with the weights next to `path`. It must be named after it, and be no link."""
    if location not in [path.name + suffix for suffix in DATA_SUFFIXES]:
        return None
    try:
        descriptor = os.open(path.with_name(location), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        return file.read() if stat.S_ISREG(os.fstat(descriptor).st_mode) else None


def _bring_in(model: onnx.ModelProto, source: Callable[[str], bytes | None]) -> bool:
    """Put weights of other files into the model, before any library opens them; whether there were any.

    No two tensors may have the same bytes: a small file could ask for terabytes.
    """
    import onnx

    files: dict[str, bytes] = {}
    taken = 0
    for tensor in all_tensors(model):
        if tensor.data_location != onnx.TensorProto.EXTERNAL and not tensor.external_data:
            continue
        about = {entry.key: entry.value for entry in tensor.external_data}
        location = about.get("location", "")
        if location not in files:
            content = source(location)
            if content is None:
                raise _not_there(location)
            files[location] = content
        content = files[location]
        begin, length = _range(about, len(content))
        taken += length
        if taken > sum(map(len, files.values())):
            text = "The tensors in the ONNX file's second file overlap."
            raise TeacherRejected(text, code="corrupt_file", param=tensor.name[:256])
        tensor.raw_data = content[begin : begin + length]
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]
    return bool(files)


def _range(about: dict[str, str], size: int) -> tuple[int, int]:
    """First byte and number of bytes of a tensor in its file of `size` bytes."""
    try:
        begin = int(about.get("offset") or 0)
        length = int(about.get("length") or size - begin)
    except ValueError:
        begin = length = -1
    if min(begin, length) < 0 or begin + length > size:
        raise TeacherRejected("A tensor lies outside of the file with its weights.", code="corrupt_file")
    return begin, length


def _not_there(location: str) -> TeacherRejected:
    name = PurePosixPath(location).name[:200]
    named = f", {name}" if name and name.isprintable() else ""
    return TeacherRejected(
        f"The ONNX file keeps its weights in a second file{named}, which is not there. Send both in one "
        "zip, or export it as one file: external_data=False in torch.onnx.export.",
        code="external_data",
    )


def all_tensors(model: onnx.ModelProto) -> list[Any]:
    """The tensors of the graph, its functions and its nodes. Raises TeacherRejected (`structure_limit`)."""
    tensors = list(model.graph.initializer)
    graphs: list[Any] = [model.graph, *model.functions]
    while graphs:
        graph = graphs.pop()
        tensors += getattr(graph, "initializer", [])
        for node in graph.node:
            for attribute in node.attribute:
                tensors += [attribute.t, *attribute.tensors]
                graphs += [attribute.g, *attribute.graphs] if attribute.HasField("g") else attribute.graphs
        if len(tensors) > MAX_TENSORS or len(graphs) > MAX_NODES:
            raise TeacherRejected(f"The graph has more than {MAX_TENSORS} tensors.", code="structure_limit")
    return tensors
