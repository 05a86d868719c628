"""Labelled images that a user gave to measure accuracy with. Nothing is trained or chosen on them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from dfad_core.contract.config import InputConfig
from dfad_core.contract.evaluation_plan import batch_size
from dfad_core.errors import EvaluationRejected, TeacherRejected
from dfad_core.formats.safetensors_file import read_safetensors

KEY = "dfad_labelled"
BATCH = 256
"""Images at a time, fewer where they are large."""


@dataclass(frozen=True)
class Labelled:
    """Images and their classes."""

    images_NCHW: Tensor
    """uint8: pixels, 0 to 255. float32: in the teacher's normalised space already."""
    labels_N: Tensor
    input: InputConfig
    name: str
    notes: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """Of images."""
        return len(self.labels_N)

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Images as the teacher wants them, (B, C, H, W) float32, and labels (B), on the CPU."""
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
    """What `read_labelled` reads."""
    about = json.dumps({"name": labelled.name, "notes": labelled.notes})
    tensors = {"images": labelled.images_NCHW.contiguous(), "labels": labelled.labels_N.contiguous()}
    save_file(tensors, path, {KEY: about})


def read_labelled(path: Path, input: InputConfig, num_classes: int) -> Labelled:
    """Raises EvaluationRejected for a file that `write_labelled` did not write for such a teacher."""
    try:
        tensors, strings = read_safetensors(path)
        about = json.loads(strings[KEY])
        images, labels = tensors["images"], tensors["labels"]
        sound = images.dtype in (torch.uint8, torch.float32) and labels.dtype == torch.int64
        sound = sound and tuple(images.shape) == (len(labels), *input.shape) and len(labels) > 0
        if not sound or int(labels.min()) < 0 or int(labels.max()) >= num_classes:
            raise ValueError
        notes = tuple(str(note) for note in about["notes"])
        return Labelled(images, labels, input, str(about["name"]), notes)
    except (KeyError, TypeError, ValueError, RecursionError, TeacherRejected) as error:
        raise EvaluationRejected("The labelled data are garbled.") from error
