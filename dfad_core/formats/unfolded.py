"""A teacher whose BN was folded into its convolutions, with BN again, and the note that says so."""

from __future__ import annotations

import dataclasses

import torch

from dfad_core.formats.interface import LoadedTeacher
from dfad_core.networks.input_statistics import pixel_range
from dfad_core.networks.unfolding import drawn_images, may_be_folded, unfolded

FOLDED = (
    "Batch norm was folded into the convolutions of this network. Its statistics are estimated from the "
    "biases; a file that has them gives better students."
)
OTHER_EXPORT = (
    "In torch.onnx.export, optimize=False keeps them; with dynamo=False it is "
    "training=torch.onnx.TrainingMode.PRESERVE."
)


def with_batch_norm(teacher: LoadedTeacher) -> LoadedTeacher:
    """The teacher itself; where BN was folded away, one with BN, the same function and a note.

    The statistics are rough: those of a few drawn images. A run estimates better ones.
    """
    module = teacher.module
    if not may_be_folded(module):
        return teacher
    images_BCHW = drawn_images(teacher.input.shape, pixel_range(teacher.input, module), torch.device("cpu"))
    network = unfolded(module, images_BCHW)
    if network is None:
        return teacher
    note = f"{FOLDED} {OTHER_EXPORT}" if teacher.file_format == "onnx" else FOLDED
    return dataclasses.replace(teacher, module=network, notes=[*teacher.notes, note])
