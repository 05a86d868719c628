"""Stops a run at the first non-finite loss, before the update that would spread it."""

from __future__ import annotations

import torch
from torch import Tensor

from dfad_core.errors import DivergedError


class FiniteGuard:
    """Looks at every loss before its update.

    On the CPU it raises at once. On CUDA asking for the value would wait for the device in every
    step; there a flag stays on the device, the fused optimizers skip their update while it is set
    (the mechanism of gradient scaling), and `raise_if_set` reads it whenever figures are read anyway.
    """

    def __init__(self, device: torch.device) -> None:
        self._on_device = device.type == "cuda"
        self._flag = torch.zeros((), device=device)

    def check(self, loss: Tensor, optimizer: torch.optim.Optimizer, phase: str) -> None:
        """Raise DivergedError, or on CUDA arm the flag, if `loss` is NaN or infinite."""
        if not self._on_device:
            if not bool(torch.isfinite(loss)):
                raise DivergedError(f"the {phase}'s loss is not finite", param=phase)
            return
        # In place: the optimizers, and a recorded step, know this very tensor.
        torch.maximum(self._flag, (~torch.isfinite(loss.detach())).float(), out=self._flag)
        optimizer.found_inf = self._flag  # type: ignore[attr-defined]

    def raise_if_set(self) -> None:
        """Raise DivergedError if any loss until now was non-finite; waits for the device."""
        if self._on_device and bool(self._flag):
            raise DivergedError("a loss is not finite; no update was made from it")
