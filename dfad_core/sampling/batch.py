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
    """For each matched stage, which of the teacher's pre-activations are positive (bool)."""

    def without_active(self) -> Batch:
        """The same batch with no stage booleans."""
        return Batch(self.images_BCHW, self.teacher_logits_BK)
