"""A ring of past batches: the student learns several times from what cost a generator pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from dfad_core.data.batch import Batch


class Pool:
    """The newest `capacity` batches, drawn from uniformly; whole batches, so no image is copied."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._batches: list[Batch] = []
        self._next = 0

    def __len__(self) -> int:
        return len(self._batches)

    def push(self, batch: Batch) -> None:
        """Keep images and logits of `batch`, in place of the oldest one if the ring is full."""
        if self.capacity == 0:
            return
        batch = Batch(batch.images_BCHW, batch.teacher_logits_BK)
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
        """Tensors and counters."""
        return {
            "next": self._next,
            "images": [b.images_BCHW for b in self._batches],
            "teacher_logits": [b.teacher_logits_BK for b in self._batches],
        }

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Take over what `state_dict` gave."""
        self._next = state["next"]
        self._batches = [
            Batch(images.to(device), logits.to(device))
            for images, logits in zip(state["images"], state["teacher_logits"], strict=True)
        ]
