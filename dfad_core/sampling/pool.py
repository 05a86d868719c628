"""A ring of past batches: the student learns several times from what cost a generator pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from dfad_core.sampling.batch import Batch

ACTIVE_BYTES_LIMIT = 2**30
"""Stage booleans are kept with the batches while the whole pool of them stays under this."""


class Pool:
    """The newest `capacity` batches, drawn from uniformly; whole batches, so no image is copied."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._batches: list[Batch] = []
        self._next = 0

    def __len__(self) -> int:
        return len(self._batches)

    def push(self, batch: Batch) -> None:
        """Keep `batch`, in place of the oldest one if the ring is full."""
        if self.capacity == 0:
            return
        active_bytes = sum(t.numel() for t in batch.active)
        if active_bytes * self.capacity > ACTIVE_BYTES_LIMIT:
            batch = batch.without_active()
        if len(self._batches) < self.capacity:
            self._batches.append(batch)
        else:
            self._batches[self._next] = batch
        self._next = (self._next + 1) % self.capacity

    def draw(self, rng: np.random.Generator) -> Batch:
        """One batch, each with equal chance. The pool must not be empty."""
        return self._batches[int(rng.integers(len(self._batches)))]

    def recent(self, count: int) -> list[Batch]:
        """The newest `count` batches or as many as there are, newest first."""
        size = len(self._batches)
        return [self._batches[(self._next - 1 - i) % size] for i in range(min(count, size))]

    def state_dict(self) -> dict[str, Any]:
        """Tensors and counters; booleans packed to one bit each."""
        return {
            "next": self._next,
            "images": [b.images_BCHW for b in self._batches],
            "teacher_logits": [b.teacher_logits_BK for b in self._batches],
            "active": [[_pack(a) for a in b.active] for b in self._batches],
            "active_forms": [[(list(a.shape), list(a.stride())) for a in b.active] for b in self._batches],
        }

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Take over what `state_dict` gave."""
        self._next = state["next"]
        self._batches = [
            Batch(
                images.to(device),
                logits.to(device),
                tuple(_unpack(p, *f, device) for p, f in zip(packed, forms, strict=True)),
            )
            for images, logits, packed, forms in zip(
                state["images"],
                state["teacher_logits"],
                state["active"],
                state["active_forms"],
                strict=True,
            )
        ]


def _pack(active: Tensor) -> Tensor:
    return torch.from_numpy(np.packbits(active.cpu().numpy().reshape(-1)))


def _unpack(packed: Tensor, shape: list[int], stride: list[int], device: torch.device) -> Tensor:
    bits = np.unpackbits(packed.numpy(), count=int(np.prod(shape)))
    # The same strides as before: another layout would add up in another order and round otherwise.
    active = torch.empty_strided(shape, stride, dtype=torch.bool, device=device)
    return active.copy_(torch.from_numpy(bits.astype(np.bool_)).reshape(shape))
