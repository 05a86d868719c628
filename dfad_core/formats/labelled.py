"""Labelled images for measuring accuracy, and nothing else.

A sandboxed process reads the user's file (`labelled_file.read_labelled_file`) and writes its tensors for the
process that measures (`write_labelled`, `read_labelled`).

`_NCHW`: images, channels, height, width; `_BCHW`: one batch of them; `_N`: images.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from dfad_core.contract.config import InputConfig
from dfad_core.contract.errors import EvaluationRejected, TeacherRejected
from dfad_core.contract.evaluation_plan import batch_size
from dfad_core.formats.safetensors import read_safetensors

KEY = "dfad_labelled"
BATCH = 256
"""Number of images in a batch, fewer where they are large."""


@dataclass(frozen=True)
class Labelled:
    """Images and their labels."""

    images_NCHW: Tensor
    """uint8: pixels, 0 to 255. float32: already in the teacher's normalised space."""
    labels_N: Tensor
    input: InputConfig
    name: str
    notes: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """Number of images."""
        return len(self.labels_N)

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Normalised images (B, C, H, W), float32, and labels (B), on the CPU."""
        batch = batch_size(self.input.shape, BATCH)
        for images, labels in zip(
            torch.split(self.images_NCHW, batch), torch.split(self.labels_N, batch), strict=True
        ):
            yield self._normalised(images), labels

    def _normalised(self, x_BCHW: Tensor) -> Tensor:
        if x_BCHW.dtype != torch.uint8:
            return x_BCHW
        scaled = x_BCHW.float() / 255
        if self.input.mean is not None:
            scaled = scaled - torch.tensor(self.input.mean).reshape(1, -1, 1, 1)
        if self.input.std is not None:
            scaled = scaled / torch.tensor(self.input.std).reshape(1, -1, 1, 1)
        return scaled


def write_labelled(labelled: Labelled, path: Path) -> None:
    """Write the file that `read_labelled` reads."""
    description = json.dumps({"name": labelled.name, "notes": labelled.notes})
    tensors = {"images": labelled.images_NCHW.contiguous(), "labels": labelled.labels_N.contiguous()}
    save_file(tensors, path, {KEY: description})


def read_labelled(path: Path, input: InputConfig, num_classes: int) -> Labelled:
    """The data that `write_labelled` wrote. Raises EvaluationRejected if they do not fit the teacher."""
    try:
        tensors, strings = read_safetensors(path)
        description = json.loads(strings[KEY])
        images, labels = tensors["images"], tensors["labels"]
        valid = images.dtype in (torch.uint8, torch.float32) and labels.dtype == torch.int64
        valid = valid and tuple(images.shape) == (len(labels), *input.shape) and len(labels) > 0
        if not valid or int(labels.min()) < 0 or int(labels.max()) >= num_classes:
            raise ValueError
        notes = tuple(str(note) for note in description["notes"])
        return Labelled(images, labels, input, str(description["name"]), notes)
    except (KeyError, TypeError, ValueError, RecursionError, TeacherRejected) as error:
        raise EvaluationRejected("The labelled data are damaged.") from error
