"""A batch of synthetic images with the teacher's logits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Images with the teacher's logits, all without a graph."""

    images_BCHW: Tensor
    teacher_logits_BK: Tensor
    """float32."""
    active: tuple[Tensor, ...] = ()
    """For each matched stage, which of the teacher's pre-activations are positive (bool). Empty where
    no term compares them, and in the pool: they take several times the memory of the images."""
    attention: tuple[Tensor, ...] = ()
    """For each matched spatial stage the teacher's attention map (B, H * W). Empty likewise."""
    statistics_BD: Tensor | None = None
    """What the choice of images knows of each (float32); None where images are not chosen."""

    def __len__(self) -> int:
        return len(self.images_BCHW)

    def rows(self, index: Tensor) -> Batch:
        """The images at `index` (int64) with all that belongs to them; copies."""
        active, attention = (tuple(a[index] for a in stages) for stages in (self.active, self.attention))
        statistics = None if self.statistics_BD is None else self.statistics_BD[index]
        return Batch(self.images_BCHW[index], self.teacher_logits_BK[index], active, attention, statistics)

    def split(self, parts: int) -> Iterator[Batch]:
        """The batch in `parts` slices of nearly equal size, in order; views, not copies."""
        fields = (self.images_BCHW, self.teacher_logits_BK, *self.active, *self.attention)
        for images, logits, *rest in zip(*(f.tensor_split(parts) for f in fields), strict=True):
            active, attention = tuple(rest[: len(self.active)]), tuple(rest[len(self.active) :])
            yield Batch(images, logits, active, attention)


def join(parts: Sequence[Batch]) -> Batch:
    """The batch of these slices; a single slice is returned as it is."""
    if len(parts) == 1:
        return parts[0]
    statistics = [part.statistics_BD for part in parts if part.statistics_BD is not None]
    return Batch(
        torch.cat([p.images_BCHW for p in parts]),
        torch.cat([p.teacher_logits_BK for p in parts]),
        tuple(torch.cat(a) for a in zip(*(p.active for p in parts), strict=True)),
        tuple(torch.cat(a) for a in zip(*(p.attention for p in parts), strict=True)),
        torch.cat(statistics) if statistics else None,
    )
