"""A batch of synthetic images with what the teacher said about them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Detached from every graph; the teacher need not be asked about these images again."""

    images_BCHW: Tensor
    teacher_logits_BK: Tensor
    """float32."""
    active: tuple[Tensor, ...] = ()
    """For each matched stage, which of the teacher's pre-activations are positive (bool). Empty where
    nobody asks, and in the pool: they take several times the memory of the images."""
