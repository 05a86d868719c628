"""Number of images that a run shows its teacher, in rounds and before them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn


class Queries:
    """Counts by hooks on the networks that answer as the teacher, so that no caller has to."""

    def __init__(self) -> None:
        self.images = 0
        """Images shown until now; one that is shown again counts again."""

    @contextmanager
    def counting(self, *networks: nn.Module) -> Iterator[None]:
        """For the block, count the images (B, ...) of every forward pass of `networks`."""
        handles = [network.register_forward_pre_hook(self._count) for network in networks]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _count(self, _network: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.images += len(inputs[0])
