"""Ring buffer of past batches: labelled images that the student trains on again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dfad_core.data.batch import Batch


class Pool:
    """The newest `capacity` batches. Whole batches are stored and drawn, so that no image is copied."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._batches: list[Batch] = []
        self._next = 0

    def __len__(self) -> int:
        return len(self._batches)

    def push(self, batch: Batch) -> None:
        """Add images and logits of `batch`, in place of the oldest batch if the pool is full."""
        if self.capacity == 0:
            return
        batch = Batch(batch.images_BCHW, batch.teacher_logits_BK, statistics_BD=batch.statistics_BD)
        if len(self._batches) < self.capacity:
            self._batches.append(batch)
        else:
            self._batches[self._next] = batch
        self._next = (self._next + 1) % self.capacity

    def change(self, function: Callable[[Batch], Batch]) -> None:
        """Put `function(batch)` in the place of every batch."""
        self._batches = [function(batch) for batch in self._batches]

    def draw(self, rng: np.random.Generator) -> Batch:
        """One batch, uniformly at random. The pool must not be empty."""
        return self._batches[int(rng.integers(len(self._batches)))]

    def draw_images(self, count: int, rng: np.random.Generator, shares_N: np.ndarray | None = None) -> Tensor:
        """`count` images (B, C, H, W), copied: each drawn from all N of the pool by its share (None: equal).

        N counts the images in the order of `statistics_ND`. The pool must not be empty.
        """
        ends = np.cumsum([len(batch) for batch in self._batches])
        chosen = rng.choice(int(ends[-1]), size=count, p=shares_N)
        numbers = np.searchsorted(ends, chosen, side="right")
        rows = chosen - ends[numbers]  # negative: counted from the batch's end
        return torch.stack([self._batches[n].images_BCHW[row] for n, row in zip(numbers, rows, strict=True)])

    @property
    def statistics_ND(self) -> Tensor:
        """The statistics of all images, in the order in which they lie in the pool."""
        return torch.cat([b.statistics_BD for b in self._batches if b.statistics_BD is not None])

    def recent(self, count: int) -> list[Batch]:
        """The newest `count` batches or as many as there are, newest first."""
        size = len(self._batches)
        return [self._batches[(self._next - 1 - i) % size] for i in range(min(count, size))]

    def state_dict(self) -> dict[str, Any]:
        """Tensors and counters."""
        return {
            "next": self._next,
            "capacity": self.capacity,
            "images": [b.images_BCHW for b in self._batches],
            "teacher_logits": [b.teacher_logits_BK for b in self._batches],
            "statistics": [b.statistics_BD for b in self._batches],
        }

    def load_state_dict(self, state: dict[str, Any], device: torch.device, dtype: torch.dtype) -> None:
        """Load what `state_dict` returned, its capacity included; images are converted to `dtype`."""
        columns = (state["images"], state["teacher_logits"], state["statistics"])
        batches = [
            Batch(
                images.to(device, dtype),
                logits.to(device),
                statistics_BD=None if statistics is None else statistics.to(device),
            )
            for images, logits, statistics in zip(*columns, strict=True)
        ]
        self._batches, self._next = batches, state["next"]
        self.capacity = state.get("capacity", self.capacity)  # checkpoints of earlier versions have none

    def drop_not_finite(self) -> None:
        """Remove the images whose logits are not finite."""
        oldest_first = self.recent(len(self._batches))[::-1]
        self._batches, self._next = [], 0
        for batch in oldest_first:
            finite_B = torch.isfinite(batch.teacher_logits_BK).all(dim=1)
            whole = bool(finite_B.all())
            finite = batch if whole else batch.rows(finite_B.nonzero().flatten())
            if len(finite) > 1:
                self.push(finite)


class PoolImages(nn.Module):
    """A generator that picks images of the pool by noise z (B, 1); the same z gives the same images.

    For the evaluation of methods that fit every batch anew: images that their generator makes from new noise
    are not fitted.
    """

    latent_dim = 1

    def __init__(self, batches: Sequence[Batch]) -> None:
        super().__init__()
        images_BCHW = torch.cat([batch.images_BCHW for batch in batches])
        self.images_BCHW = nn.Parameter(images_BCHW, requires_grad=False)

    def forward(self, z_B1: Tensor) -> Tensor:
        """(B, 1), standard normal -> (B, C, H, W) in float32; each image of the pool is equally likely."""
        images_BCHW = self.images_BCHW
        index_B = (torch.special.ndtr(z_B1[:, 0].double()) * len(images_BCHW)).long()
        return images_BCHW[index_B.clamp_max(len(images_BCHW) - 1)].float()
