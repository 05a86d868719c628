"""Safetensors files and the metadata that this project writes into them."""

from __future__ import annotations

import json
from pathlib import Path

import safetensors
from safetensors.torch import load_file
from torch import Tensor

from dfad_core.errors import TeacherRejected


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of the file. Raises TeacherRejected (`corrupt_file`)."""
    _refuse_duplicate_keys(path)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
        return load_file(path), metadata
    except (safetensors.SafetensorError, OSError, ValueError, KeyError) as error:
        raise TeacherRejected(
            "The safetensors file is damaged or incomplete.", code="corrupt_file"
        ) from error


def _refuse_duplicate_keys(path: Path) -> None:
    """The library takes the last of two equal names; which one was meant nobody knows."""

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise TeacherRejected("The safetensors header names a tensor twice.", code="corrupt_file")
        return found

    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = file.read(length)
    try:
        json.loads(header, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise TeacherRejected("The safetensors header is not valid JSON.", code="corrupt_file") from error
