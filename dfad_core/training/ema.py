"""An exponential running average of a network's weights."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn


class WeightAverage:
    """A copy of `module` that follows it: w <- d * w + (1 - d) * module's w, after every update.

    Polyak and Juditsky 1992; the exponential form is that of Tarvainen and Valpola 2017, arXiv
    1703.01780. After n updates d is at most (1 + n) / (10 + n), so that the first weights are soon forgotten.
    Only parameters are averaged; buffers stay those of the copy.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module = copy.deepcopy(module).requires_grad_(False)
        self._source, self._decay = module, decay
        self._updates = 0

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the module's weights, once."""
        self._updates += 1
        decay = min(self._decay, (1 + self._updates) / (10 + self._updates))
        averages: list[torch.Tensor] = list(self.module.parameters())
        weights: list[torch.Tensor] = list(self._source.parameters())
        torch._foreach_lerp_(averages, weights, 1 - decay)

    @torch.no_grad()
    def hand_over(self) -> None:
        """Copy the average into the module."""
        for weight, average in zip(self._source.parameters(), self.module.parameters(), strict=True):
            weight.copy_(average)

    def state_dict(self) -> dict[str, Any]:
        """The average and its number of updates."""
        return {"weights": self.module.state_dict(), "updates": self._updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load what `state_dict` returned."""
        self.module.load_state_dict(state["weights"])
        self._updates = state["updates"]
