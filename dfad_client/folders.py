"""Teachers of several files as the one that the service takes: Hugging Face folders, ONNX in two files."""

from __future__ import annotations

import contextlib
import json
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

CONFIG = "config.json"
WEIGHTS, INDEX, PICKLE = "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"
ONNX, ONNX_DATA = ".onnx", (".data", "_data")
"""Endings of an ONNX model's name, and what exporters add to it for a second file, with the weights."""
TIMESTAMP = (1980, 1, 1, 0, 0, 0)
"""Fixed, so that the same files give the same bytes."""


class NotAFolder(OSError):
    """A folder without a model in it; the text says what is missing."""


@contextlib.contextmanager
def one_file(path: Path) -> Iterator[Path]:
    """`path` itself, or a temporary zip without any code: of a folder's configs and weights, or of an .onnx
    and the second file with its weights.

    Raises NotAFolder for a folder without a config.json or without weights, OSError.
    """
    if path.is_dir():
        folder, names, stem = path, _names(path), path.resolve().name or "model"
    else:
        folder, names, stem = path.parent, _with_data(path), path.name
    if names == [path.name]:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="dfad-") as scratch:
        packed = Path(scratch) / f"{stem}.zip"
        with zipfile.ZipFile(packed, "w") as archive:
            for name in names:
                _add(archive, folder / name, name)
        yield packed


def _with_data(file: Path) -> list[str]:
    """The file, and what is beside an .onnx with its weights."""
    beside = [file.name + ending for ending in ONNX_DATA] if file.suffix == ONNX else []
    return [file.name, *(name for name in beside if (file.parent / name).is_file())]


def _names(folder: Path) -> list[str]:
    """Files of the folder that a reader needs."""
    if not (folder / CONFIG).is_file():
        text = f"the folder has no {CONFIG}: name a model's file, or a folder that save_pretrained wrote"
        raise NotAFolder(0, text, str(folder))
    configs = sorted(file.name for file in folder.glob("*config.json") if file.is_file())
    if (folder / WEIGHTS).is_file():
        return [*configs, WEIGHTS]
    if (folder / INDEX).is_file():
        return [*configs, INDEX, *_shards(folder)]
    if (folder / PICKLE).is_file():
        return [*configs, PICKLE]
    raise NotAFolder(0, f"the folder has no {WEIGHTS} and no {PICKLE}", str(folder))


def _shards(folder: Path) -> list[str]:
    """The files that the index names, as far as they are in the folder."""
    try:
        shards = set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values())
        return sorted(name for name in shards if Path(name).name == name and (folder / name).is_file())
    except (ValueError, KeyError, TypeError, AttributeError):
        raise NotAFolder(0, f"its {INDEX} cannot be read", str(folder)) from None


def _add(archive: zipfile.ZipFile, file: Path, name: str) -> None:
    entry = zipfile.ZipInfo(name, TIMESTAMP)
    entry.file_size = file.stat().st_size  # of a large file, the archive needs to know before
    with file.open("rb") as source, archive.open(entry, "w") as target:
        while piece := source.read(1 << 20):
            target.write(piece)
